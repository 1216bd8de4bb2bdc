// Conversions, and instructions on registers.
#include <algorithm>

#include "harness.hpp"
using namespace unit;

/// out[i * 6 ..]: bf16x2 and f16x2 of (x, -x), bf16, f16, tf32, and bf16 back.
KERNEL void convert(const float* in, u32* out, int n) {
  for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) {
    const float x = in[i];
    u32 b2, h2, t;
    u16 b, h;
    float back;
    PTX("cvt.rn.bf16x2.f32 %0, %1, %2;", OUTS(W_U32(b2)), INS(R_F32(-x), R_F32(x)));
    PTX("cvt.rn.f16x2.f32 %0, %1, %2;", OUTS(W_U32(h2)), INS(R_F32(-x), R_F32(x)));
    PTX("cvt.rn.bf16.f32 %0, %1;", OUTS(W_U16(b)), INS(R_F32(x)));
    PTX("cvt.rn.f16.f32 %0, %1;", OUTS(W_U16(h)), INS(R_F32(x)));
    PTX("cvt.rna.tf32.f32 %0, %1;", OUTS(W_U32(t)), INS(R_F32(x)));
    PTX("cvt.f32.f16 %0, %1;", OUTS(W_F32(back)), INS(R_U16(h)));
    u32* o = out + i * 6;
    o[0] = b2, o[1] = h2, o[2] = b, o[3] = h, o[4] = t, o[5] = __float_as_uint(back);
  }
}
KERNEL_END(convert)
/// A format of `mantissa` bits: its non-negative numbers in order, then infinity.
struct Format {
  std::vector<double> values;
  Format(int exponent_bits, int mantissa) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    for (int e = 0; e < (1 << exponent_bits) - 1; e++)
      for (int m = 0; m < 1 << mantissa; m++) values.push_back(std::ldexp((e ? 1 << mantissa : 0) + m, std::max(e, 1) - bias - mantissa));
    values.push_back(std::ldexp(1.0, bias + 1));  // what would come next: rounds to infinity
  }
  /// The index of the nearest; ties to the even index, as its last bit is the mantissa's.
  u32 nearest(double x, bool ties_away) const {
    const size_t above = size_t(std::lower_bound(values.begin(), values.end(), x) - values.begin());
    if (above == values.size()) return u32(above - 1);
    if (above == 0 || values[above] == x) return u32(above);
    const double low = x - values[above - 1], high = values[above] - x;
    if (low != high) return u32(low < high ? above - 1 : above);
    return u32(ties_away || above % 2 == 0 ? above : above - 1);
  }
};
static std::vector<float> interesting() {
  std::vector<float> v = {0, 1, 65504, 65519.99f, 65520, 65536, 1e30f, 3.4e38f, INFINITY, 1e-45f, 5.96e-8f, 2.98e-8f, 2.99e-8f, 6.1e-5f, 6.09e-5f, 1e-40f};
  for (int i = 0; i < 3000; i++) {
    const u32 bits = generator()() & 0x7fffffff;
    float x;
    memcpy(&x, &bits, 4);
    if (x == x) v.push_back(x);
    const u32 tie = (bits & 0xffff0000) | 0x8000, f16_tie = (0x33000000 + bits % 0x15000000) & ~0xfffu;
    memcpy(&x, &tie, 4);
    if (x == x) v.push_back(x);
    memcpy(&x, &f16_tie, 4);
    v.push_back(x);
  }
  return v;
}
TEST(test_convert, "cvt to bf16, f16 and tf32") {
  const std::vector<float> in = interesting();
  Device<float> din(in);
  Device<u32> out(in.size() * 6);
  launch(emu_kernel_convert, 1, 32, 0, din.p, out.p, int(in.size()));
  const std::vector<u32> got = out.get();
  static const Format bf16(8, 7), f16(5, 10);
  for (size_t i = 0; i < in.size(); i++) {
    const double x = double(in[i]);
    const u32 b = bf16.nearest(x, false), h = f16.nearest(x, false);
    const u32 want[] = {b | (b | 0x8000) << 16, h | (h | 0x8000) << 16, b, h};
    for (size_t k = 0; k < 4; k++)
      if (got[i * 6 + k] != want[k]) return wrong("result %zu for %a is 0x%x, not 0x%x", k, x, got[i * 6 + k], want[k]);
    float t, back;
    memcpy(&t, &got[i * 6 + 4], 4);
    memcpy(&back, &got[i * 6 + 5], 4);
    if (h < 0x7c00 && double(back) != f16.values[h]) return wrong("%a back from f16 is %a", x, double(back));
    // tf32 has 10 bits of mantissa and the exponents of f32; ties go away from zero
    const double step = x == 0 || std::isinf(x) ? 0 : std::ldexp(1.0, std::max(std::ilogb(x), -126) - 10), rounded = step == 0 ? x : std::floor(x / step + 0.5) * step;
    if (double(t) != (rounded > 3.4028235e38 ? double(INFINITY) : rounded)) return wrong("tf32 of %a is %a, not %a", x, double(t), rounded);
  }
}
KERNEL void not_numbers(u32* out) {
  u32 b, t;
  PTX("cvt.rn.bf16x2.f32 %0, %1, %2;", OUTS(W_U32(b)), INS(R_F32(__uint_as_float(0x7fc00001)), R_F32(__uint_as_float(0xff800001))));
  PTX("cvt.rn.f16x2.f32 %0, %1, %2;", OUTS(W_U32(t)), INS(R_F32(__uint_as_float(0x7fc00001)), R_F32(__uint_as_float(0xffc00000))));
  out[0] = b, out[1] = t;
}
KERNEL_END(not_numbers)
TEST(test_nan, "cvt of NaN") {
  Device<u32> out(2);
  launch(emu_kernel_not_numbers, 1, 1, 0, out.p);
  same("NaN", out.get(), {0x7fff7fffu, 0x7fff7fffu});
}

/// One word a line; a float's bits.
KERNEL void arithmetic(u32* out, u32 a, u32 b, float x, float y) {
  int at = 0;
  u32 r;
  float f;
  u64 w;
#define INTEGER(text) [&] { PTX(text, OUTS(W_U32(r)), INS(R_U32(a), R_U32(b))); out[at++] = r; }()
  INTEGER("add.u32 %0, %1, %2;"), INTEGER("sub.s32 %0, %1, %2;"), INTEGER("mul.lo.u32 %0, %1, %2;"), INTEGER("min.s32 %0, %1, %2;"), INTEGER("min.u32 %0, %1, %2;");
  INTEGER("max.s32 %0, %1, %2;"), INTEGER("and.b32 %0, %1, %2;"), INTEGER("or.b32 %0, %1, %2;"), INTEGER("xor.b32 %0, %1, %2;"), INTEGER("shl.b32 %0, %1, 7;");
  INTEGER("shr.u32 %0, %1, 7;"), INTEGER("shr.s32 %0, %1, 7;"), INTEGER("shl.b32 %0, %1, 40;"), INTEGER("mad.lo.u32 %0, %1, %2, %1;");
  INTEGER("{ .reg .pred p; setp.lt.s32 p, %1, %2; selp.b32 %0, %1, %2, p; }"), INTEGER("{ .reg .pred p; setp.lt.u32 p, %1, %2; @p mov.u32 %0, 1; @!p mov.u32 %0, 2; }");
  INTEGER("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {h, l}; }"), INTEGER("cvt.u32.u8 %0, %1;"), INTEGER("cvt.s32.s8 %0, %1;");
  INTEGER("{ .reg .f32 g; cvt.rn.f32.s32 g, %1; cvt.rzi.s32.f32 %0, g; }"), INTEGER("mov.b32 %0, 0f3F800000;"), INTEGER("mov.u32 %0, %%laneid;");
  PTX("mul.wide.u32 %0, %1, %2;", OUTS(W_U64(w)), INS(R_U32(a), R_U32(b)));
  out[at++] = u32(w), out[at++] = u32(w >> 32);
  PTX("mad.wide.s32 %0, %1, %2, %3;", OUTS(W_U64(w)), INS(R_U32(a), R_U32(b), R_U64(5)));
  out[at++] = u32(w), out[at++] = u32(w >> 32);
#define REAL(text) [&] { PTX(text, OUTS(W_F32(f)), INS(R_F32(x), R_F32(y))); out[at++] = __float_as_uint(f); }()
  REAL("add.f32 %0, %1, %2;"), REAL("sub.rn.f32 %0, %1, %2;"), REAL("mul.f32 %0, %1, %2;"), REAL("div.rn.f32 %0, %1, %2;"), REAL("fma.rn.f32 %0, %1, %2, %1;");
  REAL("min.f32 %0, %1, %2;"), REAL("max.f32 %0, %1, %2;"), REAL("min.NaN.f32 %0, %1, %2;"), REAL("{ .reg .f32 n; mov.b32 n, 0x7fc00000; max.NaN.f32 %0, n, %1; }"), REAL("neg.f32 %0, %1;"), REAL("abs.f32 %0, %2;"), REAL("sqrt.rn.f32 %0, %1;"), REAL("rcp.approx.ftz.f32 %0, %1;");
}
KERNEL_END(arithmetic)
static u32 word(float x) { u32 u; memcpy(&u, &x, 4); return u; }
TEST(test_arithmetic, "arithmetic") {
  const u32 a = 0xfedc8ba9, b = 0x12345678;
  const float x = 1.1f, y = -3.3f;
  const int sa = int(a), sb = int(b);
  const u64 wide = u64(a) * b, mad = u64((long long)sa * sb + 5);
  const u32 converted = u32(int(float(sa)));
  const std::vector<u32> want = {a + b, a - b, a * b, u32(std::min(sa, sb)), std::min(a, b), u32(std::max(sa, sb)), a & b, a | b, a ^ b, a << 7, a >> 7, u32(sa >> 7), 0, a * b + a,
    u32(sa < sb ? sa : sb), 2, a << 16 | a >> 16, a & 255, u32(int((signed char)(a & 255))), converted, 0x3f800000, 0, u32(wide), u32(wide >> 32), u32(mad), u32(mad >> 32),
    word(x + y), word(x - y), word(x * y), word(x / y), word(std::fma(x, y, x)), word(y), word(x), word(y), 0x7fc00000, word(-x), word(-y), word(std::sqrt(x)), word(1 / x)};
  Device<u32> out(want.size());
  launch(emu_kernel_arithmetic, 1, 1, 0, out.p, a, b, x, y);
  same("result", out.get(), want);
}
KERNEL void bf16_pairs(u32* out, u32 a, u32 b, u32 c) {
  u32 r;
  PTX("fma.rn.bf16x2 %0, %1, %2, %3;", OUTS(W_U32(r)), INS(R_U32(a), R_U32(b), R_U32(c)));
  out[0] = r;
}
KERNEL_END(bf16_pairs)
/// 256 * -1 + 133; and 1.5 * (1 + 2^-7), halfway between two numbers, less 2^-40, which a sum in f32 would lose.
TEST(test_bf16_pairs, "fma of pairs of bf16") {
  Device<u32> out(1);
  launch(emu_kernel_bf16_pairs, 1, 1, 0, out.p, 0x43803fc0u, 0xbf803f81u, 0x4305ab80u);
  same("sum", out.get(), {0xc2f63fc1u});
}
KERNEL void functions(const float* in, float* out, int n) {
  for (int i = int(threadIdx.x); i < n; i += 32) {
    float r[6];
    PTX("ex2.approx.ftz.f32 %0, %1;", OUTS(W_F32(r[0])), INS(R_F32(in[i])));
    PTX("lg2.approx.f32 %0, %1;", OUTS(W_F32(r[1])), INS(R_F32(in[i])));
    PTX("rsqrt.approx.f32 %0, %1;", OUTS(W_F32(r[2])), INS(R_F32(in[i])));
    PTX("tanh.approx.f32 %0, %1;", OUTS(W_F32(r[3])), INS(R_F32(in[i])));
    PTX("sin.approx.f32 %0, %1;", OUTS(W_F32(r[4])), INS(R_F32(in[i])));
    r[5] = __expf(in[i]);
    for (int k = 0; k < 6; k++) out[i * 6 + k] = r[k];
  }
}
KERNEL_END(functions)
TEST(test_functions, "functions") {
  std::vector<float> in;
  std::vector<double> want;
  for (int i = 0; i < 200; i++) {
    const double x = double(in.emplace_back(std::fabs(unit::random()) * 5 + 0.01f));
    for (double w : {std::exp2(x), std::log2(x), 1 / std::sqrt(x), std::tanh(x), std::sin(x), std::exp(x)}) want.push_back(w);
  }
  std::vector<double> scale;
  for (double w : want) scale.push_back(std::fabs(w) + 1e-3);
  Device<float> din(in), out(want.size());
  launch(emu_kernel_functions, 1, 32, 0, din.p, out.p, int(in.size()));
  close("function", out.get(), want, scale, 1e-6);
}

/// Vectors, shared and global, signed bytes, offsets, generic addresses.
KERNEL void memory(const u32* in, u32* out) {
  SHARED(u32, room, [4]);
  u32 a, b, c, d;
  PTX("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];", OUTS(W_U32(a), W_U32(b), W_U32(c), W_U32(d)), INS(R_PTR(in)));
  PTX("st.shared.v2.b32 [%0+8], {%1, %2};", OUTS(), INS(R_U32(__cvta_generic_to_shared(room)), R_U32(a), R_U32(b)));
  PTX("st.shared::cta.v2.b32 [%0], {%1, %2};", OUTS(), INS(R_U32(__cvta_generic_to_shared(room)), R_U32(c), R_U32(d)));
  PTX("{ .reg .b64 p; cvta.to.shared.u64 p, %1; ld.shared.u32 %0, [p]; }", OUTS(W_U32(a)), INS(R_PTR(room + 2)));
  PTX("ld.u32 %0, [%1];", OUTS(W_U32(b)), INS(R_PTR(room)));
  PTX("ld.global.s8 %0, [%1+3];", OUTS(W_U32(c)), INS(R_PTR(in)));
  PTX("ld.global.cg.u16 %0, [%1];", OUTS(W_U32(d)), INS(R_PTR(in)));
  PTX("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};", OUTS(), INS(R_PTR(out), R_U32(a), R_U32(b), R_U32(c), R_U32(d)));
}
KERNEL_END(memory)
KERNEL void wrong_memory(u32* p, int bug) {
  SHARED(u32, room, [4]);
  u32 r;
  if (bug == 0) PTX("ld.global.v2.u32 {%0, %0}, [%1];", OUTS(W_U32(r)), INS(R_PTR(p + 1)));
  if (bug == 1) PTX("ld.global.u32 %0, [%1];", OUTS(W_U32(r)), INS(R_PTR(p + 4)));
  if (bug == 2) PTX("st.shared.u32 [%0], %1;", OUTS(), INS(R_U32(__cvta_generic_to_shared(room) + 1000), R_U32(1)));
  if (bug == 3) PTX("ld.global.u32 %0, [%1];", OUTS(W_U32(r)), INS(R_PTR(p + 3)));
  if (bug == 4) PTX("frobnicate.u32 %0, [%1];", OUTS(W_U32(r)), INS(R_PTR(p)));
  if (bug == 5) PTX("ld.global.unheard.u32 %0, [%1];", OUTS(W_U32(r)), INS(R_PTR(p)));
}
KERNEL_END(wrong_memory)
TEST(test_memory, "ld, st, cvta") {
  Device<u32> in(std::vector<u32>{0xfe345678, 2, 3, 4}), out(4);
  launch(emu_kernel_memory, 1, 1, 0, in.p, out.p);
  same("loaded", out.get(), {0xfe345678u, 3u, 0xfffffffeu, 0x5678u});
  Device<u32> fresh(4);
  contains("alignment", try_launch(emu_kernel_wrong_memory, 1, 1, 0, in.p, 0), "is not a multiple of 8");
  contains("global bounds", try_launch(emu_kernel_wrong_memory, 1, 1, 0, in.p, 1), "outside buffer");
  contains("shared bounds", try_launch(emu_kernel_wrong_memory, 1, 1, 0, in.p, 2), "outside what the block has");
  contains("initialisation", try_launch(emu_kernel_wrong_memory, 1, 1, 0, fresh.p, 3), "which nobody wrote");
  contains("an unknown opcode", try_launch(emu_kernel_wrong_memory, 1, 1, 0, in.p, 4), "is not emulated");
  contains("an unknown modifier", try_launch(emu_kernel_wrong_memory, 1, 1, 0, in.p, 5), "its .unheard");
}
