// Elementwise functions, for V = vf or f32: one template each, so a vector and a scalar tail give the same bits. Where LANES is 1 (CUDA)
// there are only scalars.
// Floats are within 4 ulp of the exact result over all of f32: denormals, infinities, NaN and any argument of sin and cos too. The coefficients
// are minimax fits of relative error (Lawson's weighted least squares), stated beside each. `c ? a : b` picks by lane where c is a mask.

#ifndef NOINLINE
#define NOINLINE FN
#endif
constexpr f32 INF = __builtin_inff();
constexpr f32 NOT_A_NUMBER = __builtin_nanf("");

/** A polynomial by Horner's rule; coefficients from the highest power down. */
template <class V, class... C> FN V poly(V x, f32 c, C... rest) {
  V r = as<V>(c);
  (..., (r = fma_(r, x, rest)));
  return r;
}

// ---- sign, order, rounding ----
template <class I> FN auto magnitude(I b) { return b & 0x7fffffff; }
FN f32 abs_(f32 x) { return from_bits(magnitude(bits(x))); }
FN i32 abs_(i32 x) { return where(x < 0, (i32)(0u - (u32)x), x); }
/** |x| with the sign of y. */
template <class V> FN V copysign_(V x, V y) { return from_bits(magnitude(bits(x)) | (bits(y) & ~0x7fffffff)); }
/** -1 or 1; zeros and NaN are returned as they are. */
FN f32 sign_(f32 x) { return where(x > 0, 1.0f, where(x < 0, -1.0f, x)); }
FN i32 sign_(i32 x) { return where(x > 0, 1, where(x < 0, -1, x)); }
#if LANES > 1
FN vf abs_(vf x) { return from_bits(magnitude(bits(x))); }
FN vi abs_(vi x) { return where(x < 0, -x, x); }
FN vf sign_(vf x) { return where(x > 0, 1.0f, where(x < 0, -1.0f, x)); }
FN vi sign_(vi x) { return where(x > 0, 1, where(x < 0, -1, x)); }
#endif

template <class V> FN V larger(V a, V b) { return where(or_(a > b, a != a), a, b); }
template <class V> FN V smaller(V a, V b) { return where(or_(a < b, a != a), a, b); }
#if LANES >= 8
/** a > b ? a : b and a < b ? a : b, by one instruction: b where one is NaN. */
#if LANES == 8
FN vf greater(vf a, vf b) { return __builtin_ia32_maxps256(a, b); }
FN vf lesser(vf a, vf b) { return __builtin_ia32_minps256(a, b); }
#elif __has_builtin(__builtin_ia32_maxps512)
FN vf greater(vf a, vf b) { return __builtin_ia32_maxps512(a, b, 4); }
FN vf lesser(vf a, vf b) { return __builtin_ia32_minps512(a, b, 4); }
#else
FN vf greater(vf a, vf b) { return __builtin_ia32_maxps512_mask(a, b, a, -1, 4); }
FN vf lesser(vf a, vf b) { return __builtin_ia32_minps512_mask(a, b, a, -1, 4); }
#endif
FN vf larger(vf a, vf b) { return where(a != a, a, greater(a, b)); }
FN vf smaller(vf a, vf b) { return where(a != a, a, lesser(a, b)); }
#endif
#if LANES > 1
FN bool in_lanes(bool x) { return x; }
FN bool in_lanes(vi x) { return !any(not_(x)); }
/** x / s for a row x over one number s, in any lanes: by its reciprocal where that is a normal number, within 1.5 units in the last place. */
template <class X, class S> FN auto div_by_scalar(X x, S s) {
  const S r = 1.0f / s, a = abs_(r);
  const auto normal = and_(a > 1.2e-38f, a < 8e37f);
  const auto product = x * r;
  return __builtin_expect(in_lanes(normal), 1) ? product : where(normal, product, x / s);
}
#endif
/** NaN if either is. */
template <class A, class B> FN auto max_(A a, B b) { typedef decltype(a + b) V; return larger(as<V>(a), as<V>(b)); }
template <class A, class B> FN auto min_(A a, B b) { typedef decltype(a + b) V; return smaller(as<V>(a), as<V>(b)); }
#if LANES > 1
FN f32 max_of(vf x) { return reduce_lanes(x, [](vf a, vf b) { return max_(a, b); }); }
FN f32 min_of(vf x) { return reduce_lanes(x, [](vf a, vf b) { return min_(a, b); }); }
#endif
/** The number of a code of 4 bits (the low ones), e2m1: a sign, and one of 0, 0.5, 1, 1.5, 2, 3, 4, 6. */
template <class I> FN auto fp4_number(I code) {
  const I size = code & 7;
  return from_bits(where(size < 2, -size & 0x3f000000, (size << 22) + 0x3f000000) | (-(code & 8) & (i32)0x80000000));
}
#if LANES == 16 || LANES == 8
/** The same by a table. */
constexpr i32 FP4_SIZES[LANES] = {0, 0x3f000000, 0x3f800000, 0x3fc00000, 0x40000000, 0x40400000, 0x40800000, 0x40c00000,
#if LANES == 16
  (i32)0x80000000, (i32)0xbf000000, (i32)0xbf800000, (i32)0xbfc00000, (i32)0xc0000000, (i32)0xc0400000, (i32)0xc0800000, (i32)0xc0c00000
#endif
};
FN vf fp4_number(vi code) {
  const vi size = lookup(FP4_SIZES, code);
  return from_bits(LANES == 16 ? size : size | (-(code & 8) & (i32)0x80000000));
}
#endif
/** The number of row `row` in a byte of two rows, times its scale. */
template <class V> FN V from_fp4_(V byte, int_of<V> row, V scale) { return fp4_number(truncate(byte) >> (row & 1) * 4) * scale; }
/** Into [low, high]; a NaN stays one. */
template <class V> FN V clamp_(V x, f32 low, f32 high) {
  V l = as<V>(low), h = as<V>(high);
  x = h < x ? h : x;
  return l > x ? l : x;
}
#if LANES >= 8
FN vf clamp_(vf x, f32 low, f32 high) { return greater(splat(low), lesser(splat(high), x)); }
#endif

/** Rounds half to even. Adding 2^23 leaves no bits for a fraction; larger numbers have none. */
template <class V> FN V round_(V x) {
  V a = abs_(x), r = copysign_((a + 8388608.0f) - 8388608.0f, x);
  return where(a < 8388608.0f, r, x);
}
template <class V> FN V floor_(V x) { V r = round_(x); return r - where(r > x, as<V>(1.0f), as<V>(0.0f)); }
template <class V> FN V ceil_(V x) { return -floor_(-x); }
/** The same for doubles of less than 2^51. */
template <class D> FN D nearest(D x) { return (x + 6755399441055744.0) - 6755399441055744.0; }

/** Truncates, saturating; NaN becomes 0. */
template <class V> FN int_of<V> to_i32(V x) {
  int_of<V> r = truncate(where(and_(x >= -2147483648.0f, x < 2147483648.0f), x, as<V>(0.0f)));
  r = where(x >= 2147483648.0f, as<int_of<V>>(2147483647), r);
  return where(x < -2147483648.0f, as<int_of<V>>(-2147483647 - 1), r);
}

// ---- powers of e ----
FN f32 sqrt_(f32 x) { return __builtin_sqrtf(x); }
#if LANES > 1
/** Compilers merge the lanes into one vector instruction. */
FN vf sqrt_(vf x) {
  vf r;
  UNROLL for (int l = 0; l < LANES; l++) r[l] = __builtin_sqrtf(x[l]);
  return r;
}
#endif
template <class V> FN V rsqrt_(V x) { return 1.0f / sqrt_(x); }

/** 2^n for whole n in [-126, 127]. */
template <class I> FN auto power2(I n) { return from_bits((n + 127) << 23); }
/** x * 2^n, rounded once, for whole n in [-252, 254]. */
FN f32 scaled(f32 x, f32 n) { i32 i = truncate(n), half = i >> 1; return x * power2(half) * power2(i - half); }
#if LANES > 1
FN vf scaled(vf x, vf n) {
#if LANES == 16
  return __builtin_ia32_scalefps512_mask(x, n, x, -1, 4);
#else
  vi i = truncate(n), half = i >> 1;
  return x * power2(half) * power2(i - half);
#endif
}
#endif
/** e^r - 1 for |r| <= log(2) / 2: error 2^-26. */
template <class V> FN V expm1_near(V r) {
  V q = poly(r, 0.00138825108f, 0.00836654752f, 0.0416672006f, 0.166665435f, 0.49999997f);
  return fma_(q, r * r, r);
}
template <class V> struct Exp { V rest, n; };
/** e^x = (1 + rest) 2^n. log(2) is cut in two parts, the first short, so that n times it is exact. */
template <class V> FN Exp<V> split_exp(V x) {
  V n = fma_(x, 1.44269504f, 12582912.0f) - 12582912.0f;
  V r = fma_(n, 2.12194440e-4f, fma_(n, -0.693359375f, x));
  return {expm1_near(r), n};
}
#if LANES == 16
/** The bits of 2^(i / 16). With this table the polynomial needs so few terms that it is worth it, since one instruction looks all lanes up. */
constexpr i32 SIXTEENTHS[] = {0x3f800000, 0x3f85aac3, 0x3f8b95c2, 0x3f91c3d3, 0x3f9837f0, 0x3f9ef532, 0x3fa5fed7, 0x3fad583f,
                              0x3fb504f3, 0x3fbd08a4, 0x3fc5672a, 0x3fce248c, 0x3fd744fd, 0x3fe0ccdf, 0x3feac0c7, 0x3ff5257d};
/** x * 2^floor(n). */
FN vf lifted(vf x, vf n) { return scaled(x, n); }
FN f32 lifted(f32 x, f32 n) { return n != n ? n : scaled(x, floor_(clamp_(n, -252.0f, 254.0f))); }
/** x where that is between -1 and 1; 1 or -1 where it is not, or no number. */
template <class V> FN V within_one(V x) { return where(abs_(x) < 1.0f, x, as<V>(1.0f)); }
#if defined(__AVX512DQ__)
FN vf within_one(vf x) { return __builtin_ia32_rangeps512_mask(x, splat(1.0f), 2, vf{}, -1, 4); }
#endif
/** e^x = (1 + rest) 2^n, n in sixteenths, error 2^-29. Where x is so large that r is noise, or infinite, it is enough that 1 + rest is above 0: n decides. */
template <class V> FN V exp_(V x) {
  V t = fma_(x, 1.44269504f, 786432.0f), n = t - 786432.0f;
  V r = within_one(fma_(n, 2.12194440e-4f, fma_(n, -0.693359375f, x)));
  V w = from_bits(lookup(SIXTEENTHS, bits(t)));
  return lifted(fma_(w, fma_(fma_(r, 0.16666991f, 0.5000162f), r * r, r), w), n);
}
#elif LANES == 8
/** e^x = (1 + rest) 2^(n / 8), n the low bits of `turns`: so few terms that a table of 2^(i / 8) pays where one instruction reads it. */
template <class V> struct Eighths { V rest; int_of<V> turns; };
/** Error 2^-25. */
template <class V> FN Eighths<V> split_eighths(V x) {
  V t = fma_(x, 11.5415603f, 12582912.0f), n = t - 12582912.0f;
  V r = fma_(n, 2.6524305e-5f, fma_(n, -0.086669921875f, x));
  return {fma_(fma_(r, 0.16666858f, 0.5000645f), r * r, r), bits(t)};
}
/** 2^(i / 8) as bits, less i << 20, which `turns` brings where it becomes the exponent. */
constexpr i32 EIGHTHS[] = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
template <class V> FN V exp_(V x) {
  auto none = x < -104.0f;  // else the result would be denormal, which takes 100 cycles
  Eighths<V> e = split_eighths(clamp_(where(none, as<V>(0.0f), x), -104.0f, 89.0f));
  V w = from_bits(lookup(EIGHTHS, e.turns) + ((e.turns & 7) << 20));
  return where(none, as<V>(0.0f), scaled(fma_(w, e.rest, w), to_f32((e.turns << 10) >> 13)));
}
/** The rare case, not inlined, so that the common one below stays short enough to be inlined. */
NOINLINE vf exp_far(vf x) { return exp_<vf>(x); }
/** The same bits, with a single scaling if all lanes are within 87, as they nearly always are. */
FN vf exp_(vf x) {
  if (__builtin_expect(__builtin_ia32_movmskps256(fma_(x, x, -7569.0f)) != 255, 0)) return exp_far(x);  // not all within 87
  Eighths<vf> e = split_eighths(x);
  vf w = from_bits(lookup(EIGHTHS, e.turns) + (e.turns << 20));
  return fma_(w, e.rest, w);
}
#else
template <class V> FN V exp_(V x) {
  Exp<V> e = split_exp(clamp_(x, -104.0f, 89.0f));
  return scaled(1.0f + e.rest, e.n);
}
#endif
/** n / d within 1 ulp, if d and 1 / d are normal numbers: on CUDA this needs no branch. */
#ifdef RECIPROCAL
FN f32 ratio(f32 n, f32 d) { const f32 r = RECIPROCAL(d), q = n * r; return fma_(fma_(-q, d, n), r, q); }
#else
template <class V> FN V ratio(V n, V d) { return n / d; }
#endif
/** Computed from e^-|x|, so that small values below -88 are kept. */
template <class V> FN V sigmoid_(V x) {
  V e = exp_(-abs_(x));
  return ratio(where(x < 0.0f, e, as<V>(1.0f)), 1.0f + e);
}
/** e^x - 1. (1 + rest) 2^n - 1 without cancellation; from 2^60 on the 1 no longer counts, and 2^n may be too large for a number. */
template <class V> FN V expm1_(V x) {
  Exp<V> e = split_exp(clamp_(x, -40.0f, 89.0f));
  V s = power2(truncate(smaller(e.n, as<V>(126.0f))));
  return where(e.n > 60.0f, scaled(1.0f + e.rest, e.n), fma_(e.rest, s, s - 1.0f));
}
/** m / (m + 2) with m = e^2x - 1, found without cancellation. */
template <class V> FN V tanh_(V x) {
  Exp<V> e = split_exp(2.0f * clamp_(x, -30.0f, 30.0f));
  V s = power2(truncate(e.n)), m = fma_(e.rest, s, s - 1.0f);
  return ratio(m, m + 2.0f);
}
/** The slope of tanh, 4 (m + 1) / (m + 2)^2, which 1 - tanh^2 is too, but for the digits that this loses. 4e-26 or more. */
template <class V> FN V tanh_slope_(V x) {
  Exp<V> e = split_exp(2.0f * clamp_(x, -30.0f, 30.0f));
  V s = power2(truncate(e.n)), half = ratio(as<V>(2.0f), fma_(e.rest, s, s - 1.0f) + 2.0f);
  return half * (half * fma_(e.rest, s, s));
}

// ---- the same for results of bf16, within 2^-15, by the unit for special functions where there is one; 2^x and e^x for x of -100 to 0 ----
#ifdef EXP2
FN f32 exp2_short_(f32 x) { return EXP2(x); }
FN f32 exp_short_(f32 x) { return EXP2(x * 1.44269504f); }
FN f32 sigmoid_short_(f32 x) { return RECIPROCAL(1.0f + EXP2(x * -1.44269504f)); }
/** Near 0, where the difference would cancel, by its series. */
FN f32 tanh_short_(f32 x) {
  const f32 s = x * x, near = fma_(x * s, fma_(s, 0.133333333f, -0.333333333f), x);
  return where(s < 0.04f, near, fma_(-2.0f, RECIPROCAL(1.0f + EXP2(x * 2.88539008f)), 1.0f));
}
#else
template <class V> FN V exp2_short_(V x) { return exp_(x * 0.693147180559945309417f); }
template <class V> FN V exp_short_(V x) { return exp_(x); }
template <class V> FN V sigmoid_short_(V x) { return sigmoid_(x); }
template <class V> FN V tanh_short_(V x) { return tanh_(x); }
#endif

/** Two fits: x + x P(x^2) below 0.92 (2^-26), 1 - e^(-x Q(x)) above (2^-28 of the result). */
template <bool SHORT, class V> FN V erf_of(V x) {
  V a = abs_(x), t = clamp_(a, 0.92f, 3.95f), s = x * x, power;
  V near = poly(s, -0.000599940657f, 0.00499483058f, -0.0267677195f, 0.112818457f, -0.376124978f, 0.128379151f);
  V far = poly(t, -0.000213984982f, 0.0032149558f, -0.0228899643f, 0.105261847f, 0.635718286f, 1.12851441f);
  if constexpr (SHORT) power = exp2_short_(t * far * -1.44269504f);
  else power = exp_(-t * far);
  return where(a < 0.92f, fma_(near, x, x), copysign_(1.0f - power, x));
}
template <class V> FN V erf_(V x) { return erf_of<false>(x); }
#ifdef EXP2
FN f32 erf_short_(f32 x) { return erf_of<true>(x); }
#else
template <class V> FN V erf_short_(V x) { return erf_(x); }
#endif

// ---- logarithms ----
/** x = (1 + f) 2^n, -1/3 <= f < 1/3, for x > 0 and finite. */
template <class V> struct Log { V f, n; };
template <class V> FN Log<V> split_log(V x) {
  auto tiny = x < 1.17549435e-38f;
  int_of<V> b = bits(where(tiny, x * 8388608.0f, x)), e = (b - 0x3f2aaaab) & ~0x7fffff;
  return {from_bits(b - e) - 1.0f, to_f32(e >> 23) - where(tiny, as<V>(23.0f), as<V>(0.0f))};
}
/** f - f^2 / 2 + f^3 P(f) (2^-27), and n log(2) in two parts. */
template <class V> FN V joined_log(Log<V> l) {
  V p = poly(l.f, -0.128901005f, 0.139847919f, -0.121845879f, 0.140057996f, -0.166804671f, 0.200104102f, -0.249997973f, 0.333332151f);
  V r = fma_(l.f, p, -0.5f) * (l.f * l.f);
  return fma_(l.n, 0.693359375f, l.f + fma_(l.n, -2.12194440e-4f, r));
}
template <class V> NOINLINE V log_(V x) {
  V r = joined_log(split_log(x));
  V special = where(x == 0.0f, as<V>(-INF), where(x < 0.0f, as<V>(NOT_A_NUMBER), x));
  return where(and_(x > 0.0f, x < INF), r, special);
}
/** log(1 + x): what rounding 1 + x lost is added to f, which then has all digits of a small x. */
template <class V> NOINLINE V log1p_(V x) {
  V y = 1.0f + x;
  Log<V> l = split_log(y);
  l.f = fma_(x - (y - 1.0f), power2(-truncate(smaller(l.n, as<V>(126.0f)))), l.f);
  V special = where(x == -1.0f, as<V>(-INF), where(x < -1.0f, as<V>(NOT_A_NUMBER), x));
  return where(and_(x > -1.0f, x < INF), joined_log(l), special);
}
/** log2 |x| to 2^-40, infinite or NaN where that is right: atanh((m - 1) / (m + 1)) by an even fit (2^-48). */
template <class V> NOINLINE auto log2_wide(V x) {
  typedef typename TypesOf<V>::D D;
  V a = abs_(x);
  Log<V> l = split_log(a);
  D f = wide(l.f), s = f / (f + 2.0), z = s * s;
  D p = z * 0.087026357539435467 + 0.090337902379941173;
  p = ((p * z + 0.1111269390897987) * z + 0.14285691829806649) * z + 0.20000000152307468;
  p = (p * z + 0.33333333332937759) * z + 1.0000000000000018;
  V special = where(a == 0.0f, as<V>(-INF), where(a < INF, as<V>(0.0f), a));
  return wide(l.n) + s * p * 2.8853900817779268 + wide(special);
}
/** As JavaScript's `**`: 1 where b is 0; NaN for a fraction of a negative number, and for (+-1) ** inf. */
template <class V> NOINLINE V pow_(V a, V b) {
  auto t = wide(b) * log2_wide(a);
  V n = round_(clamp_(narrow(t), -160.0f, 160.0f)), rest = clamp_(narrow(t - wide(n)), -1.0f, 1.0f);
  V r = scaled(1.0f + expm1_near(rest * 0.693147181f), n);
  V half = b * 0.5f;
  auto isWhole = floor_(b) == b, odd = and_(isWhole, floor_(half) != half);
  r = where(and_(odd, bits(a) < 0), -r, r);
  r = where(and_(not_(isWhole), and_(a < 0.0f, a > -INF)), as<V>(NOT_A_NUMBER), r);
  return where(b == 0.0f, as<V>(1.0f), r);
}
template <class A, class B> FN auto pow_(A a, B b) { typedef decltype(a + b) V; return pow_<V>(as<V>(a), as<V>(b)); }

// ---- sine and cosine ----
/** x = r + k pi/2 with |r| <= pi/4; of k only the low bits. */
template <class V> struct Turn { V r; int_of<V> k; };
/** For |x| <= 2^20: pi/2 in two parts, k times the first (33 bits) exact. */
template <class V> FN Turn<V> turn_near(V x) {
  auto d = wide(x), k = nearest(d * 0.63661977236758138);
  auto r = (d - k * 0x1.921fb544p+0) - k * 0x1.0b4611a626331p-34;
  return {narrow(r), truncate(where(abs_(x) <= 1048576.0f, narrow(k), as<V>(0.0f)))};
}
/** For any x: its products with pieces of 24 bits of 2/pi are exact, and whole turns are dropped from each (Payne and Hanek, 1983). */
template <class V> FN Turn<V> turn_far(V x) {
  typedef typename TypesOf<V>::D D;
  constexpr f64 parts[] = {0xa2f983p-24, 0x6e4e44p-48, 0x1529fcp-72, 0x2757d1p-96, 0xf534ddp-120, 0xc0db62p-144, 0x95993cp-168, 0x439041p-192};
  D d = wide(x), r = D{}, k = D{};
  NO_UNROLL_HOST for (f64 part : parts) {
    D y = d * part;
    y = y * wide(where(abs_(narrow(y)) < 0x1p50f, as<V>(1.0f), as<V>(0.0f)));  // larger ones have 48 bits: whole turns
    D n = nearest(y);
    r = r + (y - n);
    k = k + (n - 4.0 * nearest(n * 0.25));
  }
  D n = nearest(r);
  return {narrow((r - n) * 1.5707963267948966) + (x - x), truncate(k + n)};
}
/** sin(x + shift pi/2). */
template <class V> NOINLINE V circular(V x, i32 shift) {
  Turn<V> t = turn_near(x);
  auto far = not_(abs_(x) <= 1048576.0f);
  if (__builtin_expect(any(far), 0)) {
    Turn<V> u = turn_far(x);
    t = {where(far, u.r, t.r), where(far, u.k, t.k)};
  }
  int_of<V> k = t.k + shift;
  V s = t.r * t.r;
  V sine = fma_(poly(s, -0.000195166562f, 0.00833217334f, -0.166666552f), s * t.r, t.r);                  // 2^-27
  V cosine = fma_(poly(s, 2.44377279e-05f, -0.00138873619f, 0.0416666456f), s * s, fma_(s, -0.5f, 1.0f));  // 2^-31
  V r = where((k & 1) != 0, cosine, sine);
  return where((k & 2) != 0, -r, r);
}
template <class V> FN V sin_(V x) { return circular(x, 0); }
template <class V> FN V cos_(V x) { return circular(x, 1); }

// ---- remainders: the sign of b, 0 where b is 0 ----
/** a / b rounded down, wrapped; 0 where b is 0. A quotient of doubles is near enough to cut. */
template <class I> FN I quotient(I a, I b) {
  typedef typename TypesOf<I>::U U;
  auto special = or_(b == 0, b == -1);
  I d = where(special, as<I>(1), b), q = truncate(wide(a) / wide(d)), rest = a - q * d;
  q = where(and_(rest != 0, (rest ^ d) < 0), q - 1, q);
  return where(special, (I)((U)a * (U)b), q);
}
template <class I> FN I modulo(I a, I b) {
  typedef typename TypesOf<I>::U U;
  return where(b == 0, as<I>(0), (I)((U)a - (U)quotient(a, b) * (U)b));
}
template <class A, class B> FN auto idiv_(A a, B b) { typedef decltype(a + b) I; return quotient(as<I>(a), as<I>(b)); }

/** Exact: 28 bits of the quotient at a time, from the highest that may be there. */
template <class V> FN V float_modulo(V a, V b) {
  auto endless = and_(abs_(b) == INF, abs_(a) < INF);
  V f = where(endless, as<V>(1.0f), b);
  auto r = wide(a), d = wide(f);
  f64 scale = any(abs_(a) > abs_(f) * 268435456.0f) ? 0x1p252 : 1.0;
  NO_UNROLL_HOST for (; scale >= 1.0; scale *= 0x1p-28) r = r - nearest(r / (d * scale)) * (d * scale);
  auto against = [](V x, V y) { return or_(and_(x < 0.0f, y > 0.0f), and_(x > 0.0f, y < 0.0f)); };
  r = r + d * wide(where(against(narrow(r), f), as<V>(1.0f), as<V>(0.0f)));
  return where(b == 0.0f, as<V>(0.0f), where(endless, where(against(a, b), b, a), narrow(r)));
}
FN f32 modulo(f32 a, f32 b) { return float_modulo(a, b); }
#if LANES > 1
FN vf modulo(vf a, vf b) { return float_modulo(a, b); }
#endif
template <class A, class B> FN auto rem_(A a, B b) { typedef decltype(a + b) V; return modulo(as<V>(a), as<V>(b)); }

// ---- sorting ----
/** Sort keys for descending order: unsigned numbers that increase as x decreases; -0 equals 0, NaN comes last. */
template <class F> FN int_of<F> falling_(F x) {
  const auto b = bits(x + 0.0f);
  return where(x != x, as<int_of<F>>(-1), where(b < 0, b, b ^ 0x7fffffff));
}
FN i32 falling_(i32 x) { return x ^ 0x7fffffff; }
/** The inverse of `falling_`. */
FN f32 fallen_(i32 x) { return from_bits(where(x < 0, x, x ^ 0x7fffffff)); }
FN i32 digit_(i32 x, i32 shift, i32 mask) { return (i32)((u32)x >> shift) & mask; }
FN i32 raised_(i32 digit, i32 shift) { return (i32)((u32)digit << shift); }

// ---- random bits ----
template <class I> struct Pair { I x0, x1; };
/** Threefry-2x32, 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). */
template <class I> NOINLINE Pair<I> threefry(i32 k0, i32 k1, I c0, I c1) {
  typedef typename TypesOf<I>::U U;
  constexpr int turns[] = {13, 15, 26, 6, 17, 29, 16, 24};
  const u32 keys[] = {(u32)k0, (u32)k1, (u32)k0 ^ (u32)k1 ^ 0x1bd11bdau};
  U x = (U)c0 + keys[0], y = (U)c1 + keys[1];
  UNROLL for (int i = 0; i < 20; i++) {
    x += y;
    y = (y << turns[i % 8] | y >> (32 - turns[i % 8])) ^ x;
    if (i % 4 == 3) { u32 j = i / 4 + 1; x += keys[j % 3]; y += keys[(j + 1) % 3] + j; }
  }
  return {(I)x, (I)y};
}
/** A number in [0, 1) from the top 24 of 32 random bits. */
template <class I> FN auto unit_(I x) { return to_f32((I)((typename TypesOf<I>::U)x >> 8)) * 5.9604644775390625e-8f; }
