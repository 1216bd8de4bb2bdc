// PTX instructions of sm_90a: mbarrier, TMA (cp.async.bulk.tensor), setmaxnreg, wgmma. PTX ISA 9.7.13.15 (mbarrier), 9.7.9.27 (TMA), 9.7.15 (wgmma).
// After prelude.cuh. `bar` and `to` are addresses in shared memory.
#undef SMEM_ALIGNMENT
#define SMEM_ALIGNMENT 1024  // of TMA's and wgmma's 128-byte swizzle: 8 rows

/** The driver's CUtensorMap: describes a tensor in global memory and the box that one TMA load copies. */
struct __align__(128) TensorMap { u64 opaque[16]; };

// ---- mbarrier: a phase completes when all expected arrivals and bytes have come ----
FN void mbarrier_init(u32 bar, u32 arrivals) { PTX("mbarrier.init.shared::cta.b64 [%0], %1;", OUTS(), INS(R_U32(bar), R_U32(arrivals))); }
/** Makes this thread's mbarrier_init visible to other threads and to TMA. */
FN void fence_mbarrier_init() { PTX("fence.mbarrier_init.release.cluster;", OUTS(), INS()); }
FN void mbarrier_arrive(u32 bar) { PTX("mbarrier.arrive.shared::cta.b64 _, [%0];", OUTS(), INS(R_U32(bar))); }
FN void mbarrier_expect_tx(u32 bar, u32 bytes) { PTX("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;", OUTS(), INS(R_U32(bar), R_U32(bytes))); }
/** Waits until the phase with this parity is complete. */
FN void mbarrier_wait(u32 bar, u32 parity) {
  u32 complete;
  do PTX("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p; }", OUTS(W_U32(complete)), INS(R_U32(bar), R_U32(parity)));
  while (!complete);
}
/** Makes this thread's writes to shared memory visible to the async proxy (wgmma and TMA). */
FN void fence_proxy_async() { PTX("fence.proxy.async.shared::cta;", OUTS(), INS()); }

// ---- TMA: loads the box of `map` at coordinates x (innermost), y, .. into shared memory, zeros outside of the tensor; its bytes count on `bar` ----
FN void tma_load(u32 to, const TensorMap* map, u32 bar, i32 x, i32 y) {
  PTX("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];", OUTS(), INS(R_U32(to), R_PTR(map), R_U32(x), R_U32(y), R_U32(bar)));
}
FN void tma_load(u32 to, const TensorMap* map, u32 bar, i32 x, i32 y, i32 z) {
  PTX("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];", OUTS(), INS(R_U32(to), R_PTR(map), R_U32(x), R_U32(y), R_U32(z), R_U32(bar)));
}
FN void tma_load(u32 to, const TensorMap* map, u32 bar, i32 x, i32 y, i32 z, i32 w) {
  PTX("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];", OUTS(), INS(R_U32(to), R_PTR(map), R_U32(x), R_U32(y), R_U32(z), R_U32(w), R_U32(bar)));
}

// ---- setmaxnreg: a warpgroup releases registers, or requests more; N per thread ----
template <int N> FN void setmaxnreg_dec() { PTX("setmaxnreg.dec.sync.aligned.u32 %0;", OUTS(), INS(R_IMM(N))); }
template <int N> FN void setmaxnreg_inc() { PTX("setmaxnreg.inc.sync.aligned.u32 %0;", OUTS(), INS(R_IMM(N))); }

// ---- wgmma: asynchronous, by a warpgroup: d (64, N) f32 += A (64, 16) bf16 @ B (16, N) bf16, N = 128 or 256. Operands in shared memory, by matrix
// descriptors. d[n]: 8 columns, in the accumulator layout of mma m16n8; warp w of the warpgroup has rows 16 w .. ----
FN void wgmma_fence() { PTX("wgmma.fence.sync.aligned;", OUTS(), INS()); }
FN void wgmma_commit() { PTX("wgmma.commit_group.sync.aligned;", OUTS(), INS()); }
template <int N> FN void wgmma_wait() { PTX("wgmma.wait_group.sync.aligned %0;", OUTS(), INS(R_IMM(N))); }
#define D4(n) RW_F32(d[n][0]), RW_F32(d[n][1]), RW_F32(d[n][2]), RW_F32(d[n][3])
#define D16(n) D4(n), D4(n + 1), D4(n + 2), D4(n + 3)
#define D64(n) D16(n), D16(n + 4), D16(n + 8), D16(n + 12)
#define NUMBERS_64 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"
#define NUMBERS_128 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}"
/** A_MN, B_MN: 1 if the operand is MN-major in shared memory, 0 if K-major. */
template <int A_MN, int B_MN> FN void wgmma(f32 (&d)[16][4], u64 a, u64 b) {
  PTX("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " NUMBERS_64 ", %64, %65, 1, 1, 1, %66, %67;",
    OUTS(D64(0)), INS(R_U64(a), R_U64(b), R_IMM(A_MN), R_IMM(B_MN)));
}
template <int A_MN, int B_MN> FN void wgmma(f32 (&d)[32][4], u64 a, u64 b) {
  PTX("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 " NUMBERS_128 ", %128, %129, 1, 1, 1, %130, %131;",
    OUTS(D64(0), D64(16)), INS(R_U64(a), R_U64(b), R_IMM(A_MN), R_IMM(B_MN)));
}
