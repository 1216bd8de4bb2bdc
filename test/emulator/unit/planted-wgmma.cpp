// Planted bugs in matmuls by TMA and wgmma.
#include "../ptx/tensor_map.hpp"
#include "prelude.hpp"
using namespace unit;

enum { NO_BARRIER_AFTER_INIT = 1, PARITY, NO_WAIT_FOR_EMPTY, BYTES, STRIDE, NO_SWIZZLE, EARLY_RELEASE, NO_WAIT };
/// C = A B^T. Warpgroup 0 loads by TMA, 1 and 2 multiply: tiles of 128 x 128 x 64 in four stages.
KERNEL void gemm_tma(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b, float* c, i32 M, i32 N, i32 K, i32 bug) {
  constexpr int ST = 4, A_BYTES = 128 * 128, STAGE = 2 * A_BYTES;
  DYN_SMEM(room);
  SHARED(u64, full, [ST]);
  SHARED(u64, empty, [ST]);
  const u32 base = smem_of(room);
  const i32 tid = i32(threadIdx.x), group = tid >> 7, tiles = (K + 63) / 64, m0 = i32(blockIdx.y) * 128, n0 = i32(blockIdx.x) * 128;
  if (tid == 0) {
    for (int s = 0; s < ST; s++) mbar_init(smem_of(&full[s]), 1), mbar_init(smem_of(&empty[s]), 2);
    mbar_fence();
  }
  if (bug != NO_BARRIER_AFTER_INIT) __syncthreads();
  if (group == 0) {
    PTX("setmaxnreg.dec.sync.aligned.u32 40;", OUTS(), INS());
    for (i32 t = 0; tid == 0 && t < tiles; t++) {
      const i32 s = t % ST;
      if (bug != NO_WAIT_FOR_EMPTY) mbar_wait(smem_of(&empty[s]), u32(t / ST & 1) ^ (bug != PARITY));
      const u32 bar = smem_of(&full[s]), at = base + u32(s) * STAGE;
      mbar_expect(bar, bug == BYTES ? A_BYTES : STAGE);
      tma_load(at, &map_a, t * 64, m0, bar);
      tma_load(at + A_BYTES, &map_b, t * 64, n0, bar);
    }
    return;
  }
  PTX("setmaxnreg.inc.sync.aligned.u32 232;", OUTS(), INS());
  float d[64] = {};
  for (i32 t = 0; t < tiles; t++) {
    const i32 s = t % ST;
    mbar_wait(smem_of(&full[s]), u32(t / ST & 1));
    const u32 a = base + u32(s) * STAGE + u32(group - 1) * 64 * 128, b = base + u32(s) * STAGE + A_BYTES;
    wgmma_fence();
    for (u32 k = 0; k < 4; k++) wgmma(d, descriptor(a + k * 32, 16, bug == STRIDE ? 512 : 1024, bug != NO_SWIZZLE), descriptor(b + k * 32, 16, 1024, bug != NO_SWIZZLE));
    wgmma_commit();
    if (bug != NO_WAIT && bug != EARLY_RELEASE) wgmma_wait();
    if ((tid & 127) == 0) mbar_arrive(smem_of(&empty[s]));
    if (bug == EARLY_RELEASE) wgmma_wait();
  }
  store_tile(c, d, m0 + (group - 1) * 64, n0, M, N);
}
KERNEL_END(gemm_tma)
static TensorMap map_of(const Device<bf16>& x, int rows, int cols, unsigned box_rows) {
  TensorMap m;
  const uint64_t dims[2] = {uint64_t(cols), uint64_t(rows)}, strides[1] = {uint64_t(cols) * 2};
  const uint32_t box[2] = {64, box_rows};
  emu::encode_tensor_map(&m, 2, 2, x.p, dims, strides, box, emu::Swizzle::B128);
  return m;
}
TEST_ONCE(planted_tma, "planted: TMA and wgmma") {
  const int m = 130, n = 72, k = 392;
  planted({"no barrier after init", "the wrong parity", "no wait for an empty stage", "too few bytes expected", "the wrong stride", "no swizzle", "a stage is released before it was read", "no wait for the products"}, [&](int bug) -> Outcome {
    const Matrix a(m, k), b(n, k);
    Device<bf16> da(a.coded()), db(b.coded());
    Device<float> c(size_t(m * n));
    Findings f = try_launch(emu_kernel_gemm_tma, dim3(1, 2), 384, 4 * 32768, map_of(da, m, k, 128), map_of(db, n, k, 128), c.p, m, n, k, bug);
    return {f, near(c.get(), Product(m, n, k, a, [&](int x, int j) { return b(j, x); }), 1e-6)};
  });
}

enum { NOT_SWIZZLED = 1, NO_PROXY_FENCE, NO_BARRIER, LEADING };
/// C = A[rows] B: A's rows by cp.async, B by TMA in two slabs of 64 columns, N-major. One warpgroup, 64 x 128 x 64, two stages.
KERNEL void gemm_gather(const bf16* a, const __grid_constant__ TensorMap map_b, float* c, const i32* rows, i32 M, i32 N, i32 K, i32 bug) {
  constexpr int A_BYTES = 64 * 128, B_BYTES = 2 * 64 * 128, STAGE = A_BYTES + B_BYTES;
  DYN_SMEM(room);
  SHARED(u64, full, [2]);
  const u32 base = smem_of(room);
  const i32 tid = i32(threadIdx.x), tiles = (K + 63) / 64, m0 = i32(blockIdx.y) * 64, n0 = i32(blockIdx.x) * 128;
  if (tid == 0) mbar_init(smem_of(&full[0]), 1), mbar_init(smem_of(&full[1]), 1), mbar_fence();
  __syncthreads();
  auto load = [&](i32 t) {
    const u32 s = u32(t & 1), at = base + s * STAGE;
    if (tid == 0) {
      mbar_expect(smem_of(&full[s]), B_BYTES);
      tma_load(at + A_BYTES, &map_b, n0, t * 64, smem_of(&full[s]));
      tma_load(at + A_BYTES + 64 * 128, &map_b, n0 + 64, t * 64, smem_of(&full[s]));
    }
    for (int i = 0; i < 4; i++) {
      const i32 n = tid + i * 128, r = n >> 3, chunk = n & 7, m = m0 + r, k = t * 64 + chunk * 8;
      const bool ok = m < M && k < K;
      copy16(at + u32(r * 128 + (bug == NOT_SWIZZLED ? chunk : chunk ^ (r & 7)) * 16), a + (ok ? u64(rows[m]) * K + k : 0), ok ? 16 : 0);
    }
    copies_commit();
  };
  float d[64] = {};
  load(0);
  for (i32 t = 0; t < tiles; t++) {
    const u32 s = u32(t & 1), at = base + s * STAGE;
    if (t + 1 < tiles) load(t + 1);
    else copies_commit();
    copies_wait<1>();
    if (bug != NO_PROXY_FENCE) proxy_fence();
    if (bug != NO_BARRIER) __syncthreads();
    mbar_wait(smem_of(&full[s]), u32(t >> 1 & 1));
    wgmma_fence();
    for (u32 k = 0; k < 4; k++) {
      const u32 b = at + A_BYTES + k * 2048;
      wgmma_n_major(d, descriptor(at + k * 32, 16, 1024, 1), bug == LEADING ? descriptor(b, 1024, 64 * 128, 1) : descriptor(b, 64 * 128, 1024, 1));
    }
    wgmma_commit();
    wgmma_wait();
    if (bug != NO_BARRIER) __syncthreads();
  }
  copies_wait<0>();
  store_tile(c, d, m0, n0, M, N);
}
KERNEL_END(gemm_gather)
TEST_ONCE(planted_gather, "planted: gathered rows and wgmma") {
  const int m = 70, n = 136, k = 200, tokens = 40;
  planted({"rows are not swizzled", "no proxy fence", "no barrier", "the wrong leading stride"}, [&](int bug) -> Outcome {
    const Matrix a(tokens, k), b(k, n);
    std::vector<i32> rows(m);
    for (i32& r : rows) r = i32(generator()() % tokens);
    Device<bf16> da(a.coded()), db(b.coded());
    Device<float> c(size_t(m * n));
    Device<i32> dr(rows);
    Findings f = try_launch(emu_kernel_gemm_gather, dim3(2, 2), 128, 2 * 24576, da.p, map_of(db, k, n, 64), c.p, dr.p, m, n, k, bug);
    return {f, near(c.get(), Product(m, n, k, [&](int i, int x) { return a(rows[size_t(i)], x); }, b), 1e-6)};
  });
}
