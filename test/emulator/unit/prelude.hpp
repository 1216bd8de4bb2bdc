// Names for the instructions that the kernels with planted bugs use.
#pragma once
#include "harness.hpp"

typedef int i32;
struct __align__(2) bf16 { u16 bits; };
struct __align__(16) bf16x8 { u16 u[8]; };
struct __align__(64) TensorMap { u64 opaque[16]; };

DEV float to_float(u16 h) { return __uint_as_float(u32(h) << 16); }
DEV u16 to_bits(float f) { u16 r; PTX("cvt.rn.bf16.f32 %0, %1;", OUTS(W_U16(r)), INS(R_F32(f))); return r; }
DEV u32 smem_of(const void* p) { return u32(__cvta_generic_to_shared(p)); }
DEV void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  PTX("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};",
      OUTS(RW_F32(d[0]), RW_F32(d[1]), RW_F32(d[2]), RW_F32(d[3])), INS(R_U32(a[0]), R_U32(a[1]), R_U32(a[2]), R_U32(a[3]), R_U32(b0), R_U32(b1)));
}
DEV void ldmatrix(u32 (&r)[4], u32 address) {
  PTX("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];", OUTS(W_U32(r[0]), W_U32(r[1]), W_U32(r[2]), W_U32(r[3])), INS(R_U32(address)));
}
DEV void ldmatrix_trans(u32 (&r)[4], u32 address) {
  PTX("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];", OUTS(W_U32(r[0]), W_U32(r[1]), W_U32(r[2]), W_U32(r[3])), INS(R_U32(address)));
}
DEV void copy16(u32 to, const void* from, u32 bytes) { PTX("cp.async.cg.shared.global [%0], [%1], 16, %2;", OUTS(), INS(R_U32(to), R_PTR(from), R_U32(bytes))); }
DEV void copies_commit() { PTX("cp.async.commit_group;", OUTS(), INS()); }
template <int N> DEV void copies_wait() { PTX("cp.async.wait_group %0;", OUTS(), INS(R_IMM(N))); }

DEV void mbar_init(u32 bar, u32 count) { PTX("mbarrier.init.shared::cta.b64 [%0], %1;", OUTS(), INS(R_U32(bar), R_U32(count))); }
DEV void mbar_fence() { PTX("fence.mbarrier_init.release.cluster;", OUTS(), INS()); }
DEV void mbar_expect(u32 bar, u32 bytes) { PTX("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;", OUTS(), INS(R_U32(bar), R_U32(bytes))); }
DEV void mbar_arrive(u32 bar) { PTX("mbarrier.arrive.shared::cta.b64 _, [%0];", OUTS(), INS(R_U32(bar))); }
DEV void mbar_wait(u32 bar, u32 parity) {
  u32 ok;
  do PTX("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p; }", OUTS(W_U32(ok)), INS(R_U32(bar), R_U32(parity)));
  while (!ok);
}
DEV void proxy_fence() { PTX("fence.proxy.async.shared::cta;", OUTS(), INS()); }
DEV void tma_load(u32 to, const TensorMap* map, i32 x, i32 y, u32 bar) {
  PTX("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];", OUTS(), INS(R_U32(to), R_PTR(map), R_U32(x), R_U32(y), R_U32(bar)));
}
DEV void wgmma_fence() { PTX("wgmma.fence.sync.aligned;", OUTS(), INS()); }
DEV void wgmma_commit() { PTX("wgmma.commit_group.sync.aligned;", OUTS(), INS()); }
DEV void wgmma_wait() { PTX("wgmma.wait_group.sync.aligned 0;", OUTS(), INS()); }
/// `swizzle` 1: rows of 128 bytes.
DEV u64 descriptor(u32 address, u32 leading, u32 stride, u32 swizzle) { return u64((address & 0x3ffffu) >> 4) | u64(leading >> 4) << 16 | u64(stride >> 4) << 32 | u64(swizzle) << 62; }
#define W4(i) RW_F32(d[i]), RW_F32(d[i + 1]), RW_F32(d[i + 2]), RW_F32(d[i + 3])
#define W16(i) W4(i), W4(i + 4), W4(i + 8), W4(i + 12)
#define D64 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
/// 64 x 128 += A B; both K-major, or B N-major.
DEV void wgmma(float (&d)[64], u64 a, u64 b) {
  PTX("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " D64 "%64, %65, 1, 1, 1, 0, 0;", OUTS(W16(0), W16(16), W16(32), W16(48)), INS(R_U64(a), R_U64(b)));
}
DEV void wgmma_n_major(float (&d)[64], u64 a, u64 b) {
  PTX("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " D64 "%64, %65, 1, 1, 1, 0, 1;", OUTS(W16(0), W16(16), W16(32), W16(48)), INS(R_U64(a), R_U64(b)));
}
/// A warpgroup's 64 x 128 results from row m0 and column n0.
DEV void store_tile(float* c, const float (&d)[64], i32 m0, i32 n0, i32 M, i32 N) {
  const i32 t = i32(threadIdx.x & 127), row = m0 + t / 32 * 16 + t % 32 / 4;
  for (int j = 0; j < 64; j += 2) {
    const i32 m = row + (j & 2 ? 8 : 0), n = n0 + j / 4 * 8 + t % 4 * 2;
    if (m < M && n < N) *(float2*)(c + u64(m) * N + n) = make_float2(d[j], d[j + 1]);
  }
}
/// bf16 matrices for the tests.
struct Matrix {
  std::vector<float> values;
  int cols;
  Matrix(int rows, int cols) : values(size_t(rows * cols)), cols(cols) {
    for (float& x : values) x = unit::random_short();
  }
  std::vector<bf16> coded() const {
    std::vector<bf16> all;
    for (float x : values) all.push_back({unit::bf16_of(x)});
    return all;
  }
  float operator()(int i, int j) const { return values[size_t(i * cols + j)]; }
};
