// Block barriers, and the collectives of a warp or a warpgroup.
#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "collective.hpp"
#include "config.hpp"
#include "engine.hpp"
#include "memory.hpp"
#include "report.hpp"

namespace emu {

void reset_barriers(Block& b) {
  for (Barrier& x : b.barriers) x = {};
}
static void check_lines(const Barrier& x, const Block& b) {
  if (!config.check || x.count != 0) return;
  if (x.arrived != b.count) report("%d of %d threads reach the __syncthreads at line %d; the others have ended", x.arrived, b.count, x.lines[me().warp]);
  int first = 0;
  for (int line : x.lines) {
    if (line == 0) continue;
    if (first == 0) first = line;
    if (line != first) return report("warps meet the same __syncthreads at different places: lines %d and %d", first, line);
  }
}
static void release(Barrier& x, Block& b) {
  check_lines(x, b);
  check::meet(x.waiting, x.clock);
  std::vector<Thread*> waiting;
  waiting.swap(x.waiting);
  x.arrived = 0;
  x.lines = {};
  if (config.order == Order::Reverse) std::reverse(waiting.begin(), waiting.end());
  for (Thread* t : waiting)
    if (t != self) Engine::current().wake(t);
}
void release_if_full(Block& b) {
  for (Barrier& x : b.barriers)
    if (x.arrived > 0 && x.count == 0 && x.arrived == b.live) release(x, b);
}
static void arrive(Barrier& x, int id, int count, int line) {
  if (count % 32) fail("barrier %d at line %d: its count %d is not a multiple of 32", id, line, count);
  if (x.arrived > 0 && x.count != count) fail("barrier %d is used with counts %d and %d (line %d)", id, x.count, count, line);
  int& where_met = x.lines[me().warp];
  if (where_met != 0 && where_met != line) fail("threads of one warp meet barrier %d at different places: lines %d and %d", id, where_met, line);
  where_met = line;
  x.count = count;
  x.arrived++;
}
void barrier(int id, int count, int line, bool only_arrive) {
  if (id < 0 || id > 15) fail("barrier %d at line %d: there are 0 to 15", id, line);
  Thread& t = me();
  Block& b = *t.block;
  Barrier& x = b.barriers[size_t(id)];
  count::barrier();
  arrive(x, id, count, line);
  if (only_arrive) check::leave_word(t, x.clock);
  else x.waiting.push_back(&t);
  if (x.arrived == (count ? count : b.live)) release(x, b);
  else if (!only_arrive) Engine::current().wait("barrier", line);
}
int barrier_reduce(Reduction reduction, bool predicate, int line) {
  Barrier& x = me().block->barriers[0];
  if (x.arrived == 0) x.sum = 0;
  x.sum += predicate;
  barrier(0, 0, line);
  const int sum = x.sum, live = me().block->live;
  barrier(0, 0, line);  // all threads must have read the result before it is reused
  return reduction == Reduction::Count ? sum : reduction == Reduction::And ? sum == live : sum > 0;
}

/// The last of `needed` threads to arrive runs the operation.
static void meet(Collective& c, int index, int needed, unsigned mask, const void* operation, void* arg, Together run, void* user, int line, bool orders_memory) {
  if (c.arrived > 0 && c.operation != operation) fail("lanes of the mask 0x%x execute different collectives (line %d)", mask, line);
  c.operation = operation;
  c.mask = mask;
  c.args[index] = arg;
  c.threads[c.arrived++] = &me();
  if (c.arrived < needed) return Engine::current().wait(needed == 128 ? "warpgroup" : "warp", line);
  c.arrived = 0;
  run(c.args, mask, user);
  if (orders_memory) check::meet(c.threads, needed);
  for (int i = needed - 1; i-- > 0;) Engine::current().wake(c.threads[i], true);
}
/// The open collective with this mask, or a new one. Masks may overlap, since lanes can be ahead of others.
static Collective& open_collective(Warp& w, unsigned mask) {
  Collective* unused = nullptr;
  for (Collective& c : w.collectives) {
    if (c.arrived == 0) unused = &c;
    else if (c.mask == mask) return c;
  }
  if (unused) return *unused;
  w.collectives.emplace_back();
  return w.collectives.back();
}
void collective(unsigned mask, const void* operation, void* arg, Together run, void* user, int line, bool orders_memory) {
  Thread& t = me();
  const unsigned lanes = unsigned(t.block->count) - t.warp * 32;
  mask &= lanes >= 32 ? ~0u : (1u << lanes) - 1;
  if (!(mask >> t.lane & 1)) fail("lane %u executes a collective whose mask 0x%x leaves it out (line %d)", t.lane, mask, line);
  Warp& w = t.block->warps[t.warp];
  meet(open_collective(w, mask), int(t.lane), __builtin_popcount(mask), mask, operation, arg, run, user, line, orders_memory);
}
void warpgroup_collective(const void* operation, void* arg, Together run, void* user, int line) {
  Thread& t = me();
  const unsigned group = t.linear / 128;
  if (group >= t.block->warpgroups.size()) fail("an instruction of warpgroups in a warpgroup that is not whole (line %d)", line);
  meet(t.block->warpgroups[group].meeting, int(t.linear % 128), 128, ~0u, operation, arg, run, user, line, false);
}

void end_block(Block& b) {
  count::end_block(b);
  check_gaps(b);
  for (Warpgroup& g : b.warpgroups)
    if (g.unfinished()) report("a block ends with wgmma that it never waited for");
  for (auto& [address, m] : b.mbarriers)
    if (m.bytes != 0) report("a block ends while the mbarrier at %u waits for %ld bytes", address, m.bytes);
}
}  // namespace emu
