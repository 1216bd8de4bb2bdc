// The kernels of client.c.
#ifndef CUDA_EMULATION
#define KERNEL extern "C" __global__
#define KERNEL_END(name)
#define DYN_SMEM(name) extern __shared__ unsigned char name[]
#endif
KERNEL void add(float* to, const float* x, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) to[i] += x[i];
}
KERNEL_END(add)
KERNEL void scale(float* x, float by, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) x[i] *= by * SCALE;
}
KERNEL_END(scale)
KERNEL void roomy(float* to, const float* x, int n) {
  DYN_SMEM(room);
  float* last = (float*)room + 25 * 1024 - 32;
  last[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  to[threadIdx.x] = last[31 - threadIdx.x];
}
KERNEL_END(roomy)
KERNEL void wrong(float* to, const float* x, int n) { to[n + 100 + threadIdx.x] = x[threadIdx.x]; }
KERNEL_END(wrong)
