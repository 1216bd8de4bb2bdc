// Planted bugs in a matmul by mma.sync with cp.async; and slow code that gives right results.
#include "../counters/counters.hpp"
#include "prelude.hpp"
using namespace unit;

enum { OPERANDS = 1, NOT_TRANSPOSED, SWIZZLES_DIFFER, WAITS_FOR_ONE_LESS, NO_BARRIER };
enum { PLAIN_A = 10, HALF_SWIZZLED_B, UNCOALESCED };
/// C = A B in f32; four warps, tiles of 64 x 64 x 32 in three stages; chunks of 16 bytes are swizzled.
KERNEL void gemm(const bf16* a, const bf16* b, float* c, i32 M, i32 N, i32 K, i32 bug) {
  constexpr int ST = 3, A_BYTES = 64 * 64, STAGE = A_BYTES + 32 * 128;
  DYN_SMEM(room);
  const i32 tid = i32(threadIdx.x), lane = tid & 31, warp = tid >> 5, wm = warp >> 1, wn = warp & 1, m0 = i32(blockIdx.y) * 64, n0 = i32(blockIdx.x) * 64, tiles = (K + 31) / 32;
  const u32 base = smem_of(room);
  auto in_a = [&](i32 r, i32 chunk) { return u32(r * 4 + (bug == PLAIN_A ? chunk : chunk ^ (r >> 1 & 3))) * 16; };
  auto in_b = [&](i32 r, i32 chunk, bool writes) {
    const i32 mask = bug == HALF_SWIZZLED_B || (bug == SWIZZLES_DIFFER && writes) ? 3 : 7;
    return u32(r * 8 + (chunk ^ (r & mask))) * 16;
  };
  auto load = [&](i32 tile, i32 stage) {
    const u32 sa = base + u32(stage) * STAGE, sb = sa + A_BYTES;
    for (int i = 0; i < 2; i++) {
      const i32 n = tid + i * 128, r = n >> 2, chunk = n & 3, k = tile * 32 + chunk * 8, m = m0 + r;
      const bool ok = m < M && k < K;
      copy16(sa + in_a(r, chunk), a + (ok ? u64(m) * K + k : 0), ok ? 16 : 0);
    }
    for (int i = 0; i < 2; i++) {
      const i32 n = tid + i * 128, r = bug == UNCOALESCED ? n % 32 : n >> 3, chunk = bug == UNCOALESCED ? n / 32 : n & 7, k = tile * 32 + r, col = n0 + chunk * 8;
      const bool ok = k < K && col < N;
      copy16(sb + in_b(r, chunk, true), b + (ok ? u64(k) * N + col : 0), ok ? 16 : 0);
    }
  };
  float acc[2][4][4] = {};
  for (int s = 0; s < ST - 1; s++) {
    if (s < tiles) load(s, s);
    copies_commit();
  }
  for (i32 t = 0; t < tiles; t++) {
    if (bug == WAITS_FOR_ONE_LESS) copies_wait<ST - 1>();
    else copies_wait<ST - 2>();
    if (bug != NO_BARRIER) __syncthreads();
    if (t + ST - 1 < tiles) load(t + ST - 1, (t + ST - 1) % ST);
    copies_commit();
    const u32 sa = base + u32(t % ST) * STAGE, sb = sa + A_BYTES;
    for (int step = 0; step < 2; step++) {
      u32 fa[2][4], fb[2][4];
      for (int i = 0; i < 2; i++) ldmatrix(fa[i], sa + in_a(wm * 32 + i * 16 + (lane & 15), step * 2 + (lane >> 4)));
      for (int j = 0; j < 2; j++) {
        const u32 at = sb + in_b(step * 16 + (lane & 15), wn * 4 + j * 2 + (lane >> 4), false);
        if (bug == NOT_TRANSPOSED) ldmatrix(fb[j], at);
        else ldmatrix_trans(fb[j], at);
      }
      for (int i = 0; i < 2; i++) {
        const u32 order[4] = {fa[i][0], fa[i][bug == OPERANDS ? 2 : 1], fa[i][bug == OPERANDS ? 1 : 2], fa[i][3]};
        for (int j = 0; j < 4; j++) mma(acc[i][j], order, fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
  copies_wait<0>();
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 4; j++)
      for (int h = 0; h < 2; h++) {
        const i32 m = m0 + wm * 32 + i * 16 + (lane >> 2) + h * 8, n = n0 + wn * 32 + j * 8 + (lane & 3) * 2;
        if (m < M && n < N) *(float2*)(c + u64(m) * N + n) = make_float2(acc[i][j][h * 2], acc[i][j][h * 2 + 1]);
      }
}
KERNEL_END(gemm)
static Outcome run(int bug, int m, int n, int k) {
  const Matrix a(m, k), b(k, n);
  Device<bf16> da(a.coded()), db(b.coded());
  Device<float> c(size_t(m * n));
  Findings f = try_launch(emu_kernel_gemm, dim3(unsigned(n + 63) / 64, unsigned(m + 63) / 64), 128, 3 * 8192, da.p, db.p, c.p, m, n, k, bug);
  return {f, near(c.get(), Product(m, n, k, a, b), 1e-6)};
}
TEST_ONCE(planted_gemm, "planted: mma.sync with cp.async") {
  planted({"two operands changed over", "ldmatrix without .trans", "writer and reader swizzle differently", "waits for one group less", "no barrier"}, [](int bug) { return run(bug, 70, 72, 136); });
}

/// Wavefronts or sectors, as a multiple of the least.
static double ratio(const emu::count::Cost& c) { return double(c.real) / double(c.ideal); }
static emu::count::Totals counted(int bug) {
  emu::config = {};
  emu::configure("count=-");
  const Outcome o = run(bug, 64, 64, 128);
  if (!o.right) wrong("slow code %d gives wrong results", bug);
  return emu::count::last();
}
TEST_ONCE(slow_gemm, "counters: bank conflicts and sectors") {
  const auto good = counted(0), plain = counted(PLAIN_A), half = counted(HALF_SWIZZLED_B), uncoalesced = counted(UNCOALESCED);
  if (ratio(good.shared) != 1 || ratio(good.global) > 1.001) wrong("good code: wavefronts %.2f, sectors %.2f of the least", ratio(good.shared), ratio(good.global));
  if (ratio(plain.shared) < 1.5) wrong("A without its swizzle: wavefronts only %.2f", ratio(plain.shared));
  if (ratio(half.shared) < 1.2) wrong("B with half of its swizzle: wavefronts only %.2f", ratio(half.shared));
  if (ratio(uncoalesced.shared) != 1 && ratio(uncoalesced.global) <= 1.001) wrong("uncoalesced copies: sectors %.2f", ratio(uncoalesced.global));
  if (good.loaded != 2 * 64 * 128 * 2 || good.stored != 64 * 64 * 4) wrong("%llu bytes loaded, %llu stored", good.loaded, good.stored);
}
/// Rows of 33 words have no conflicts by columns, rows of 32 have all; `stride` words between lanes of a load.
KERNEL void walks(const float* in, float* out, i32 pitch, i32 stride, i32 branches) {
  DYN_SMEM(room);
  float* x = (float*)room;
  const i32 t = i32(threadIdx.x);
  for (i32 i = 0; i < 32; i++) x[t * pitch + i] = in[t * stride];
  __syncthreads();
  if (branches && t & 1) out[t] = x[t] * 3.0f;
  else out[t] = x[t];
}
KERNEL_END(walks)
TEST_ONCE(slow_walks, "counters: strides and divergence") {
  Device<float> in(std::vector<float>(32 * 32, 1.0f)), out(32);
  auto count = [&](int pitch, int stride, int branches) {
    emu::config = {};
    emu::configure("count=-");
    launch(emu_kernel_walks, 1, 32, 33 * 32 * 4, in.p, out.p, pitch, stride, branches);
    return emu::count::last();
  };
  const auto good = count(33, 1, 0), conflicts = count(32, 1, 0), strided = count(33, 8, 0), divergent = count(33, 1, 1);
  if (ratio(good.shared) != 1 || ratio(good.global) != 1 || good.divergent != 0) wrong("good code: %.2f %.2f %llu", ratio(good.shared), ratio(good.global), good.divergent);
  if (ratio(conflicts.shared) < 30) wrong("32 rows in one bank: wavefronts only %.2f", ratio(conflicts.shared));
  if (ratio(strided.global) < 4) wrong("a stride of 8 words: sectors only %.2f", ratio(strided.global));
  if (divergent.divergent == 0) wrong("a divergent branch is not counted");
}
struct Long { float x[68]; };
/// Each thread moves 272 bytes, which g++ copies as a whole.
KERNEL void moves(const Long* in, Long* out) { out[threadIdx.x] = in[threadIdx.x]; }
KERNEL_END(moves)
TEST_ONCE(long_moves, "counters: what is moved as a whole") {
  Device<float> in(std::vector<float>(32 * 68, 1.0f)), out(32 * 68);
  emu::config = {};
  emu::configure("count=-");
  launch(emu_kernel_moves, 1, 32, 0, in.p, out.p);
  const auto all = emu::count::last();
  const unsigned long long bytes = 32 * sizeof(Long), requests = 2 * sizeof(Long) / 16;
  if (all.loaded != bytes || all.stored != bytes) wrong("%llu bytes loaded, %llu stored, not %llu", all.loaded, all.stored, bytes);
  // 32 lanes that are 272 bytes apart: a sector for the 16 bytes of each
  if (all.global.real != requests * 32 || all.global.ideal != requests * 16) wrong("%llu sectors of the least %llu", all.global.real, all.global.ideal);
}
