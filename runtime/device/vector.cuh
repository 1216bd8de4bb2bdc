// Elements and vectors on CUDA: the functions of vector.hpp for scalars, and for vec<T, N>, N elements in registers of one thread. After prelude.cuh;
// then math.hpp (scalar functions, LANES 1) and lift.cuh (the same for vec). Compile with --fmad=false: `a * b + c` rounds twice on every target;
// a fused multiply-add is written `fma_`.
#define LANES 1
/** N elements; loaded and stored as one access, so aligned to its size. may_alias: memory is also accessed as other types and lengths. */
template <class T, int N> struct __attribute__((may_alias, aligned(sizeof(T) * N))) vec { T v[N]; };
/** In registers only: each element a predicate. */
template <int N> struct vec<bool, N> { bool v[N]; };
template <class T> struct TypeIdentity { typedef T type; };
/** T in a non-deduced context (std::type_identity_t): an argument that converts to what the others decide. */
template <class T> using type_identity = typename TypeIdentity<T>::type;

template <class V> struct TypesOf;
template <> struct TypesOf<f32> { typedef i32 I; typedef u32 U; typedef f64 D; typedef bool M; };
template <> struct TypesOf<i32> { typedef f32 F; typedef u32 U; typedef f64 D; };
template <class V> using int_of = typename TypesOf<V>::I;
template <class V, class X> FN V as(X x) { return x; }

// ---- reinterpretation and conversion ----
FN i32 bits(f32 x) { return __builtin_bit_cast(i32, x); }
FN f32 from_bits(i32 x) { return __builtin_bit_cast(f32, x); }
FN f32 to_f32(i32 x) { return (f32)x; }
FN f64 wide(f32 x) { return x; }
FN f64 wide(i32 x) { return x; }
FN f32 narrow(f64 x) { return (f32)x; }
FN i32 truncate(f32 x) { return (i32)x; }
FN i32 truncate(f64 x) { return (i32)x; }
FN f32 fma_(f32 a, f32 b, f32 c) { return fmaf(a, b, c); }
FN bool any(bool mask) { return mask; }
FN i32 mask_to_int(bool mask) { return mask; }
FN ix ix_min(ix a, ix b) { return a < b ? a : b; }
FN ix ix_max(ix a, ix b) { return a > b ? a : b; }

// ---- i32 arithmetic that wraps: NVRTC assumes that signed operators do not overflow ----
FN i32 add_(i32 a, i32 b) { return (i32)((u32)a + (u32)b); }
FN i32 sub_(i32 a, i32 b) { return (i32)((u32)a - (u32)b); }
FN i32 mul_(i32 a, i32 b) { return (i32)((u32)a * (u32)b); }
FN i32 neg_(i32 x) { return sub_(0, x); }

// ---- bf16: rounded to nearest even; NaN stays NaN ----
FN bf16 to_bf16(f32 x) { return {(u16)pack_bf16(x, 0.0f)}; }
FN f32 from_bf16(bf16 x) { return from_bits((i32)((u32)x.bits << 16)); }
FN f32 round_bf16(f32 x) { return from_bits((i32)pack_bf16(0.0f, x)); }

// ---- masks and selection ----
FN bool and_(bool a, bool b) { return a & b; }
FN bool or_(bool a, bool b) { return a | b; }
FN bool not_(bool a) { return !a; }
template <class T> FN T where(bool c, T a, T b) { return c ? a : b; }

// ---- vectors ----
#define FOR_LANES UNROLL for (int i = 0; i < N; i++)
template <class T, int N> FN vec<T, N> splat(T x) { vec<T, N> r; FOR_LANES r.v[i] = x; return r; }
#define BINARY_OPERATOR(sign, R) \
  template <class T, int N> FN vec<R, N> operator sign(vec<T, N> a, vec<T, N> b) { vec<R, N> r; FOR_LANES r.v[i] = a.v[i] sign b.v[i]; return r; } \
  template <class T, int N> FN vec<R, N> operator sign(vec<T, N> a, type_identity<T> b) { return a sign splat<T, N>(b); } \
  template <class T, int N> FN vec<R, N> operator sign(type_identity<T> a, vec<T, N> b) { return splat<T, N>(a) sign b; }
BINARY_OPERATOR(+, T) BINARY_OPERATOR(-, T) BINARY_OPERATOR(*, T) BINARY_OPERATOR(/, T) BINARY_OPERATOR(^, T) BINARY_OPERATOR(<, bool) BINARY_OPERATOR(<=, bool) BINARY_OPERATOR(>, bool) BINARY_OPERATOR(>=, bool) BINARY_OPERATOR(==, bool) BINARY_OPERATOR(!=, bool)
#undef BINARY_OPERATOR
template <class T, int N> FN vec<T, N> operator-(vec<T, N> a) { FOR_LANES a.v[i] = -a.v[i]; return a; }
template <int N> FN vec<bool, N> and_(vec<bool, N> a, vec<bool, N> b) { FOR_LANES a.v[i] = a.v[i] && b.v[i]; return a; }
template <int N> FN vec<bool, N> and_(vec<bool, N> a, bool b) { FOR_LANES a.v[i] = a.v[i] && b; return a; }
template <int N> FN vec<bool, N> and_(bool a, vec<bool, N> b) { return and_(b, a); }
template <int N> FN vec<bool, N> or_(vec<bool, N> a, vec<bool, N> b) { FOR_LANES a.v[i] |= b.v[i]; return a; }
template <int N> FN vec<bool, N> or_(vec<bool, N> a, bool b) { FOR_LANES a.v[i] |= b; return a; }
template <int N> FN vec<bool, N> or_(bool a, vec<bool, N> b) { return or_(b, a); }
template <int N> FN vec<bool, N> not_(vec<bool, N> a) { FOR_LANES a.v[i] = !a.v[i]; return a; }
template <class T, int N> FN vec<T, N> where(bool c, vec<T, N> a, type_identity<T> b) { return c ? a : splat<T, N>(b); }
template <class T, int N> FN vec<T, N> where(bool c, type_identity<T> a, vec<T, N> b) { return c ? splat<T, N>(a) : b; }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, vec<T, N> a, vec<T, N> b) { FOR_LANES a.v[i] = c.v[i] ? a.v[i] : b.v[i]; return a; }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, vec<T, N> a, type_identity<T> b) { return where(c, a, splat<T, N>(b)); }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, type_identity<T> a, vec<T, N> b) { return where(c, splat<T, N>(a), b); }
template <class T, int N> FN vec<T, N> where(vec<bool, N> c, T a, T b) { return where(c, splat<T, N>(a), splat<T, N>(b)); }

/** x as the vector type of the first argument: a scalar is repeated. */
template <class V, class T, int N> FN vec<T, N> broadcast(vec<V, N>, vec<T, N> x) { return x; }
template <class V, class T, int N> FN vec<T, N> broadcast(vec<V, N>, T x) { return splat<T, N>(x); }
template <class T> FN T broadcast(f32, T x) { return x; }
/** (j, j + 1, .., j + N - 1): the column indices of a group's elements. */
template <int N> FN vec<i32, N> iota(vec<f32, N>, i32 j) { vec<i32, N> r; FOR_LANES r.v[i] = j + i; return r; }
FN i32 iota(f32, i32 j) { return j; }

// ---- ld(V{}, p), st(V{}, p, x): memory of T as f32, i32 or bool (one byte, 0 or 1); p is aligned to the vector ----
template <class T> FN T ld(f32, const T* p) { return *p; }
FN bool ld(f32, const u8* p) { return *p != 0; }
FN f32 ld(f32, const bf16* p) { return from_bf16(*p); }
template <class T, int N> FN vec<T, N> ld(vec<f32, N>, const T* p) { return *(const vec<T, N>*)p; }
template <int N> FN vec<bool, N> ld(vec<f32, N>, const u8* p) { const vec<u8, N> x = *(const vec<u8, N>*)p; vec<bool, N> r; FOR_LANES r.v[i] = x.v[i] != 0; return r; }
template <int N> FN vec<f32, N> ld(vec<f32, N>, const bf16* p) { const vec<bf16, N> x = *(const vec<bf16, N>*)p; vec<f32, N> r; FOR_LANES r.v[i] = from_bf16(x.v[i]); return r; }
template <class T> FN void st(f32, T* p, type_identity<T> x) { *p = x; }
FN void st(f32, u8* p, bool x) { *p = x; }
FN void st(f32, bf16* p, f32 x) { *p = to_bf16(x); }
template <class T, int N> FN void st(vec<f32, N>, T* p, vec<T, N> x) { *(vec<T, N>*)p = x; }
template <int N> FN void st(vec<f32, N>, u8* p, vec<bool, N> x) { vec<u8, N> r; FOR_LANES r.v[i] = x.v[i]; *(vec<u8, N>*)p = r; }
template <int N> FN void st(vec<f32, N>, bf16* p, vec<f32, N> x) {
  vec<u32, N / 2> r;
  UNROLL for (int i = 0; i < N / 2; i++) r.v[i] = pack_bf16(x.v[2 * i], x.v[2 * i + 1]);
  *(vec<u32, N / 2>*)p = r;
}
template <class T, class X, int N> FN void st(vec<f32, N> v, T* p, X x) { st(v, p, splat<X, N>(x)); }
template <class V, class T, class X> FN void stream(V v, T* p, X x) { st(v, p, x); }

// ---- bf16 epilogues: a quad (four lanes) holds 32 columns of a row in mma accumulator layout, each lane 2 columns of each of four n8 tiles. Loads and
// stores transpose within the quad by shuffles, so that a lane accesses the 8 columns (16 bytes) of one tile. ----
/** The group of a lane's 8 columns. left: how many of the quad's 32 columns are valid; 0 where the row is not. */
struct QuadGroup {
  ix left;
  /** The first of the 8 columns that this lane accesses in memory. */
  static FN i32 chunk() { return (i32)(lane_id() & 3) * 8; }
};
/** The lanes of this lane's quad, as a mask. */
FN u32 quad_mask() { return 0xfu << (lane_id() & 28u); }
/** Transposes 4 x 4 words in a quad: word n of lane t becomes word t of lane n. `lanes`: those that take part. */
FN void quad_transpose(u32 (&w)[4], u32 lanes = 0xffffffffu) {
  UNROLL for (int far = 1; far <= 2; far *= 2) {
    const bool upper = lane_id() & far;
    UNROLL for (int n = 0; n < 4; n++) if (!(n & far)) {
      const u32 got = __shfl_xor_sync(lanes, upper ? w[n] : w[n + far], far);
      w[n] = upper ? got : w[n];
      w[n + far] = upper ? w[n + far] : got;
    }
  }
}
template <class T, int N> FN vec<T, 8> broadcast(QuadGroup, vec<T, N> x) { static_assert(N == 8, "8 columns per lane"); return x; }
template <class T> FN vec<T, 8> broadcast(QuadGroup, T x) { return splat<T, 8>(x); }
FN vec<i32, 8> iota(QuadGroup, i32 j) { vec<i32, 8> r; UNROLL for (int q = 0; q < 8; q++) r.v[q] = j - QuadGroup::chunk() + q / 2 * 8 + (i32)(lane_id() & 3) * 2 + q % 2; return r; }
/** N words of two bf16 each, as f32. */
template <int N> FN vec<f32, 2 * N> unpack_bf16(vec<u32, N> w) {
  vec<f32, 2 * N> r;
  UNROLL for (int i = 0; i < N; i++) { r.v[2 * i] = from_bits((i32)(w.v[i] << 16)); r.v[2 * i + 1] = from_bits((i32)(w.v[i] & 0xffff0000u)); }
  return r;
}
/** Rows may differ in whether they load: those with an index out of range do not. */
FN vec<f32, 8> ld(QuadGroup v, const bf16* p) {
  vec<u32, 4> w = {};
  if (QuadGroup::chunk() < v.left) w = *(const vec<u32, 4>*)p;
  quad_transpose(w.v, quad_mask());
  return unpack_bf16(w);
}
FN void st(QuadGroup v, bf16* p, vec<f32, 8> x) {
  vec<u32, 4> w;
  UNROLL for (int n = 0; n < 4; n++) w.v[n] = pack_bf16(x.v[2 * n], x.v[2 * n + 1]);
  quad_transpose(w.v);
  if (QuadGroup::chunk() < v.left) *(vec<u32, 4>*)p = w;
}
FN void st(QuadGroup v, bf16* p, f32 x) { st(v, p, splat<f32, 8>(x)); }

/** Four columns with a predicate. If not valid nothing is loaded or stored: another block may be writing there. */
struct Predicated : vec<f32, 4> { bool valid; };
template <class T> FN auto ld(Predicated k, const T* p) {
  decltype(ld(vec<f32, 4>{}, p)) x = {};
  if (k.valid) x = ld(vec<f32, 4>{}, p);
  return x;
}
/** Kept as words until used: as f32 each would hold two registers for one. */
FN vec<f32, 4> ld(Predicated k, const bf16* p) {
  vec<u32, 2> w = {};
  if (k.valid) w = *(const vec<u32, 2>*)p;
  return unpack_bf16(w);
}
template <class T, class X> FN void st(Predicated k, T* p, X x) { if (k.valid) st(vec<f32, 4>{}, p, x); }

// ---- st_partial_sum: stores the sum of each run of 16 columns of an accumulator's row, which a quad holds (two n8 tiles), to *p ----
/** The sum over a quad, in all four lanes. */
FN f32 quad_sum(f32 x, u32 lanes = 0xffffffffu) {
  x += __shfl_xor_sync(lanes, x, 1);
  return x + __shfl_xor_sync(lanes, x, 2);
}
FN void st_partial_sum(Predicated k, f32* p, ix, vec<f32, 4> x) {
  const f32 sum = quad_sum(x.v[0] + x.v[1] + (x.v[2] + x.v[3]));
  if (k.valid && (lane_id() & 3) == 0) *p = sum;
}
/** In pieces of a run, in order; the piece from column j = 0 (mod 16) on initialises the sum. Only for valid rows. */
FN void st_partial_sum(f32, f32* p, ix j, f32 x) {
  const f32 sum = quad_sum(x, quad_mask());
  if ((lane_id() & 3) == 0) *p = j % 16 == 0 ? sum : *p + sum;
}
FN void st_partial_sum(vec<f32, 4> v, f32* p, ix j, vec<f32, 4> x) { st_partial_sum(0.0f, p, j, x.v[0] + x.v[1] + (x.v[2] + x.v[3])); }
FN void st_partial_sum(vec<f32, 2>, f32* p, ix j, vec<f32, 2> x) { st_partial_sum(0.0f, p, j, x.v[0] + x.v[1]); }
/** The quad's 32 columns are two runs; one lane stores each. */
FN void st_partial_sum(QuadGroup v, f32* p, ix, vec<f32, 8> x) {
  f32 sum[2];
  UNROLL for (int h = 0; h < 2; h++) sum[h] = quad_sum(x.v[4 * h] + x.v[4 * h + 1] + (x.v[4 * h + 2] + x.v[4 * h + 3]));
  if ((lane_id() & 1) == 0 && QuadGroup::chunk() < v.left) *p = lane_id() & 2 ? sum[1] : sum[0];
}
