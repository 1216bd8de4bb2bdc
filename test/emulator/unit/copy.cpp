// cp.async, mbarrier, bulk copies and their swizzles.
#include "../ptx/tensor_map.hpp"
#include "harness.hpp"
using namespace unit;

DEV u32 smem(const void* p) { return u32(__cvta_generic_to_shared(p)); }
DEV void commit() { PTX("cp.async.commit_group;", OUTS(), INS()); }
DEV void wait_all() { PTX("cp.async.wait_all;", OUTS(), INS()); }
DEV void copy16(u32 to, const void* from, u32 bytes) { PTX("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;", OUTS(), INS(R_U32(to), R_PTR(from), R_U32(bytes))); }

/// Thread t copies 16 bytes, of which t % 17 are read; then 4, then 8 bytes.
KERNEL void copies(const u8* in, u8* out, int waits) {
  SHARED(u8, room, [32 * 32]);
  u8* mine = room + threadIdx.x * 32;
  copy16(smem(mine), in + threadIdx.x * 32, threadIdx.x % 17);
  commit();
  PTX("cp.async.ca.shared.global [%0], [%1], 4;", OUTS(), INS(R_U32(smem(mine + 16)), R_PTR(in + threadIdx.x * 32 + 16)));
  PTX("cp.async.ca.shared.global [%0], [%1], 8, %2;", OUTS(), INS(R_U32(smem(mine + 24)), R_PTR(in + threadIdx.x * 32 + 24), R_U32(5)));
  commit();
  if (waits == 0) PTX("cp.async.wait_group 0;", OUTS(), INS());
  if (waits == 1) PTX("cp.async.wait_group 1;", OUTS(), INS());
  if (waits == 2) wait_all();
  for (u32 i = 0; i < 32; i++)
    if (i < 20 || i >= 24) out[threadIdx.x * 32 + i] = mine[i];
  wait_all();
}
KERNEL_END(copies)
TEST(test_cp_async, "cp.async") {
  std::vector<u8> in(1024);
  for (u8& x : in) x = u8(1 + generator()() % 255);
  Device<u8> din(in);
  for (int waits : {0, 2}) {
    Device<u8> out(1024);
    launch(emu_kernel_copies, 1, 32, 0, din.p, out.p, waits);
    std::vector<u8> want(1024, 0xff);
    for (size_t t = 0; t < 32; t++)
      for (size_t i = 0; i < 32; i++) {
        const bool read = i < 16 ? i < t % 17 : i < 20 || (i >= 24 && i < 29);
        if (i < 20 || i >= 24) want[t * 32 + i] = read ? in[t * 32 + i] : 0;
      }
    same("copied bytes", out.get(), want);
  }
  Device<u8> out(1024);
  contains("wait_group 1 leaves the last group", try_launch(emu_kernel_copies, 1, 32, 0, din.p, out.p, 1), "before its cp.async is waited for");
}
KERNEL void unaligned_copy(const u8* in) {
  SHARED(uint4, room, [2]);
  copy16(smem(room), in + 8, 16);
  commit();
  wait_all();
}
KERNEL_END(unaligned_copy)
TEST(test_cp_async_errors, "cp.async: alignment") {
  Device<u8> in(std::vector<u8>(64));
  contains("source", try_launch(emu_kernel_unaligned_copy, 1, 1, 0, in.p), "is not a multiple of 16");
}

// ---- mbarrier ----
DEV void init(u32 bar, u32 count) { PTX("mbarrier.init.shared::cta.b64 [%0], %1;", OUTS(), INS(R_U32(bar), R_U32(count))); }
DEV void fence_init() { PTX("fence.mbarrier_init.release.cluster;", OUTS(), INS()); }
DEV void arrive(u32 bar) { PTX("mbarrier.arrive.shared::cta.b64 _, [%0];", OUTS(), INS(R_U32(bar))); }
DEV void expect(u32 bar, u32 bytes) { PTX("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;", OUTS(), INS(R_U32(bar), R_U32(bytes))); }
DEV void wait(u32 bar, u32 parity) {
  u32 ok;
  do PTX("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p; }", OUTS(W_U32(ok)), INS(R_U32(bar), R_U32(parity)));
  while (!ok);
}
/// The loop as others write it: with a label and a branch.
DEV void wait_in_ptx(u32 bar, u32 parity) {
  PTX("{ .reg .pred P1; LAB_WAIT: mbarrier.test_wait.parity.shared::cta.b64 P1, [%0], %1; @P1 bra DONE; bra LAB_WAIT; DONE: }", OUTS(), INS(R_U32(bar), R_U32(parity)));
}
/// Warp 0 writes what warp 1 sums, in a ring of two places, `n` times.
KERNEL void ring(u32* out, int n, int bug) {
  SHARED(u64, full, [2]);
  SHARED(u64, empty, [2]);
  SHARED(u32, place, [2][32]);
  const u32 lane = threadIdx.x & 31;
  if (threadIdx.x == 0)
    for (int s = 0; s < 2; s++) init(smem(&full[s]), 32), init(smem(&empty[s]), bug == 3 ? 31 : 32);
  if (bug != 4) __syncthreads();
  u32 sum = 0;
  for (int i = 0; i < n; i++) {
    const u32 s = u32(i & 1), parity = u32(i / 2 & 1);
    if (threadIdx.x < 32) {
      if (bug != 1) wait(smem(&empty[s]), parity ^ 1);
      place[s][lane] = u32(i) * 100 + lane;
      arrive(smem(&full[s]));
    } else {
      if (bug != 2) wait_in_ptx(smem(&full[s]), parity);
      sum += place[s][31 - lane];
      arrive(smem(&empty[s]));
    }
  }
  if (threadIdx.x >= 32) out[lane] = sum;
}
KERNEL_END(ring)
TEST(test_mbarrier, "mbarrier") {
  Device<u32> out(32);
  launch(emu_kernel_ring, 1, 64, 0, out.p, 7, 0);
  std::vector<u32> want(32);
  for (u32 i = 0; i < 7; i++)
    for (u32 lane = 0; lane < 32; lane++) want[lane] += i * 100 + 31 - lane;
  same("sums", out.get(), want);
  found("the writer does not wait", try_launch(emu_kernel_ring, 1, 64, 0, out.p, 7, 1));
  contains("the reader does not wait", try_launch(emu_kernel_ring, 1, 64, 0, out.p, 7, 2), "shared memory");
  found("the wrong count", try_launch(emu_kernel_ring, 1, 64, 0, out.p, 7, 3));
  found("no barrier after init", try_launch(emu_kernel_ring, 1, 64, 0, out.p, 7, 4));
}
/// The state that arrive gives; arrivals by number; expect_tx; a use that overwrites it.
KERNEL void states(u32* out, int overwrites) {
  SHARED(u64, bar, [1]);
  u64 state = 77;
  init(smem(bar), 3);
  PTX("mbarrier.arrive.release.cta.shared::cta.b64 %0, [%1], 2;", OUTS(W_U64(state)), INS(R_U32(smem(bar))));
  u32 before, after;
  PTX("{ .reg .pred p; mbarrier.test_wait.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }", OUTS(W_U32(before)), INS(R_U32(smem(bar)), R_U64(state)));
  arrive(smem(bar));
  PTX("{ .reg .pred p; mbarrier.test_wait.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }", OUTS(W_U32(after)), INS(R_U32(smem(bar)), R_U64(state)));
  out[0] = before;
  out[1] = after;
  if (overwrites) bar[0] = 1;
}
KERNEL_END(states)
TEST(test_mbarrier_states, "mbarrier: states, misuse") {
  Device<u32> out(2);
  launch(emu_kernel_states, 1, 1, 0, out.p, 0);
  same("whether the phase is over", out.get(), {0u, 1u});
  contains("an ordinary store", try_launch(emu_kernel_states, 1, 1, 0, out.p, 1), "which is an mbarrier");
}
/// cp.async that arrive by themselves.
KERNEL void copies_arrive(const u8* in, u8* out) {
  SHARED(u64, bar, [1]);
  SHARED(u8, room, [32 * 16]);
  if (threadIdx.x == 0) init(smem(bar), 32);
  __syncthreads();
  if (threadIdx.x < 32) {
    copy16(smem(room + threadIdx.x * 16), in + threadIdx.x * 16, 16);
    PTX("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];", OUTS(), INS(R_U32(smem(bar))));
  } else {
    wait(smem(bar), 0);
    for (u32 i = 0; i < 16; i++) out[(63 - threadIdx.x) * 16 + i] = room[(63 - threadIdx.x) * 16 + i];
  }
}
KERNEL_END(copies_arrive)
TEST(test_copies_arrive, "cp.async.mbarrier.arrive") {
  std::vector<u8> in(512);
  for (u8& x : in) x = u8(generator()());
  Device<u8> din(in), out(512);
  launch(emu_kernel_copies_arrive, 1, 64, 0, din.p, out.p);
  same("copied bytes", out.get(), in);
}

// ---- bulk copies ----
struct __align__(64) Map { u64 opaque[16]; };
DEV void tensor_load(u32 to, const Map* map, int rank, int x, int y, int z, u32 bar) {
  if (rank == 1) PTX("cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2}], [%3];", OUTS(), INS(R_U32(to), R_PTR(map), R_U32(x), R_U32(bar)));
  if (rank == 2) PTX("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];", OUTS(), INS(R_U32(to), R_PTR(map), R_U32(x), R_U32(y), R_U32(bar)));
  if (rank == 3) PTX("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];", OUTS(), INS(R_U32(to), R_PTR(map), R_U32(x), R_U32(y), R_U32(z), R_U32(bar)));
}
/// Gives the box as it lies in shared memory. `bug` 1: too few bytes expected; 2: no fence after init; 3: no wait.
KERNEL void fetch_box(const __grid_constant__ Map map, int rank, int x, int y, int z, int bytes, u8* out, int bug) {
  DYN_SMEM(room);
  SHARED(u64, bar, [1]);
  if (threadIdx.x == 0) {
    init(smem(bar), 1);
    if (bug != 2) fence_init();
    expect(smem(bar), u32(bug == 1 ? bytes - 16 : bytes));
    tensor_load(smem(room), &map, rank, x, y, z, smem(bar));
  }
  __syncthreads();
  if (bug != 3) wait(smem(bar), 0);
  for (int i = int(threadIdx.x); i < bytes; i += int(blockDim.x)) out[i] = room[i];
}
KERNEL_END(fetch_box)
struct Box {
  int rank;
  unsigned dims[3], box[3];
  int at[3];
  emu::Swizzle swizzle;
  unsigned span;
};
/// Where byte `b` of row `r` (rows of `span` bytes) lies: its chunk of 16 bytes changes places with others of the row.
static size_t swizzled_place(size_t r, size_t b, const Box& t) {
  const size_t chunk = b / 16, turn = t.swizzle == emu::Swizzle::B128 ? r % 8 : t.swizzle == emu::Swizzle::B64 ? r / 2 % 4 : t.swizzle == emu::Swizzle::B32 ? r / 4 % 2 : 0;
  return r * t.span + (chunk ^ turn) * 16 + b % 16;
}
static std::vector<u8> boxed(const Box& t, const std::vector<u16>& tensor) {
  const size_t rows = size_t(t.box[1]) * t.box[2];
  std::vector<u8> want(rows * t.span);
  for (size_t r = 0; r < rows; r++)
    for (size_t i = 0; i < t.box[0]; i++) {
      const long at[3] = {t.at[0] + long(i), t.at[1] + long(r % t.box[1]), t.at[2] + long(r / t.box[1])};
      bool inside = true;
      for (int d = 0; d < 3; d++) inside &= at[d] >= 0 && at[d] < long(t.dims[d]);
      const u16 v = inside ? tensor[size_t((at[2] * t.dims[1] + at[1]) * t.dims[0] + at[0])] : u16(0);
      want[swizzled_place(r, i * 2, t)] = u8(v);
      want[swizzled_place(r, i * 2 + 1, t)] = u8(v >> 8);
    }
  return want;
}
static Findings fetch(const Box& t, Device<u16>& tensor, Device<u8>& out, int bug) {
  Map map;
  const uint64_t dims[3] = {t.dims[0], t.dims[1], t.dims[2]}, strides[2] = {t.dims[0] * 2, uint64_t(t.dims[0]) * t.dims[1] * 2};
  emu::encode_tensor_map(&map, 2, unsigned(t.rank), tensor.p, dims, strides, t.box, t.swizzle);
  return try_launch(emu_kernel_fetch_box, 1, 64, out.n, map, t.rank, t.at[0], t.at[1], t.at[2], int(out.n), out.p, bug);
}
static std::vector<u16> tensor_of(const Box& t) {
  std::vector<u16> v(size_t(t.dims[0]) * t.dims[1] * t.dims[2]);
  for (u16& x : v) x = u16(1 + generator()() % 65535);
  return v;
}
TEST(test_tma, "cp.async.bulk.tensor, all swizzles") {
  const Box boxes[] = {{2, {104, 37, 1}, {64, 24, 1}, {0, 0, 0}, emu::Swizzle::B128, 128}, {2, {104, 37, 1}, {64, 24, 1}, {56, 20, 0}, emu::Swizzle::B128, 128},
    {2, {104, 37, 1}, {64, 24, 1}, {-8, -3, 0}, emu::Swizzle::B128, 128}, {2, {104, 37, 1}, {32, 17, 1}, {8, 1, 0}, emu::Swizzle::B64, 64}, {2, {104, 37, 1}, {16, 40, 1}, {8, 1, 0}, emu::Swizzle::B32, 32},
    {2, {104, 37, 1}, {40, 8, 1}, {80, 30, 0}, emu::Swizzle::None, 80}, {1, {200, 1, 1}, {64, 1, 1}, {150, 0, 0}, emu::Swizzle::None, 128}, {3, {72, 5, 4}, {64, 3, 3}, {3, 3, 2}, emu::Swizzle::B128, 128}};
  for (const Box& t : boxes) {
    const auto tensor = tensor_of(t);
    Device<u16> in(tensor);
    Device<u8> out(size_t(t.box[1]) * t.box[2] * t.span);
    for (const std::string& f : fetch(t, in, out, 0)) wrong("%s", f.c_str());
    same("the box", out.get(), boxed(t, tensor));
  }
}
TEST(test_tma_bugs, "cp.async.bulk.tensor: planted bugs") {
  const Box t = {2, {104, 37, 1}, {64, 24, 1}, {0, 0, 0}, emu::Swizzle::B128, 128};
  Device<u16> in(tensor_of(t));
  Device<u8> out(24 * 128);
  contains("bytes", fetch(t, in, out, 1), "more than were expected");
  contains("fence", fetch(t, in, out, 2), "no fence after its init");
  found("no wait", fetch(t, in, out, 3));
}
/// A plain range through shared memory: in with an mbarrier, out in a group. `bug` 1: no proxy fence; 2: no wait at the end.
KERNEL void through(const u32* in, u32* out, int bug) {
  SHARED(uint4, room, [64]);
  SHARED(u64, bar, [1]);
  u32* words = (u32*)room;
  if (threadIdx.x == 0) {
    init(smem(bar), 1);
    fence_init();
    expect(smem(bar), 1024);
    PTX("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];", OUTS(), INS(R_U32(smem(room)), R_PTR(in), R_U32(1024), R_U32(smem(bar))));
  }
  __syncthreads();
  wait(smem(bar), 0);
  words[threadIdx.x] += 1;
  if (bug != 1) PTX("fence.proxy.async.shared::cta;", OUTS(), INS());
  __syncthreads();
  if (threadIdx.x == 0) {
    PTX("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;", OUTS(), INS(R_PTR(out), R_U32(smem(room)), R_U32(1024)));
    PTX("cp.async.bulk.commit_group;", OUTS(), INS());
    if (bug != 2) PTX("cp.async.bulk.wait_group 0;", OUTS(), INS());
  }
}
KERNEL_END(through)
TEST(test_bulk, "cp.async.bulk, both ways") {
  std::vector<u32> in(256), want;
  for (u32& x : in) x = generator()(), want.push_back(x + 1);
  Device<u32> din(in), out(256);
  launch(emu_kernel_through, 1, 256, 0, din.p, out.p, 0);
  same("words", out.get(), want);
  contains("no proxy fence", try_launch(emu_kernel_through, 1, 256, 0, din.p, out.p, 1), "without fence.proxy.async");
  contains("no wait", try_launch(emu_kernel_through, 1, 256, 0, din.p, out.p, 2), "never waited for");
}
