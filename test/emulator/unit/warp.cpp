// Shuffles, votes, reductions, barriers, atomics, setmaxnreg.
#include "harness.hpp"
using namespace unit;

/// out[kind * 32 + lane], for segments of `width`.
KERNEL void shuffles(const int* in, int* out, int width) {
  const int lane = int(threadIdx.x), v = in[lane];
  int at = 0;
  auto put = [&](int x) { out[at++ * 32 + lane] = x; };
  put(__shfl_sync(~0u, v, lane * 7 + 3, width));
  put(__shfl_up_sync(~0u, v, 3, width));
  put(__shfl_down_sync(~0u, v, 3, width));
  put(__shfl_xor_sync(~0u, v, 5, width));
  const u32 control = u32(32 - width) << 8;
  u32 r;
  PTX("shfl.sync.idx.b32 %0, %1, %2, %3, %4;", OUTS(W_U32(r)), INS(R_U32(v), R_U32((lane * 7 + 3) & (width - 1)), R_U32(control | 31), R_U32(~0u)));
  put(int(r));
  PTX("shfl.sync.up.b32 %0, %1, %2, %3, %4;", OUTS(W_U32(r)), INS(R_U32(v), R_U32(3), R_U32(control), R_U32(~0u)));
  put(int(r));
  PTX("shfl.sync.down.b32 %0, %1, %2, %3, %4;", OUTS(W_U32(r)), INS(R_U32(v), R_U32(3), R_U32(control | 31), R_U32(~0u)));
  put(int(r));
  PTX("shfl.sync.bfly.b32 %0, %1, %2, %3, %4;", OUTS(W_U32(r)), INS(R_U32(v), R_U32(5), R_U32(control | 31), R_U32(~0u)));
  put(int(r));
}
KERNEL_END(shuffles)
TEST(test_shuffles, "shuffles") {
  std::vector<int> in(32);
  for (int& x : in) x = int(generator()());
  Device<int> din(in);
  for (int width : {32, 16, 4, 1}) {
    std::vector<int> want;
    for (int half = 0; half < 2; half++)
      for (int kind = 0; kind < 4; kind++)
        for (int lane = 0; lane < 32; lane++) {
          const int first = lane / width * width, place = lane - first;
          const int from = kind == 0 ? (lane * 7 + 3) % width : kind == 1 ? place - 3 : kind == 2 ? place + 3 : (lane ^ 5) - first;
          const bool earlier = kind == 3;  // only xor reaches into earlier segments
          want.push_back(in[size_t((from >= 0 || earlier) && from < width ? first + from : lane)]);
        }
    Device<int> out(256);
    launch(emu_kernel_shuffles, 1, 32, 0, din.p, out.p, width);
    same("shuffled", out.get(), want);
  }
}
/// Lanes of two masks vote apart.
KERNEL void votes(const u32* in, u32* out) {
  const u32 lane = threadIdx.x, v = in[lane], mask = lane % 3 == 0 ? 0x49249249u : ~0x49249249u;
  int at = 0;
  auto put = [&](u32 x) { out[at++ * 32 + lane] = x; };
  auto all = [&] {
    put(__ballot_sync(mask, v & 1));
    put(u32(__any_sync(mask, v % 7 == 0)));
    put(u32(__all_sync(mask, v % 100 != 0)));
    put(__match_any_sync(mask, v % 4));
    put(__reduce_add_sync(mask, v));
    put(__reduce_min_sync(mask, v));
    put(u32(__reduce_max_sync(mask, int(v))));
    put(__reduce_xor_sync(mask, v));
  };
  if (lane % 3 == 0) all();
  else all();
  u32 r;
  PTX("vote.sync.ballot.b32 %0, %1, %2;", OUTS(W_U32(r)), INS(R_U32(v & 1), R_U32(~0u)));
  put(r);
  PTX("redux.sync.min.s32 %0, %1, %2;", OUTS(W_U32(r)), INS(R_U32(v), R_U32(~0u)));
  put(r);
  u32 leads;
  PTX("{ .reg .pred p; elect.sync %0|p, %2; selp.u32 %1, 1, 0, p; }", OUTS(W_U32(r), W_U32(leads)), INS(R_U32(~0u)));
  put(r * 2 + leads);
}
KERNEL_END(votes)
TEST(test_votes, "votes, matches and reductions") {
  std::vector<u32> in(32), want(11 * 32);
  for (u32& x : in) x = generator()();
  for (u32 lane = 0; lane < 32; lane++) {
    u32 ballot = 0, any = 0, all = 1, match = 0, sum = 0, least = ~0u, parity = 0, whole = 0;
    int most = -2147483647 - 1, lowest = 2147483647;
    for (u32 other = 0; other < 32; other++) {
      const u32 v = in[other];
      whole |= (v & 1) << other;
      lowest = std::min(lowest, int(v));
      if ((other % 3 == 0) != (lane % 3 == 0)) continue;
      ballot |= (v & 1) << other;
      any |= v % 7 == 0;
      all &= v % 100 != 0;
      match |= u32(v % 4 == in[lane] % 4) << other;
      sum += v;
      least = std::min(least, v);
      most = std::max(most, int(v));
      parity ^= v;
    }
    const u32 column[] = {ballot, any, all, match, sum, least, u32(most), parity, whole, u32(lowest), u32(lane == 0)};
    for (size_t i = 0; i < 11; i++) want[i * 32 + lane] = column[i];
  }
  Device<u32> din(in), out(11 * 32);
  launch(emu_kernel_votes, 1, 32, 0, din.p, out.p);
  same("votes", out.get(), want);
}
KERNEL void divergent(int bug) {
  const int v = int(threadIdx.x);
  if (bug == 1 && v < 16) __shfl_sync(~0u, v, 0);
  if (bug == 2 && v < 16) __shfl_sync(0xffu, v, 0);
  if (bug == 3 && v < 16) __shfl_sync(0xffffu, v, 20);
  if (bug == 4 && v < 16) __syncthreads();
  else if (bug == 4) __syncthreads();
  if (bug == 5 && v < 16) __ballot_sync(~0u, 1);
  else if (bug == 5) __shfl_sync(~0u, v, 0);
}
KERNEL_END(divergent)
TEST(test_divergent, "collectives that not all reach") {
  contains("the rest has ended", try_launch(emu_kernel_divergent, 1, 32, 0, 1), "deadlock");
  contains("a lane outside the mask", try_launch(emu_kernel_divergent, 1, 32, 0, 2), "leaves it out");
  contains("from a lane outside the mask", try_launch(emu_kernel_divergent, 1, 32, 0, 3), "not in the mask");
  contains("a barrier at two places", try_launch(emu_kernel_divergent, 1, 32, 0, 4), "at different places");
  contains("two kinds of collective", try_launch(emu_kernel_divergent, 1, 32, 0, 5), "different collectives");
}

/// Through shared memory from one half to the other: by a named barrier of both, then by arrive and sync.
KERNEL void meetings(int* out, int bug) {
  SHARED(int, x, [128]);
  SHARED(int, y, [128]);
  const int t = int(threadIdx.x), n = int(blockDim.x);
  x[t] = t;
  if (bug != 1) PTX("bar.sync %0, %1;", OUTS(), INS(R_U32(1 + t / 64), R_U32(64)));
  const int a = x[t ^ 63];
  if (t < 64) {
    y[t] = a;
    PTX("barrier.cta.arrive.aligned 5, 128;", OUTS(), INS());
    out[t] = a;
  } else {
    if (bug != 2) PTX("barrier.cta.sync.aligned 5, 128;", OUTS(), INS());
    out[t] = a + 1000 * y[t - 64];
  }
  const int odd = __syncthreads_count(t & 1), every = __syncthreads_and(t >= 0), some = __syncthreads_or(t == 300);
  if (t == 0) out[n] = odd * 100 + every * 10 + some;
}
KERNEL_END(meetings)
TEST(test_barriers, "barriers") {
  std::vector<int> want;
  for (int t = 0; t < 128; t++) want.push_back(t < 64 ? t ^ 63 : (t ^ 63) + 1000 * ((t - 64) ^ 63));
  want.push_back(6410);
  Device<int> out(129);
  launch(emu_kernel_meetings, 1, 128, 0, out.p, 0);
  same("through shared memory", out.get(), want);
  contains("no barrier", try_launch(emu_kernel_meetings, 1, 128, 0, out.p, 1), "shared memory");
  found("no wait for those who arrive", try_launch(emu_kernel_meetings, 1, 128, 0, out.p, 2));
}
/// Lanes of a warp are threads: without __syncwarp they race.
KERNEL void lanes(int* out, int synced) {
  SHARED(int, x, [32]);
  x[threadIdx.x] = int(threadIdx.x);
  if (synced == 1) __syncwarp();
  if (synced == 2) PTX("bar.warp.sync %0;", OUTS(), INS(R_U32(~0u)));
  if (synced == 3) __shfl_sync(~0u, 0, 0);  // orders no memory
  out[threadIdx.x] = x[31 - threadIdx.x];
}
KERNEL_END(lanes)
TEST(test_syncwarp, "__syncwarp") {
  Device<int> out(32);
  launch(emu_kernel_lanes, 1, 32, 0, out.p, 1);
  launch(emu_kernel_lanes, 1, 32, 0, out.p, 2);
  found("nothing", try_launch(emu_kernel_lanes, 1, 32, 0, out.p, 0));
  found("a shuffle", try_launch(emu_kernel_lanes, 1, 32, 0, out.p, 3));
}

KERNEL void atomics(int* i, u32* u, u64* l, float* f, double* d) {
  const u32 t = blockIdx.x * blockDim.x + threadIdx.x, v = t * 2654435761u;
  atomicAdd(i, int(v)), atomicMin(i + 1, int(v)), atomicMax(i + 2, int(v));
  atomicAdd(u, v), atomicMin(u + 1, v), atomicMax(u + 2, v), atomicAnd(u + 3, v | 255), atomicOr(u + 4, v & 0xf0f0), atomicXor(u + 5, v);
  atomicInc(u + 6, 9), atomicDec(u + 7, 9), atomicSub(u + 8, v);
  PTX("red.global.add.u32 [%0], %1;", OUTS(), INS(R_PTR(u + 9), R_U32(v)));
  u32 old;
  PTX("atom.acq_rel.gpu.global.cas.b32 %0, [%1], %2, %3;", OUTS(W_U32(old)), INS(R_PTR(u + 10), R_U32(7), R_U32(8)));
  if (old == 7) atomicExch(u + 11, t);
  for (u64 seen = 5, now;; seen = now)
    if ((now = atomicCAS(l + 1, seen, seen + v)) == seen) break;
  atomicAdd(l, u64(v) << 20);
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
}
KERNEL_END(atomics)
TEST(test_atomics, "atomics") {
  const u32 n = 3 * 64;
  int i[] = {0, 2147483647, -2147483647 - 1};
  u32 u[12] = {0, ~0u, 0, ~0u, 0, 0, 0, 0, 0, 0, 7, 999};
  u64 l[] = {0, 5};
  Device<int> di(std::vector<int>(i, i + 3));
  Device<u32> du(std::vector<u32>(u, u + 12));
  Device<u64> dl(std::vector<u64>(l, l + 2));
  Device<float> df(std::vector<float>(1));
  Device<double> dd(std::vector<double>(1));
  for (u32 t = 0; t < n; t++) {
    const u32 v = t * 2654435761u;
    i[0] = int(u32(i[0]) + v), i[1] = std::min(i[1], int(v)), i[2] = std::max(i[2], int(v));
    u[0] += v, u[1] = std::min(u[1], v), u[2] = std::max(u[2], v), u[3] &= v | 255, u[4] |= v & 0xf0f0, u[5] ^= v, u[8] -= v, u[9] += v;
    u[6] = u[6] >= 9 ? 0 : u[6] + 1, u[7] = u[7] == 0 || u[7] > 9 ? 9 : u[7] - 1;
    l[0] += u64(v) << 20, l[1] += v;
  }
  u[10] = 8;
  launch(emu_kernel_atomics, 3, 64, 0, di.p, du.p, dl.p, df.p, dd.p);
  same("int", di.get(), std::vector<int>(i, i + 3));
  same("unsigned", du.get(), std::vector<u32>(u, u + 11));
  same("unsigned long long", dl.get(), std::vector<u64>(l, l + 2));
  same("float", df.get(), {n * 0.5f});
  same("double", dd.get(), {n * 0.25});
  if (du.get()[11] >= n) wrong("no thread exchanged the 7");
}
/// The last block to come sums what all wrote: threadFenceReduction of NVIDIA's samples.
KERNEL void last_block(u32* partial, u32* ticket, u32* out, int fenced) {
  SHARED(u32, number, [1]);
  partial[blockIdx.x * blockDim.x + threadIdx.x] = blockIdx.x + threadIdx.x;
  if (fenced) __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) number[0] = atomicAdd(ticket, 1);
  __syncthreads();
  if (number[0] != gridDim.x - 1 || threadIdx.x > 0) return;
  u32 sum = 0;
  for (u32 i = 0; i < gridDim.x * blockDim.x; i++) sum += partial[i];
  *out = sum;
}
KERNEL_END(last_block)
TEST(test_fences, "__threadfence between blocks") {
  Device<u32> partial(5 * 32), out(1), ticket(std::vector<u32>{0});
  launch(emu_kernel_last_block, 5, 32, 0, partial.p, ticket.p, out.p, 1);
  same("the sum", out.get(), {5 * (32 * 31 / 2) + 32 * 10});
  ticket = std::vector<u32>{0};
  contains("no fence", try_launch(emu_kernel_last_block, 5, 32, 0, partial.p, ticket.p, out.p, 0), "of another block");
}
/// A flag with release and acquire; blocks that run side by side.
KERNEL void flags(u32* data, u32* flag, u32* out, int released) {
  if (blockIdx.x == 0) {
    data[threadIdx.x] = threadIdx.x + 1;
    __syncthreads();
    if (threadIdx.x > 0) return;
    if (released) PTX("st.release.gpu.global.u32 [%0], %1;", OUTS(), INS(R_PTR(flag), R_U32(1)));
    else PTX("st.relaxed.gpu.global.u32 [%0], %1;", OUTS(), INS(R_PTR(flag), R_U32(1)));
  } else {
    u32 seen = 0;
    while (threadIdx.x == 0 && !seen) PTX("ld.acquire.gpu.global.u32 %0, [%1];", OUTS(W_U32(seen)), INS(R_PTR(flag)));
    __syncthreads();
    out[threadIdx.x] = data[threadIdx.x];
  }
}
KERNEL_END(flags)
TEST(test_flags, "release and acquire between blocks") {
  Device<u32> data(32), out(32), flag(std::vector<u32>{0});
  auto run = [&](int released) {
    flag = std::vector<u32>{0};
    void* args[] = {&data.p, &flag.p, &out.p, &released};
    return emu::launch(emu_kernel_flags, 2, 32, 0, args, true);
  };
  for (const std::string& f : run(1)) wrong("%s", f.c_str());
  same("the data", out.get(), [] { std::vector<u32> w; for (u32 i = 1; i <= 32; i++) w.push_back(i); return w; }());
  contains("no release", run(0), "of another block");
}

/// Two warpgroups of 128; 65536 registers in all, 255 at most at the start.
KERNEL void registers(u32* out, int first, int second) {
  if (threadIdx.x < 256 && first) PTX("setmaxnreg.dec.sync.aligned.u32 40;", OUTS(), INS());
  if (threadIdx.x >= 128 && second == 1) PTX("setmaxnreg.inc.sync.aligned.u32 256;", OUTS(), INS());
  if (threadIdx.x >= 384 && second == 2) PTX("setmaxnreg.inc.sync.aligned.u32 232;", OUTS(), INS());
  if (second == 3) PTX("setmaxnreg.dec.sync.aligned.u32 41;", OUTS(), INS());
  out[threadIdx.x] = 1;
}
KERNEL_END(registers)
TEST(test_registers, "setmaxnreg") {
  Device<u32> out(512);
  launch(emu_kernel_registers, 1, 256, 0, out.p, 1, 1);
  launch(emu_kernel_registers, 1, 512, 0, out.p, 1, 2);
  found("nobody gives any back", try_launch(emu_kernel_registers, 1, 512, 0, out.p, 0, 2));
  contains("no multiple of 8", try_launch(emu_kernel_registers, 1, 512, 0, out.p, 0, 3), "a multiple of 8");
}
