// Vectors of LANES numbers on the host, and the same functions for single numbers: C++17 with GCC's vector extensions, no includes.
// Compile with -ffp-contract=off -fwrapv -fno-math-errno -fno-trapping-math: `a * b + c` rounds twice on every target, so a vector, its
// scalar tail and the reference interpreter agree to the bit. Where one rounding is wanted (a dot product, a polynomial) it is `fma_`.
#define FN inline __attribute__((always_inline))
#define INLINED __attribute__((always_inline)) // of a lambda
/** Not inlined: for long functions that do not decide a kernel's time. */
#ifdef __clang__
#define NOINLINE static __attribute__((noinline))
#else
#define NOINLINE static __attribute__((noinline, noclone))
#endif
#define UNROLL _Pragma("GCC unroll 64")
#define NO_UNROLL _Pragma("GCC unroll 1")
#define NO_UNROLL_HOST NO_UNROLL
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#ifndef __has_builtin
#define __has_builtin(x) 0
#endif
/** SSE4A exists only on AMD's CPUs, which need other prefetches than Intel's. With AVX-512 it is Zen 4 or later. */
#if defined(__SSE4A__)
constexpr bool AMD = true;
#else
constexpr bool AMD = false;
#endif
constexpr bool ZEN = AMD && LANES == 16;
/** Of these, Zen 5 is the first with AVX-VNNI. */
#if defined(__AVXVNNI__)
constexpr bool ZEN5 = ZEN;
#else
constexpr bool ZEN5 = false;
#endif

typedef float f32; typedef double f64; typedef long ix;
typedef signed int i32; typedef unsigned u32; typedef signed char i8; typedef unsigned char u8; typedef unsigned short u16;
struct bf16 { u16 bits; };
typedef f32 vf __attribute__((vector_size(LANES * 4)));
typedef i32 vi __attribute__((vector_size(LANES * 4)));
typedef u32 vu __attribute__((vector_size(LANES * 4)));
typedef f64 vd __attribute__((vector_size(LANES * 8)));
typedef u8 vb __attribute__((vector_size(LANES)));
typedef u16 vh __attribute__((vector_size(LANES * 2)));
typedef i8 vc __attribute__((vector_size(LANES)));
/** The same types for loads and stores: of any alignment, and allowed to alias other types. */
typedef vf vf_at __attribute__((aligned(4), may_alias));
typedef vi vi_at __attribute__((aligned(4), may_alias));
typedef vb vb_at __attribute__((aligned(1), may_alias));
typedef vh vh_at __attribute__((aligned(2), may_alias));
typedef vc vc_at __attribute__((aligned(1), may_alias));

// ---- types that go with V, which is vf or f32: its whole numbers, its doubles, its masks (lanes of 0 and -1, or bool) ----
template <class V> struct TypesOf;
template <> struct TypesOf<vf> { typedef vi I; typedef vu U; typedef vd D; typedef vi M; };
template <> struct TypesOf<f32> { typedef i32 I; typedef u32 U; typedef f64 D; typedef bool M; };
template <> struct TypesOf<vi> { typedef vf F; typedef vu U; typedef vd D; };
template <> struct TypesOf<i32> { typedef f32 F; typedef u32 U; typedef f64 D; };
template <class V> using int_of = typename TypesOf<V>::I;

/** A number of elements that is a multiple of LANES: of these, loops over vectors have no tail, which need not be compiled. */
struct Whole { ix n; FN operator ix() const { return n; } };
template <class N> constexpr bool has_tail = true;
template <> constexpr bool has_tail<Whole> = false;

// ---- making vectors ----
FN ix ix_min(ix a, ix b) { return a < b ? a : b; }
FN ix ix_max(ix a, ix b) { return a > b ? a : b; }
FN vf splat(f32 x) { return x - vf{}; }
FN vi splat(i32 x) { return x - vi{}; }
template <class V> struct As;
template <> struct As<vf> { static FN vf of(vf x) { return x; } static FN vf of(f32 x) { return splat(x); } };
template <> struct As<vi> { static FN vi of(vi x) { return x; } static FN vi of(i32 x) { return splat(x); } static FN vi of(bool x) { return splat(-(i32)x); } };
template <> struct As<f32> { static FN f32 of(f32 x) { return x; } };
template <> struct As<i32> { static FN i32 of(i32 x) { return x; } };
template <> struct As<bool> { static FN bool of(bool x) { return x; } };
/** x as a V: scalars are repeated; a bool becomes a mask. */
template <class V, class X> FN V as(X x) { return As<V>::of(x); }
FN vi iota() { vi x; UNROLL for (int l = 0; l < LANES; l++) x[l] = l; return x; }
/** The indices of the elements in the lanes, from j on. */
FN vi iota(vf, i32 j) { return j + iota(); }
FN i32 iota(f32, i32 j) { return j; }
/** The same with a stride. */
FN vi iota(vf, i32 j, i32 step) { return j + step * iota(); }
FN i32 iota(f32, i32 j, i32) { return j; }

// ---- reinterpretation and conversion ----
FN vi bits(vf x) { return (vi)x; }
FN vf from_bits(vi x) { return (vf)x; }
FN i32 bits(f32 x) { return __builtin_bit_cast(i32, x); }
FN f32 from_bits(i32 x) { return __builtin_bit_cast(f32, x); }
FN vf to_f32(vi x) { return __builtin_convertvector(x, vf); }
FN f32 to_f32(i32 x) { return (f32)x; }
FN vd wide(vf x) { return __builtin_convertvector(x, vd); }
FN f64 wide(f32 x) { return x; }
FN vd wide(vi x) { return __builtin_convertvector(x, vd); }
FN f64 wide(i32 x) { return x; }
FN vf narrow(vd x) { return __builtin_convertvector(x, vf); }
FN f32 narrow(f64 x) { return (f32)x; }
/** Towards zero; x must fit. */
FN vi truncate(vf x) { return __builtin_convertvector(x, vi); }
FN i32 truncate(f32 x) { return (i32)x; }
FN vi truncate(vd x) { return __builtin_convertvector(x, vi); }
FN i32 truncate(f64 x) { return (i32)x; }

// ---- masks and choice ----
FN vi and_(vi a, vi b) { return a & b; }
FN bool and_(bool a, bool b) { return a & b; }
FN vi and_(vi a, bool b) { return a & as<vi>(b); }
FN vi and_(bool a, vi b) { return b & as<vi>(a); }
FN vi or_(vi a, vi b) { return a | b; }
FN bool or_(bool a, bool b) { return a | b; }
FN vi or_(vi a, bool b) { return a | as<vi>(b); }
FN vi or_(bool a, vi b) { return b | as<vi>(a); }
FN vi not_(vi a) { return ~a; }
FN bool not_(bool a) { return !a; }
/** A mask as 0 and 1. */
FN vi mask_to_int(vi mask) { return -mask; }
FN i32 mask_to_int(bool mask) { return mask; }
template <class T> FN T where(bool c, T a, T b) { return c ? a : b; }
FN vf where(bool c, vf a, f32 b) { return c ? a : splat(b); }
FN vf where(bool c, f32 a, vf b) { return c ? splat(a) : b; }
FN vi where(bool c, vi a, i32 b) { return c ? a : splat(b); }
FN vi where(bool c, i32 a, vi b) { return c ? splat(a) : b; }
FN vf where(vi c, vf a, vf b) { return c ? a : b; }
FN vf where(vi c, vf a, f32 b) { return c ? a : splat(b); }
FN vf where(vi c, f32 a, vf b) { return c ? splat(a) : b; }
FN vf where(vi c, f32 a, f32 b) { return c ? splat(a) : splat(b); }
FN vi where(vi c, vi a, vi b) { return c ? a : b; }
FN vi where(vi c, vi a, i32 b) { return c ? a : splat(b); }
FN vi where(vi c, i32 a, vi b) { return c ? splat(a) : b; }
FN vi where(vi c, i32 a, i32 b) { return c ? splat(a) : splat(b); }
FN vi where(vi c, vi a, bool b) { return c ? a : as<vi>(b); }
FN vi where(vi c, bool a, vi b) { return c ? as<vi>(a) : b; }
FN vi where(vi c, bool a, bool b) { return c ? as<vi>(a) : as<vi>(b); }

// ---- table lookup: a table of LANES entries, indexed by the low bits of i ----
#if LANES >= 8
FN i32 lookup(const i32 (&table)[LANES], i32 i) { return table[i & (LANES - 1)]; }
FN vi lookup(const i32 (&table)[LANES], vi i) {
  const vi t = *(const vi_at*)table;
#if LANES == 8
  return (vi)__builtin_ia32_permvarsi256(t, i);
#elif __has_builtin(__builtin_ia32_permvarsi512)
  return (vi)__builtin_ia32_permvarsi512(t, i);
#else
  return (vi)__builtin_ia32_permvarsi512_mask(t, i, t, -1);
#endif
}
#endif

// ---- a * b + c, rounded once where the machine can ----
FN f32 fused(f32 a, f32 b, f32 c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
/** (Of an `fmaf` for each lane g++ makes scalar instructions, and clang++ 14 halves of vectors.) */
FN vf fused(vf a, vf b, vf c) {
#if !defined(__FMA__) && !defined(__ARM_FEATURE_FMA)
  return a * b + c;
#elif __has_builtin(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(a, b, c);
#elif LANES == 16
  return __builtin_ia32_vfmaddps512_mask(a, b, c, -1, 4);
#elif LANES == 8
  return __builtin_ia32_vfmaddps256(a, b, c);
#elif defined(__FMA__)
  return __builtin_ia32_vfmaddps(a, b, c);
#elif __has_builtin(__builtin_aarch64_fmav4sf)
  return __builtin_aarch64_fmav4sf(a, b, c);
#elif __has_builtin(__builtin_neon_vfmaq_v)
  return (vf)__builtin_neon_vfmaq_v((i8 __attribute__((vector_size(16))))c, (i8 __attribute__((vector_size(16))))a, (i8 __attribute__((vector_size(16))))b, 41);
#else
  vf r = {};
  UNROLL for (int l = 0; l < LANES; l++) r[l] = __builtin_fmaf(a[l], b[l], c[l]);
  return r;
#endif
}
template <class A, class B, class C> FN auto fma_(A a, B b, C c) {
  typedef decltype(a + b + c) V;
  return fused(as<V>(a), as<V>(b), as<V>(c));
}

// ---- reductions across lanes, always by the same tree: halves, quarters, .. ----
template <int S, class T> FN T shuffle_xor(T x) {  // lane l gets lane l ^ S
#if LANES == 16
  return __builtin_shufflevector(x, x, 0 ^ S, 1 ^ S, 2 ^ S, 3 ^ S, 4 ^ S, 5 ^ S, 6 ^ S, 7 ^ S, 8 ^ S, 9 ^ S, 10 ^ S, 11 ^ S, 12 ^ S, 13 ^ S, 14 ^ S, 15 ^ S);
#elif LANES == 8
  return __builtin_shufflevector(x, x, 0 ^ S, 1 ^ S, 2 ^ S, 3 ^ S, 4 ^ S, 5 ^ S, 6 ^ S, 7 ^ S);
#else
  return __builtin_shufflevector(x, x, 0 ^ S, 1 ^ S, 2 ^ S, 3 ^ S);
#endif
}
template <int S = LANES / 2, class T, class F> FN auto reduce_lanes(T x, F f) {
  if constexpr (S == 0) return x[0] + 0;
  else return reduce_lanes<S / 2>(f(x, shuffle_xor<S>(x)), f);
}
FN f32 sum_(vf x) { return reduce_lanes(x, [](vf a, vf b) { return a + b; }); }
FN bool any(vi mask) { return reduce_lanes(mask, [](vi a, vi b) { return a | b; }) != 0; }
FN bool any(bool mask) { return mask; }
/** The number of true lanes. */
FN i32 count(vi mask) { return -reduce_lanes(mask, [](vi a, vi b) { return a + b; }); }
FN i32 count(bool mask) { return mask; }
