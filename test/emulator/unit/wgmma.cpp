// wgmma.mma_async: operands are laid out by the definition of each layout (PTX ISA 9.7.15.5), then multiplied.
#include "harness.hpp"
using namespace unit;

DEV u32 smem(const void* p) { return u32(__cvta_generic_to_shared(p)); }
#define F4(i) RW_F32(d[i]), RW_F32(d[i + 1]), RW_F32(d[i + 2]), RW_F32(d[i + 3])
#define F16(i) F4(i), F4(i + 4), F4(i + 8), F4(i + 12)
#define D16 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
#define FENCE() PTX("wgmma.fence.sync.aligned;", OUTS(), INS())
#define COMMIT() PTX("wgmma.commit_group.sync.aligned;", OUTS(), INS())
#define WAIT() PTX("wgmma.wait_group.sync.aligned 0;", OUTS(), INS())

/// Copies the image of both operands to shared memory. `bug`: 1 no proxy fence, 2 no barrier.
DEV void place(u8* room, const u8* image, int bytes, int bug) {
  for (int i = int(threadIdx.x); i < bytes; i += 128) room[i] = image[i];
  if (bug != 1) PTX("fence.proxy.async.shared::cta;", OUTS(), INS());
  if (bug != 2) __syncthreads();
}
/// Where element j of a thread's results lies: PTX ISA, figure of D of wgmma.
DEV void put(float* out, const float* d, int n) {
  const u32 t = threadIdx.x;
  for (int j = 0; j < n / 2; j++) out[(t / 32 * 16 + t % 32 / 4 + (j % 4 / 2) * 8) * u32(n) + u32(j / 4) * 8 + t % 4 * 2 + u32(j % 2)] = d[j];
}
/// b_at: where B begins. `bug` 3: no fence; 4: no wait.
#define WGMMA(name, text, transposed)                                                                                    \
  KERNEL void name(const u8* image, int bytes, int b_at, u64 da, u64 db, u32 accumulates, float start, float* out, int bug) { \
    DYN_SMEM(room);                                                                                                       \
    place(room, image, bytes, bug);                                                                                       \
    float d[16];                                                                                                          \
    for (int j = 0; j < 16; j++) d[j] = start;                                                                            \
    const u64 a = da | (smem(room) & 0x3ffffu) >> 4, b = db | (smem(room + b_at) & 0x3ffffu) >> 4;                        \
    if (bug != 3) FENCE();                                                                                                \
    PTX("{ .reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned." text " " D16 "%16, %17, p, 1, 1" transposed "; }", \
        OUTS(F16(0)), INS(R_U64(a), R_U64(b), R_U32(accumulates)));                                                       \
    COMMIT();                                                                                                             \
    if (bug != 4) WAIT();                                                                                                 \
    put(out, d, 32);                                                                                                      \
  }                                                                                                                       \
  KERNEL_END(name)
WGMMA(wgmma_bf16, "m64n32k16.f32.bf16.bf16", ", 0, 0")
WGMMA(wgmma_bf16_b_mn, "m64n32k16.f32.bf16.bf16", ", 0, 1")
WGMMA(wgmma_bf16_both_mn, "m64n32k16.f32.bf16.bf16", ", 1, 1")
WGMMA(wgmma_f16, "m64n32k16.f32.f16.f16", ", 0, 0")
WGMMA(wgmma_tf32, "m64n32k8.f32.tf32.tf32", "")
/// A in registers (as mma.sync's of each warp), negated.
KERNEL void wgmma_registers(const u16* a, const u8* image, int bytes, u64 db, float* out) {
  DYN_SMEM(room);
  place(room, image, bytes, 0);
  const u32 t = threadIdx.x, row = t / 32 * 16 + t % 32 / 4, col = t % 4 * 2;
  u32 r[4];
  for (u32 i = 0; i < 4; i++) r[i] = a[(row + i % 2 * 8) * 16 + col + i / 2 * 8] | u32(a[(row + i % 2 * 8) * 16 + col + i / 2 * 8 + 1]) << 16;
  float d[16];
  const u64 b = db | (smem(room) & 0x3ffffu) >> 4;
  FENCE();
  PTX("wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 " D16 "{%16, %17, %18, %19}, %20, 0, -1, 1, 0;", OUTS(F16(0)), INS(R_U32(r[0]), R_U32(r[1]), R_U32(r[2]), R_U32(r[3]), R_U64(b)));
  COMMIT();
  WAIT();
  put(out, d, 32);
}
KERNEL_END(wgmma_registers)

/// How an operand of rows x k elements of `size` bytes lies. `span`: bytes of a swizzled row, 16 where nothing is swizzled.
struct Layout {
  unsigned span;
  bool mn_major;
  unsigned leading, stride;
  u64 descriptor() const { return u64(leading >> 4) << 16 | u64(stride >> 4) << 32 | u64(span == 128 ? 1 : span == 64 ? 2 : span == 32 ? 3 : 0) << 62; }
  /// The byte of element (row, k). A line is a row (K-major) or a step of k; `along` runs the other way.
  size_t byte(unsigned row, unsigned k, unsigned size) const {
    const unsigned line = mn_major ? k : row, along = (mn_major ? row : k) * size, chunk = along / 16;
    if (span == 16) return (mn_major ? line / 8 * leading + chunk * stride : line / 8 * stride + chunk * leading) + line % 8 * 16 + along % 16;
    const unsigned in_span = chunk % (span / 16), block = chunk / (span / 16), turn = span == 128 ? line % 8 : span == 64 ? line / 2 % 4 : line / 4 % 2;
    return line / 8 * stride + block * leading + line % 8 * span + (in_span ^ turn) * 16 + along % 16;
  }
};
struct Case {
  unsigned k, size;
  std::vector<float> a, b;  // 64 x k, k x 32
  std::vector<u8> image = std::vector<u8>(32768, 0x55);
  static constexpr int b_at = 16384;
  Case(unsigned k, unsigned size) : k(k), size(size), a(64 * k), b(k * 32) {
    for (auto* v : {&a, &b})
      for (float& x : *v) x = random_short();
  }
  template <class T> void put(size_t at, float x, T (*coded)(float)) {
    const T v = coded(x);
    memcpy(&image[at], &v, sizeof v);
  }
  template <class T> void fill(const Layout& la, const Layout& lb, T (*coded)(float)) {
    for (unsigned x = 0; x < k; x++) {
      for (unsigned i = 0; i < 64; i++) put(la.byte(i, x, size), a[i * k + x], coded);
      for (unsigned j = 0; j < 32; j++) put(b_at + lb.byte(j, x, size), b[x * 32 + j], coded);
    }
  }
  void check(const char* what, const std::vector<float>& got, double sign, double start) const {
    Product p(64, 32, int(k), [&](int i, int x) { return sign * double(a[size_t(i) * k + size_t(x)]); }, [&](int x, int j) { return b[size_t(x * 32 + j)]; });
    for (size_t i = 0; i < p.sum.size(); i++) p.sum[i] += start, p.scale[i] += std::fabs(start);
    close(what, got, p.sum, p.scale, 3e-7);
  }
};
static Findings multiply(const emu::Kernel& kernel, const Case& c, const Layout& la, const Layout& lb, Device<float>& out, u32 accumulates, int bug) {
  Device<u8> image(c.image);
  return try_launch(kernel, 1, 128, c.image.size(), image.p, int(c.image.size()), Case::b_at, la.descriptor(), lb.descriptor(), accumulates, 3.5f, out.p, bug);
}
template <class T> static void check_layouts(const emu::Kernel& kernel, unsigned k, unsigned size, T (*coded)(float), const Layout& la, const Layout& lb) {
  for (u32 accumulates : {0u, 1u}) {
    Case c(k, size);
    Device<float> out(64 * 32);
    c.fill(la, lb, coded);
    for (const std::string& f : multiply(kernel, c, la, lb, out, accumulates, 0)) wrong("%s", f.c_str());
    c.check(kernel.name, out.get(), 1, accumulates ? 3.5 : 0);
  }
}
static const Layout k128 = {128, false, 16, 1024}, k64 = {64, false, 16, 512}, k32 = {32, false, 16, 256}, plain_k = {16, false, 1024, 128};
static const Layout mn128 = {128, true, 4096, 1024}, mn64 = {64, true, 4096, 512}, plain_mn = {16, true, 2048, 128};
static u32 bits(float x) { u32 u; memcpy(&u, &x, 4); return u; }
TEST(test_k_major, "wgmma bf16, K-major, all swizzles") {
  for (const Layout& l : {k128, k64, k32, plain_k}) check_layouts(emu_kernel_wgmma_bf16, 16, 2, bf16_of, l, l);
  check_layouts(emu_kernel_wgmma_bf16, 16, 2, bf16_of, k128, k64);
}
TEST(test_mn_major, "wgmma bf16, MN-major") {
  check_layouts(emu_kernel_wgmma_bf16_b_mn, 16, 2, bf16_of, k128, mn64);
  check_layouts(emu_kernel_wgmma_bf16_both_mn, 16, 2, bf16_of, mn128, plain_mn);
}
TEST(test_types, "wgmma f16 and tf32") {
  check_layouts(emu_kernel_wgmma_f16, 16, 2, f16_of, k128, k128);
  check_layouts(emu_kernel_wgmma_tf32, 8, 4, bits, k128, k64);
}
TEST(test_registers, "wgmma with A in registers") {
  Case c(16, 2);
  std::vector<u16> a;
  for (float x : c.a) a.push_back(bf16_of(x));
  for (unsigned x = 0; x < 16; x++)
    for (unsigned j = 0; j < 32; j++) c.put(k128.byte(j, x, 2), c.b[x * 32 + j], bf16_of);
  Device<u16> da(a);
  Device<u8> image(c.image);
  Device<float> out(64 * 32);
  launch(emu_kernel_wgmma_registers, 1, 128, 32768, da.p, image.p, 8192, k128.descriptor(), out.p);
  c.check("negated", out.get(), -1, 0);
}
TEST(test_bugs, "wgmma: planted bugs") {
  Case c(16, 2);
  Device<float> out(64 * 32);
  c.fill(k128, k128, bf16_of);
  auto with = [&](int bug) { return multiply(emu_kernel_wgmma_bf16, c, k128, k128, out, 1, bug); };
  contains("no proxy fence", with(1), "without fence.proxy.async");
  contains("no barrier", with(2), "shared memory");
  contains("no fence", with(3), "without wgmma.fence");
  contains("no wait", with(4), "never waited for");
}
