// Types, macros and single PTX instructions that all generated CUDA code uses. No includes. Inline PTX is written as PTX(text, outputs, inputs) and
// shared memory is declared by SHARED and DYN_SMEM, so that the emulator (test/emulator) can interpret the one and check the other.
#ifndef CUDA_EMULATION
#define PTX(text, outs, ins) asm volatile(text : outs : ins : "memory")
#define PTX_PURE(text, outs, ins) asm(text : outs : ins)  // no side effects: not volatile
#define OUTS(...) __VA_ARGS__
#define INS(...) __VA_ARGS__
#define W_U32(x) "=r"(x)
#define W_F32(x) "=f"(x)
#define RW_F32(x) "+f"(x)
#define R_U32(x) "r"(x)
#define R_F32(x) "f"(x)
#define R_U64(x) "l"(x)
#define R_PTR(x) "l"(x)
#define R_IMM(x) "n"(x)
#define SHARED(T, name, dims) __shared__ T name dims
// Tiles are swizzled within 128 bytes, and static arrays are a multiple of them long: a larger alignment would pad these.
#define SMEM_ALIGNMENT 128
#define DYN_SMEM(name) extern __shared__ __align__(SMEM_ALIGNMENT) u8 name[]
#define KERNEL extern "C" __global__
#define KERNEL_END(name)
// g++ builtins that math.hpp uses
#define __builtin_inff() __builtin_bit_cast(float, 0x7f800000)
#define __builtin_nanf(text) __builtin_bit_cast(float, 0x7fc00000)
#define __builtin_sqrtf sqrtf
#endif
#define FN __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define INLINE __attribute__((always_inline))
#define NO_UNROLL_HOST  // not unrolled on the host only
#define NO_UNROLL _Pragma("unroll 1")
/** Minimum resident blocks per SM in __launch_bounds__. A kernel that spills is compiled again with -DHALVED=1, 2, ..: half as many, rounded up. */
#ifndef HALVED
#define HALVED 0
#endif
#define MIN_BLOCKS(n) (((n) + (1 << HALVED) - 1) >> HALVED)

typedef signed char i8; typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef int i32; typedef long long i64; typedef float f32; typedef double f64;
/** Element indices: 64 bits if a buffer of the kernel has 2^31 elements or more. */
#ifdef WIDE_INDEX
typedef i64 ix;
#else
typedef i32 ix;
#endif
struct __align__(2) bf16 { u16 bits; };

FN u32 lane_id() { return threadIdx.x & 31; }
FN i32 warp_id() { return threadIdx.x >> 5; }
FN u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
/** Before a statement that one thread of the block executes. */
#define ONE_THREAD if (threadIdx.x == 0)

// ---- sm_80: ldmatrix, mma.sync, cp.async ----
/** r: four 8 x 8 matrices of b16; lane l gives the address of row l % 8 of matrix l / 8. */
FN void ldmatrix_x4(u32 (&r)[4], u32 address) {
  PTX("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];", OUTS(W_U32(r[0]), W_U32(r[1]), W_U32(r[2]), W_U32(r[3])), INS(R_U32(address)));
}
FN void ldmatrix_x4_trans(u32 (&r)[4], u32 address) {
  PTX("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];", OUTS(W_U32(r[0]), W_U32(r[1]), W_U32(r[2]), W_U32(r[3])), INS(R_U32(address)));
}
/** d (16, 8) f32 += a (16, 16) bf16 @ b (16, 8) bf16, the fragments of m16n8k16. */
FN void mma_bf16(f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  PTX_PURE("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};",
    OUTS(RW_F32(d[0]), RW_F32(d[1]), RW_F32(d[2]), RW_F32(d[3])), INS(R_U32(a[0]), R_U32(a[1]), R_U32(a[2]), R_U32(a[3]), R_U32(b0), R_U32(b1)));
}
/** (bf16)low | (bf16)high << 16, rounded to nearest even. */
FN u32 pack_bf16(f32 low, f32 high) { u32 r; PTX_PURE("cvt.rn.bf16x2.f32 %0, %1, %2;", OUTS(W_U32(r)), INS(R_F32(high), R_F32(low))); return r; }
/** 2^x within 2 ulp. */
#define EXP2(x) exp2_approx(x)
/** 1 / x within 1 ulp where x and 1 / x are normal numbers. */
#define RECIPROCAL(x) reciprocal_approx(x)
FN f32 exp2_approx(f32 x) { f32 r; PTX_PURE("ex2.approx.ftz.f32 %0, %1;", OUTS(W_F32(r)), INS(R_F32(x))); return r; }
FN f32 reciprocal_approx(f32 x) { f32 r; PTX_PURE("rcp.approx.ftz.f32 %0, %1;", OUTS(W_F32(r)), INS(R_F32(x))); return r; }
/** max and min that return NaN if either argument is NaN. */
FN f32 larger(f32 a, f32 b) { f32 r; PTX_PURE("max.NaN.f32 %0, %1, %2;", OUTS(W_F32(r)), INS(R_F32(a), R_F32(b))); return r; }
FN f32 smaller(f32 a, f32 b) { f32 r; PTX_PURE("min.NaN.f32 %0, %1, %2;", OUTS(W_F32(r)), INS(R_F32(a), R_F32(b))); return r; }
/** Copies 16 bytes from global to shared memory, past L1: the first `bytes` of `from` (which alone are read), then zeros. */
FN void cp_async(u32 to, const void* from, u32 bytes) { PTX("cp.async.cg.shared.global [%0], [%1], 16, %2;", OUTS(), INS(R_U32(to), R_PTR(from), R_U32(bytes))); }
FN void cp_async_commit() { PTX("cp.async.commit_group;", OUTS(), INS()); }
template <int N> FN void cp_async_wait() { PTX("cp.async.wait_group %0;", OUTS(), INS(R_IMM(N))); }
