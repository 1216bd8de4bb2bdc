// Numbers on CUDA: the words of vector.hpp for one number, and the same for vec<T, N>, which a thread holds in registers. After prelude.cuh;
// math.hpp comes next, for single numbers (LANES 1), then lift.cuh, which gives it to vectors. Compile with --fmad=false: `a * b + c` rounds
// twice on every target; where one rounding is wanted it is `mad`.
#define LANES 1
/** Memory that one group of lanes wrote is read by groups of other lengths. */
template <class T, int N> struct __attribute__((may_alias, aligned(sizeof(T) * N))) vec { T v[N]; };
/** Never in memory: in registers, each a predicate. */
template <int N> struct vec<bool, N> { bool v[N]; };
template <class T> struct Same { typedef T type; };
/** T, found by the other arguments. */
template <class T> using same = typename Same<T>::type;

template <class V> struct With;
template <> struct With<f32> { typedef i32 I; typedef u32 U; typedef f64 D; typedef bool M; };
template <> struct With<i32> { typedef f32 F; typedef u32 U; typedef f64 D; };
template <class V> using int_of = typename With<V>::I;
template <class V, class X> FN V as(X x) { return x; }

// ---- reinterpretation and conversion ----
FN i32 bits(f32 x) { return __builtin_bit_cast(i32, x); }
FN f32 real(i32 x) { return __builtin_bit_cast(f32, x); }
FN f32 to_f32(i32 x) { return (f32)x; }
FN f64 wide(f32 x) { return x; }
FN f64 wide(i32 x) { return x; }
FN f32 narrow(f64 x) { return (f32)x; }
FN i32 whole(f32 x) { return (i32)x; }
FN i32 whole(f64 x) { return (i32)x; }
FN f32 mad(f32 a, f32 b, f32 c) { return fmaf(a, b, c); }
FN bool any(bool mask) { return mask; }
FN i32 number(bool mask) { return mask; }
FN ix ix_min(ix a, ix b) { return a < b ? a : b; }
FN ix ix_max(ix a, ix b) { return a > b ? a : b; }

// ---- whole numbers wrap: of an operator NVRTC takes for granted that its result fits, and that x + 1 is more than x ----
FN i32 add_(i32 a, i32 b) { return (i32)((u32)a + (u32)b); }
FN i32 sub_(i32 a, i32 b) { return (i32)((u32)a - (u32)b); }
FN i32 mul_(i32 a, i32 b) { return (i32)((u32)a * (u32)b); }
FN i32 neg_(i32 x) { return sub_(0, x); }

// ---- bf16: to nearest, ties to even; a NaN stays one ----
FN bf16 to_bf16(f32 x) { return {(u16)pack_bf16(x, 0.0f)}; }
FN f32 from_bf16(bf16 x) { return real((i32)((u32)x.bits << 16)); }
FN f32 round_bf16(f32 x) { return real((i32)pack_bf16(0.0f, x)); }

// ---- choice ----
FN bool and_(bool a, bool b) { return a & b; }
FN bool or_(bool a, bool b) { return a | b; }
FN bool not_(bool a) { return !a; }
template <class T> FN T where(bool c, T a, T b) { return c ? a : b; }

// ---- vectors ----
#define EACH UNROLL for (int i = 0; i < N; i++)
template <class T, int N> FN vec<T, N> splat(T x) { vec<T, N> r; EACH r.v[i] = x; return r; }
#define SIGN(sign, R) \
  template <class T, int N> FN vec<R, N> operator sign(vec<T, N> a, vec<T, N> b) { vec<R, N> r; EACH r.v[i] = a.v[i] sign b.v[i]; return r; } \
  template <class T, int N> FN vec<R, N> operator sign(vec<T, N> a, same<T> b) { return a sign splat<T, N>(b); } \
  template <class T, int N> FN vec<R, N> operator sign(same<T> a, vec<T, N> b) { return splat<T, N>(a) sign b; }
SIGN(+, T) SIGN(-, T) SIGN(*, T) SIGN(/, T) SIGN(^, T) SIGN(<, bool) SIGN(<=, bool) SIGN(>, bool) SIGN(>=, bool) SIGN(==, bool) SIGN(!=, bool)
#undef SIGN
template <class T, int N> FN vec<T, N> operator-(vec<T, N> a) { EACH a.v[i] = -a.v[i]; return a; }
template <int N> FN vec<bool, N> and_(vec<bool, N> a, vec<bool, N> b) { EACH a.v[i] = a.v[i] && b.v[i]; return a; }
template <int N> FN vec<bool, N> and_(vec<bool, N> a, bool b) { EACH a.v[i] = a.v[i] && b; return a; }
template <int N> FN vec<bool, N> and_(bool a, vec<bool, N> b) { return and_(b, a); }
template <int N> FN vec<bool, N> or_(vec<bool, N> a, vec<bool, N> b) { EACH a.v[i] |= b.v[i]; return a; }
template <int N> FN vec<bool, N> or_(vec<bool, N> a, bool b) { EACH a.v[i] |= b; return a; }
template <int N> FN vec<bool, N> or_(bool a, vec<bool, N> b) { return or_(b, a); }
template <int N> FN vec<bool, N> not_(vec<bool, N> a) { EACH a.v[i] = !a.v[i]; return a; }
template <class T, int N> FN vec<T, N> where(bool c, vec<T, N> a, same<T> b) { return c ? a : splat<T, N>(b); }
template <class T, int N> FN vec<T, N> where(bool c, same<T> a, vec<T, N> b) { return c ? splat<T, N>(a) : b; }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, vec<T, N> a, vec<T, N> b) { EACH a.v[i] = c.v[i] ? a.v[i] : b.v[i]; return a; }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, vec<T, N> a, same<T> b) { return where(c, a, splat<T, N>(b)); }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, same<T> a, vec<T, N> b) { return where(c, splat<T, N>(a), b); }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, T a, T b) { return where(c, splat<T, N>(a), splat<T, N>(b)); }

/** x for every lane of the group. */
template <class V, class T, int N> FN vec<T, N> all(vec<V, N>, vec<T, N> x) { return x; }
template <class V, class T, int N> FN vec<T, N> all(vec<V, N>, T x) { return splat<T, N>(x); }
template <class T> FN T all(f32, T x) { return x; }
/** Numbers of the elements that begin at j. */
template <int N> FN vec<i32, N> lane(vec<f32, N>, i32 j) { vec<i32, N> r; EACH r.v[i] = j + i; return r; }
FN i32 lane(f32, i32 j) { return j; }

// ---- memory: ld(V{}, p) and st(V{}, p, x), p aligned to the vector; a bool is a byte, 0 or 1 ----
template <class T> FN T ld(f32, const T* p) { return *p; }
FN bool ld(f32, const u8* p) { return *p != 0; }
FN f32 ld(f32, const bf16* p) { return from_bf16(*p); }
template <class T, int N> FN vec<T, N> ld(vec<f32, N>, const T* p) { return *(const vec<T, N>*)p; }
template <int N> FN vec<bool, N> ld(vec<f32, N>, const u8* p) { const vec<u8, N> x = *(const vec<u8, N>*)p; vec<bool, N> r; EACH r.v[i] = x.v[i] != 0; return r; }
template <int N> FN vec<f32, N> ld(vec<f32, N>, const bf16* p) { const vec<bf16, N> x = *(const vec<bf16, N>*)p; vec<f32, N> r; EACH r.v[i] = from_bf16(x.v[i]); return r; }
template <class T> FN void st(f32, T* p, same<T> x) { *p = x; }
FN void st(f32, u8* p, bool x) { *p = x; }
FN void st(f32, bf16* p, f32 x) { *p = to_bf16(x); }
template <class T, int N> FN void st(vec<f32, N>, T* p, vec<T, N> x) { *(vec<T, N>*)p = x; }
template <int N> FN void st(vec<f32, N>, u8* p, vec<bool, N> x) { vec<u8, N> r; EACH r.v[i] = x.v[i]; *(vec<u8, N>*)p = r; }
template <int N> FN void st(vec<f32, N>, bf16* p, vec<f32, N> x) {
  vec<u32, N / 2> r;
  UNROLL for (int i = 0; i < N / 2; i++) r.v[i] = pack_bf16(x.v[2 * i], x.v[2 * i + 1]);
  *(vec<u32, N / 2>*)p = r;
}
template <class T, class X, int N> FN void st(vec<f32, N> v, T* p, X x) { st(v, p, splat<X, N>(x)); }
template <class V, class T, class X> FN void stream(V v, T* p, X x) { st(v, p, x); }

// ---- four lanes of a warp hold 32 columns of a row as tensor cores leave them, two of each tile of 8. A value of such a group is of those that
// its lane holds; memory of bf16 is touched by 16 bytes, the columns of one tile, which the lanes trade. ----
/** `left`: columns that are valid, from the first of the 32 on. */
struct Traded {
  ix left;
  /** The first of the lane's columns in memory. */
  static FN i32 chunk() { return (i32)(lane_id() & 3) * 8; }
};
/** Word n of lane t to word t of lane n, among four lanes. */
FN void trade(u32 (&w)[4]) {
  UNROLL for (int far = 1; far <= 2; far *= 2) {
    const bool upper = lane_id() & far;
    UNROLL for (int n = 0; n < 4; n++) if (!(n & far)) {
      const u32 got = __shfl_xor_sync(0xffffffffu, upper ? w[n] : w[n + far], far);
      w[n] = upper ? got : w[n];
      w[n + far] = upper ? w[n + far] : got;
    }
  }
}
template <class T, int N> FN vec<T, 8> all(Traded, vec<T, N> x) { static_assert(N == 8, "a group"); return x; }
template <class T> FN vec<T, 8> all(Traded, T x) { return splat<T, 8>(x); }
FN vec<i32, 8> lane(Traded, i32 j) { vec<i32, 8> r; UNROLL for (int q = 0; q < 8; q++) r.v[q] = j - Traded::chunk() + q / 2 * 8 + (i32)(lane_id() & 3) * 2 + q % 2; return r; }
/** The numbers of words of two bf16. */
template <int N> FN vec<f32, 2 * N> unpacked(vec<u32, N> w) {
  vec<f32, 2 * N> r;
  EACH { r.v[2 * i] = real((i32)(w.v[i] << 16)); r.v[2 * i + 1] = real((i32)(w.v[i] & 0xffff0000u)); }
  return r;
}
FN vec<f32, 8> ld(Traded v, const bf16* p) {
  vec<u32, 4> w = {};
  if (Traded::chunk() < v.left) w = *(const vec<u32, 4>*)p;
  trade(w.v);
  return unpacked(w);
}
FN void st(Traded v, bf16* p, vec<f32, 8> x) {
  vec<u32, 4> w;
  UNROLL for (int n = 0; n < 4; n++) w.v[n] = pack_bf16(x.v[2 * n], x.v[2 * n + 1]);
  trade(w.v);
  if (Traded::chunk() < v.left) *(vec<u32, 4>*)p = w;
}
FN void st(Traded v, bf16* p, f32 x) { st(v, p, splat<f32, 8>(x)); }

/** A group of four columns of a row that may not be valid: then nothing is stored, nor read, for others may be writing there. */
struct Kept : vec<f32, 4> { bool valid; };
template <class T> FN auto ld(Kept k, const T* p) {
  decltype(ld(vec<f32, 4>{}, p)) x = {};
  if (k.valid) x = ld(vec<f32, 4>{}, p);
  return x;
}
/** As words until they are used: as f32 each would hold two registers for one. */
FN vec<f32, 4> ld(Kept k, const bf16* p) {
  vec<u32, 2> w = {};
  if (k.valid) w = *(const vec<u32, 2>*)p;
  return unpacked(w);
}
template <class T, class X> FN void st(Kept k, T* p, X x) { if (k.valid) st(vec<f32, 4>{}, p, x); }

// ---- sums of runs of 16 columns, two tiles of 8, which four lanes of a warp hold: p is where the lane's own run goes ----
FN f32 of_four(f32 x, u32 lanes = 0xffffffffu) {
  x += __shfl_xor_sync(lanes, x, 1);
  return x + __shfl_xor_sync(lanes, x, 2);
}
FN void st_sum(Kept k, f32* p, ix, vec<f32, 4> x) {
  const f32 sum = of_four(x.v[0] + x.v[1] + (x.v[2] + x.v[3]));
  if (k.valid && (lane_id() & 3) == 0) *p = sum;
}
/** By pieces of a run, from column j on, in order; of rows that are valid. */
FN void st_sum(f32, f32* p, ix j, f32 x) {
  const f32 sum = of_four(x, 0xfu << (lane_id() & 28u));
  if ((lane_id() & 3) == 0) *p = j % 16 == 0 ? sum : *p + sum;
}
FN void st_sum(vec<f32, 4> v, f32* p, ix j, vec<f32, 4> x) { st_sum(0.0f, p, j, x.v[0] + x.v[1] + (x.v[2] + x.v[3])); }
FN void st_sum(vec<f32, 2>, f32* p, ix j, vec<f32, 2> x) { st_sum(0.0f, p, j, x.v[0] + x.v[1]); }
/** Two runs, each in the memory of a pair of lanes. */
FN void st_sum(Traded v, f32* p, ix, vec<f32, 8> x) {
  f32 sum[2];
  UNROLL for (int h = 0; h < 2; h++) sum[h] = of_four(x.v[4 * h] + x.v[4 * h + 1] + (x.v[4 * h + 2] + x.v[4 * h + 3]));
  if ((lane_id() & 1) == 0 && Traded::chunk() < v.left) *p = lane_id() & 2 ? sum[1] : sum[0];
}
