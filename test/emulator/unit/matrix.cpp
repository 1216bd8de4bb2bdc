// mma.sync, ldmatrix, stmatrix. Where a lane's elements lie is written as the PTX ISA states it (9.7.14.5).
#include "harness.hpp"
using namespace unit;

DEV u32 smem(const void* p) { return u32(__cvta_generic_to_shared(p)); }
#define LANE u32 lane = threadIdx.x & 31, group = lane >> 2, in_group = lane & 3
DEV u32 pair(const u16* x, u32 step) { return x[0] | u32(x[step]) << 16; }

/// a: 16 x 16 row by row, b: 16 x 8 row by row, c: 16 x 8.
#define MMA_K16(name, type)                                                                                                        \
  KERNEL void name(const u16* a, const u16* b, const float* c, float* d) {                                                          \
    LANE;                                                                                                                           \
    u32 fa[4], fb[2];                                                                                                               \
    float fc[4];                                                                                                                    \
    for (u32 i = 0; i < 8; i += 2) fa[i / 2] = pair(a + ((i & 2) ? group + 8 : group) * 16 + in_group * 2 + (i < 4 ? 0 : 8), 1);     \
    for (u32 i = 0; i < 4; i += 2) fb[i / 2] = pair(b + (in_group * 2 + (i < 2 ? 0 : 8)) * 8 + group, 8);                            \
    for (u32 i = 0; i < 4; i++) fc[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];                                 \
    PTX("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};", \
        OUTS(RW_F32(fc[0]), RW_F32(fc[1]), RW_F32(fc[2]), RW_F32(fc[3])),                                                           \
        INS(R_U32(fa[0]), R_U32(fa[1]), R_U32(fa[2]), R_U32(fa[3]), R_U32(fb[0]), R_U32(fb[1])));                                   \
    for (u32 i = 0; i < 4; i++) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = fc[i];                                 \
  }                                                                                                                                 \
  KERNEL_END(name)
MMA_K16(mma_bf16_k16, "bf16")
MMA_K16(mma_f16_k16, "f16")
KERNEL void mma_bf16_k8(const u16* a, const u16* b, const float* c, float* d) {
  LANE;
  float fc[4];
  u32 fa[2];
  for (u32 i = 0; i < 4; i += 2) fa[i / 2] = pair(a + (i < 2 ? group : group + 8) * 8 + in_group * 2, 1);
  const u32 fb = pair(b + in_group * 2 * 8 + group, 8);
  for (u32 i = 0; i < 4; i++) fc[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  PTX("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};",
      OUTS(RW_F32(fc[0]), RW_F32(fc[1]), RW_F32(fc[2]), RW_F32(fc[3])), INS(R_U32(fa[0]), R_U32(fa[1]), R_U32(fb)));
  for (u32 i = 0; i < 4; i++) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = fc[i];
}
KERNEL_END(mma_bf16_k8)
KERNEL void mma_tf32_k8(const u32* a, const u32* b, const float* c, float* d) {
  LANE;
  float fc[4];
  u32 fa[4], fb[2];
  for (u32 i = 0; i < 4; i++) fa[i] = a[((i & 1) ? group + 8 : group) * 8 + (i < 2 ? in_group : in_group + 4)];
  for (u32 i = 0; i < 2; i++) fb[i] = b[(i == 0 ? in_group : in_group + 4) * 8 + group];
  for (u32 i = 0; i < 4; i++) fc[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  PTX("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};",
      OUTS(RW_F32(fc[0]), RW_F32(fc[1]), RW_F32(fc[2]), RW_F32(fc[3])),
      INS(R_U32(fa[0]), R_U32(fa[1]), R_U32(fa[2]), R_U32(fa[3]), R_U32(fb[0]), R_U32(fb[1])));
  for (u32 i = 0; i < 4; i++) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = fc[i];
}
KERNEL_END(mma_tf32_k8)
KERNEL void mma_tf32_k4(const u32* a, const u32* b, const float* c, float* d) {
  LANE;
  float fc[4];
  const u32 low = a[group * 4 + in_group], high = a[(group + 8) * 4 + in_group], fb = b[in_group * 8 + group];
  for (u32 i = 0; i < 4; i++) fc[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  PTX("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};",
      OUTS(RW_F32(fc[0]), RW_F32(fc[1]), RW_F32(fc[2]), RW_F32(fc[3])), INS(R_U32(low), R_U32(high), R_U32(fb)));
  for (u32 i = 0; i < 4; i++) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = fc[i];
}
KERNEL_END(mma_tf32_k4)

template <class T> static void check_mma(const emu::Kernel& kernel, int k, T (*coded)(float)) {
  std::vector<float> a(size_t(16 * k)), b(size_t(k * 8)), c(128);
  for (auto* v : {&a, &b})
    for (float& x : *v) x = random_short();
  for (float& x : c) x = unit::random();
  auto all = [&](const std::vector<float>& v) { std::vector<T> r; for (float x : v) r.push_back(coded(x)); return r; };
  Device<T> da(all(a)), db(all(b));
  Device<float> dc(c), d(128);
  launch(kernel, 1, 32, 0, da.p, db.p, dc.p, d.p);
  Product p(16, 8, k, [&](int i, int x) { return a[size_t(i * k + x)]; }, [&](int x, int j) { return b[size_t(x * 8 + j)]; });
  for (size_t i = 0; i < 128; i++) p.sum[i] += double(c[i]), p.scale[i] += std::fabs(double(c[i]));
  close(kernel.name, d.get(), p.sum, p.scale, 2e-7);
}
static u32 plain(float x) { u32 u; memcpy(&u, &x, 4); return u; }
/// With low bits that the tensor core must not see.
static u32 dirty(float x) { return plain(x) | 0x1fff; }
TEST(test_mma_bf16, "mma.sync bf16") { check_mma(emu_kernel_mma_bf16_k16, 16, bf16_of), check_mma(emu_kernel_mma_bf16_k8, 8, bf16_of); }
TEST(test_mma_f16, "mma.sync f16") { check_mma(emu_kernel_mma_f16_k16, 16, f16_of); }
TEST(test_mma_tf32, "mma.sync tf32") { check_mma(emu_kernel_mma_tf32_k8, 8, plain), check_mma(emu_kernel_mma_tf32_k8, 8, dirty), check_mma(emu_kernel_mma_tf32_k4, 4, plain); }

/// Lane l gives the address of row order[l]; out[lane * 4 + register].
#define LDMATRIX(name, text, n, ...)                                                        \
  KERNEL void name(const u16* in, const u32* order, u32* out) {                             \
    SHARED(uint4, rows, [32]);                                                              \
    rows[threadIdx.x] = ((const uint4*)in)[threadIdx.x];                                    \
    __syncthreads();                                                                        \
    u32 r[4] = {7, 7, 7, 7};                                                                \
    PTX("ldmatrix.sync.aligned.m8n8." text, OUTS(__VA_ARGS__), INS(R_U32(smem(&rows[order[threadIdx.x]])))); \
    for (u32 i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = r[i];                            \
  }                                                                                         \
  KERNEL_END(name)
#define R1 W_U32(r[0])
#define R2 R1, W_U32(r[1])
#define R4 R2, W_U32(r[2]), W_U32(r[3])
LDMATRIX(ldmatrix_x1, "x1.shared.b16 {%0}, [%1];", 1, R1)
LDMATRIX(ldmatrix_x2, "x2.shared.b16 {%0, %1}, [%2];", 2, R2)
LDMATRIX(ldmatrix_x4, "x4.shared::cta.b16 {%0, %1, %2, %3}, [%4];", 4, R4)
LDMATRIX(ldmatrix_x1_trans, "x1.trans.shared.b16 {%0}, [%1];", 1, R1)
LDMATRIX(ldmatrix_x2_trans, "x2.trans.shared.b16 {%0, %1}, [%2];", 2, R2)
LDMATRIX(ldmatrix_x4_trans, "x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];", 4, R4)
#define STMATRIX(name, text)                                                                \
  KERNEL void name(const u32* in, const u32* order, u16* out) {                             \
    SHARED(uint4, rows, [32]);                                                              \
    const u32* r = in + threadIdx.x * 4;                                                    \
    PTX("stmatrix.sync.aligned.m8n8.x4." text "shared.b16 [%0], {%1, %2, %3, %4};", OUTS(), \
        INS(R_U32(smem(&rows[order[threadIdx.x]])), R_U32(r[0]), R_U32(r[1]), R_U32(r[2]), R_U32(r[3]))); \
    __syncthreads();                                                                        \
    ((uint4*)out)[threadIdx.x] = rows[threadIdx.x];                                         \
  }                                                                                         \
  KERNEL_END(name)
STMATRIX(stmatrix_x4, "")
STMATRIX(stmatrix_x4_trans, "trans.")

/// Element (r, c) of matrix m is 1000 m + 10 r + c; it lies in the row that `order` says.
struct Tiles {
  std::vector<u16> stored = std::vector<u16>(256);
  std::vector<u32> order = std::vector<u32>(32), held = std::vector<u32>(128, 7);
  Tiles(u32 count, bool transposed) {
    for (u32 i = 0; i < 32; i++) order[i] = i * 13 % 32;
    for (u32 m = 0; m < 4; m++)
      for (u32 r = 0; r < 8; r++)
        for (u32 c = 0; c < 8; c++) stored[order[m * 8 + r] * 8 + c] = element(m, r, c);
    for (u32 lane = 0; lane < 32; lane++)  // a thread holds two neighbours of a row, lane / 4; of a column where transposed
      for (u32 m = 0; m < count; m++) {
        const u32 r = lane / 4, c = lane % 4 * 2;
        held[lane * 4 + m] = transposed ? element(m, c, r) | u32(element(m, c + 1, r)) << 16 : element(m, r, c) | u32(element(m, r, c + 1)) << 16;
      }
  }
  static u16 element(u32 m, u32 r, u32 c) { return u16(1000 * m + 10 * r + c); }
};
static void check_ldmatrix(const emu::Kernel& kernel, u32 count, bool transposed) {
  const Tiles t(count, transposed);
  Device<u16> in(t.stored);
  Device<u32> order(t.order), out(128);
  launch(kernel, 1, 32, 0, in.p, order.p, out.p);
  same(kernel.name, out.get(), t.held);
}
TEST(test_ldmatrix, "ldmatrix") {
  check_ldmatrix(emu_kernel_ldmatrix_x1, 1, false), check_ldmatrix(emu_kernel_ldmatrix_x2, 2, false), check_ldmatrix(emu_kernel_ldmatrix_x4, 4, false);
}
TEST(test_ldmatrix_trans, "ldmatrix.trans") {
  check_ldmatrix(emu_kernel_ldmatrix_x1_trans, 1, true), check_ldmatrix(emu_kernel_ldmatrix_x2_trans, 2, true), check_ldmatrix(emu_kernel_ldmatrix_x4_trans, 4, true);
}
TEST(test_stmatrix, "stmatrix") {
  for (bool transposed : {false, true}) {
    const Tiles t(4, transposed);
    Device<u32> in(t.held), order(t.order);
    Device<u16> out(256);
    launch(transposed ? emu_kernel_stmatrix_x4_trans : emu_kernel_stmatrix_x4, 1, 32, 0, in.p, order.p, out.p);
    same("stmatrix", out.get(), t.stored);
  }
}
