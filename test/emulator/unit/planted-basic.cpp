// Planted bugs in pointwise kernels, reductions, a matmul on tiles, and routing.
#include "prelude.hpp"
using namespace unit;

enum { MISALIGNED = 1, BEYOND_THE_END };
KERNEL void silu_mul(const bf16* g, const bf16* u, bf16* y, i32 n, i32 bug) {
  i32 i = i32(blockIdx.x * blockDim.x + threadIdx.x) * 8 + (bug == MISALIGNED);
  if (bug == BEYOND_THE_END ? i < n : i + 8 <= n) {
    const bf16x8 a = *(const bf16x8*)(g + i), b = *(const bf16x8*)(u + i);
    bf16x8 r;
    for (int k = 0; k < 8; k++) {
      const float x = to_float(a.u[k]);
      r.u[k] = to_bits(x / (1.0f + __expf(-x)) * to_float(b.u[k]));
    }
    *(bf16x8*)(y + i) = r;
  } else
    for (; i < n; i++) {
      const float x = to_float(g[i].bits);
      y[i] = {to_bits(x / (1.0f + __expf(-x)) * to_float(u[i].bits))};
    }
}
KERNEL_END(silu_mul)
TEST_ONCE(planted_silu, "planted: a pointwise kernel") {
  const int n = 2003;
  planted({"misaligned", "beyond the end"}, [&](int bug) -> Outcome {
    const Matrix g(1, n), u(1, n);
    Device<bf16> dg(g.coded()), du(u.coded()), y(n);
    Findings f = try_launch(emu_kernel_silu_mul, (n + 1023) / 1024, 128, 0, dg.p, du.p, y.p, n, bug);
    bool right = true;
    const auto got = y.get();
    for (int i = 0; i < n; i++) {
      const double x = double(g(0, i)), want = x / (1 + std::exp(-x)) * double(u(0, i));
      right &= std::fabs(double(to_float(got[size_t(i)].bits)) - want) <= 0.004 * std::fabs(want) + 1e-6;
    }
    return {f, right};
  });
}

enum { NO_BARRIER = 1, UNWRITTEN, SHUFFLE_OF_SOME, BARRIER_OF_SOME };
DEV float block_sum(float v, i32 bug) {
  SHARED(float, part, [32]);
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = v;
  if (bug != NO_BARRIER) __syncthreads();
  float t = bug == UNWRITTEN || (threadIdx.x & 31) < blockDim.x >> 5 ? part[threadIdx.x & 31] : 0.0f;
  for (int o = 16; o; o >>= 1) t += __shfl_xor_sync(~0u, t, o);
  return t;
}
KERNEL void rms_norm(const float* x, const float* w, float* y, i32 cols, i32 bug) {
  const float* row = x + u64(blockIdx.x) * cols;
  float s = 0;
  for (i32 c = i32(threadIdx.x); c < cols; c += i32(blockDim.x)) s += row[c] * row[c];
  if (bug == SHUFFLE_OF_SOME) {
    if (threadIdx.x != 5) s = block_sum(s, bug);
  } else if (bug == BARRIER_OF_SOME) {
    if (threadIdx.x < 32) s = block_sum(s, bug);
    else s = block_sum(s, bug), __syncthreads();
  } else s = block_sum(s, bug);
  const float k = rsqrtf(s / float(cols) + 1e-5f);
  for (i32 c = i32(threadIdx.x); c < cols; c += i32(blockDim.x)) y[u64(blockIdx.x) * cols + c] = row[c] * k * w[c];
}
KERNEL_END(rms_norm)
TEST_ONCE(planted_norm, "planted: a reduction") {
  const int rows = 3, cols = 500;
  planted({"no barrier", "reads what nobody wrote", "a shuffle that one lane misses", "a barrier that one warp misses"}, [&](int bug) -> Outcome {
    const Matrix x(rows, cols), w(1, cols);
    Device<float> dx(x.values), dw(w.values), y(size_t(rows * cols));
    Findings f = try_launch(emu_kernel_rms_norm, rows, 256, 0, dx.p, dw.p, y.p, cols, bug);
    const auto got = y.get();
    bool right = true;
    for (int r = 0; r < rows; r++) {
      double s = 0;
      for (int c = 0; c < cols; c++) s += double(x(r, c)) * double(x(r, c));
      for (int c = 0; c < cols; c++) right &= std::fabs(double(got[size_t(r * cols + c)]) - double(x(r, c)) / std::sqrt(s / cols + 1e-5) * double(w(0, c))) <= 1e-5;
    }
    return {f, right};
  });
}

enum { OUTSIDE_SHARED = 1, NO_BARRIER_BEFORE, NO_BARRIER_AFTER, WRONG_INDEX };
KERNEL void matmul_tiled(const float* a, const float* b, float* c, i32 M, i32 N, i32 K, i32 bug) {
  SHARED(float, as, [16][17]);
  SHARED(float, bs, [16][17]);
  const i32 tx = i32(threadIdx.x), ty = i32(threadIdx.y), row = i32(blockIdx.y) * 16 + ty, col = i32(blockIdx.x) * 16 + tx, off = bug == OUTSIDE_SHARED;
  float sum = 0;
  for (i32 k0 = 0; k0 < K; k0 += 16) {
    as[ty][tx] = row < M && k0 + tx < K ? a[u64(row) * K + k0 + tx] : 0.0f;
    bs[ty + off][tx + off] = k0 + ty < K && col < N ? b[u64(k0 + ty) * N + col] : 0.0f;
    if (bug != NO_BARRIER_BEFORE) __syncthreads();
    for (int k = 0; k < 16; k++) sum += as[ty][k] * (bug == WRONG_INDEX ? bs[tx][k] : bs[k + off][tx + off]);
    if (bug != NO_BARRIER_AFTER) __syncthreads();
  }
  if (row < M && col < N) c[u64(row) * N + col] = sum;
}
KERNEL_END(matmul_tiled)
TEST_ONCE(planted_tiles, "planted: a matmul on tiles") {
  const int m = 20, n = 35, k = 45;
  planted({"outside the array", "no barrier before the tile is read", "no barrier before it is written again", "a wrong index"}, [&](int bug) -> Outcome {
    const Matrix a(m, k), b(k, n);
    Device<float> da(a.values), db(b.values), c(size_t(m * n));
    Findings f = try_launch(emu_kernel_matmul_tiled, dim3((n + 15) / 16, (m + 15) / 16), dim3(16, 16), 0, da.p, db.p, c.p, m, n, k, bug);
    return {f, near(c.get(), Product(m, n, k, a, b), 1e-6)};
  });
}

enum { NOT_ATOMIC = 1, NOT_ATOMIC_GLOBAL, NO_SCAN_BARRIER };
KERNEL void histogram(const i32* expert, i32* counts, i32 slots, i32 E, i32 bug) {
  DYN_SMEM(room);
  i32* h = (i32*)room;
  for (i32 e = i32(threadIdx.x); e < E; e += i32(blockDim.x)) h[e] = 0;
  __syncthreads();
  for (i32 i = i32(blockIdx.x * blockDim.x + threadIdx.x); i < slots; i += i32(gridDim.x * blockDim.x))
    if (bug == NOT_ATOMIC) h[expert[i]]++;
    else atomicAdd(&h[expert[i]], 1);
  __syncthreads();
  for (i32 e = i32(threadIdx.x); e < E; e += i32(blockDim.x))
    if (bug == NOT_ATOMIC_GLOBAL) counts[e] += h[e];
    else atomicAdd(&counts[e], h[e]);
}
KERNEL_END(histogram)
/// One block; E is at most its threads.
KERNEL void scan(const i32* counts, i32* offsets, i32 E, i32 bug) {
  SHARED(i32, sums, [32]);
  const i32 t = i32(threadIdx.x), lane = t & 31, w = t >> 5, v = t < E ? counts[t] : 0;
  auto up_to = [&](i32 x) {
    for (int o = 1; o < 32; o <<= 1) {
      const i32 y = __shfl_up_sync(~0u, x, o);
      if (lane >= o) x += y;
    }
    return x;
  };
  const i32 x = up_to(v);
  if (lane == 31) sums[w] = x;
  __syncthreads();
  if (w == 0) sums[lane] = up_to(lane < i32(blockDim.x >> 5) ? sums[lane] : 0);
  if (bug != NO_SCAN_BARRIER) __syncthreads();
  const i32 before = x - v + (w ? sums[w - 1] : 0);
  if (t < E) offsets[t] = before;
  if (t == E - 1) offsets[E] = before + v;
}
KERNEL_END(scan)
TEST_ONCE(planted_routing, "planted: routing") {
  const int slots = 1001, experts = 100;
  planted({"a shared count that is not atomic", "a global one", "no barrier in the scan"}, [&](int bug) -> Outcome {
    std::vector<i32> expert(slots), want(experts + 1);
    for (i32& e : expert) e = i32(std::min(generator()() % experts, generator()() % experts));
    for (i32 e : expert) want[size_t(e) + 1]++;
    for (size_t e = 0; e < experts; e++) want[e + 1] += want[e];
    Device<i32> de(expert), counts(std::vector<i32>(experts, 0)), offsets(experts + 1);
    Findings f = try_launch(emu_kernel_histogram, 3, 128, experts * 4, de.p, counts.p, slots, experts, bug);
    if (f.empty()) f = try_launch(emu_kernel_scan, 1, 128, 0, counts.p, offsets.p, experts, bug);
    return {f, offsets.get() == want};
  });
}
