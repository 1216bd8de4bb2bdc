// mbarrier: a phase completes when all expected arrivals and bytes have come. PTX ISA 9.7.13.15.
#include "mbarrier.hpp"

#include <cstring>

#include "../checker/checker.hpp"
#include "../runtime/config.hpp"
#include "../runtime/engine.hpp"
#include "../runtime/memory.hpp"
#include "../runtime/report.hpp"
#include "modifiers.hpp"

namespace emu {
using check::Kind;

MBarrier& mbarrier_at(Thread& t, uint64_t address, int line) {
  const auto found = t.block->mbarriers.find(uint32_t(address));
  if (found == t.block->mbarriers.end()) fail("no mbarrier was initialised at the shared address %u (line %d)", unsigned(address), line);
  check::access(t, t.block->arena + uint32_t(address), 8, Kind::MbarrierRead);
  return found->second;
}
static void end_phase_if_complete(MBarrier& m) {
  if (m.pending > 0 || m.bytes != 0) return;
  m.phase++;
  m.pending = m.expected;
  m.done = m.gathered;
  auto waiting = std::move(m.waiting);
  m.waiting.clear();
  for (auto& [thread, parity] : waiting)
    if ((m.phase & 1) != parity) Engine::current().wake(thread);
    else m.waiting.emplace_back(thread, parity);
}
void arrive(MBarrier& m, int arrivals, int line) {
  if (m.pending < arrivals) fail("an mbarrier gets more arrivals than the %d that it was made for (line %d)", m.expected, line);
  m.pending -= arrivals;
  end_phase_if_complete(m);
}
void expect(MBarrier& m, long bytes) { m.bytes += bytes; }
void receive(MBarrier& m, uint32_t address, long bytes) {
  m.bytes -= bytes;
  if (m.bytes < 0) report("the mbarrier at %u receives %ld bytes more than were expected", address, -m.bytes);
  end_phase_if_complete(m);
}

static void init(const Instruction& i, Frame& f) {
  Thread& t = f.thread;
  const uint32_t address = i.word(f, 0);
  const int count = int(i.word(f, 1));
  char* p = shared_at(t, address, 8, 8, "mbarrier.init");
  if (count < 1) fail("mbarrier.init with the count %d (line %d)", count, f.line);
  check::set_flag(*t.block, address, 8, check::Mbarrier, false);
  check::access(t, p, 8, Kind::Write);
  check::set_flag(*t.block, address, 8, check::Mbarrier, true);
  memset(p, 0, 8);
  auto& all = t.block->mbarriers;
  MBarrier m;
  m.expected = m.pending = count;
  m.owner = int(t.linear);
  m.actor = t.block->count + check::warpgroup_actors + int(all.size()) % check::mbarrier_actors;
  m.gathered.assign(t.clocks.own.size(), 0);
  all[address] = m;
}
static void invalidate(const Instruction& i, Frame& f) {
  mbarrier_at(f.thread, i.value(f, 0), f.line);
  check::set_flag(*f.thread.block, i.word(f, 0), 8, check::Mbarrier, false);
  f.thread.block->mbarriers.erase(i.word(f, 0));
}
/// Operands: the state (the phase), the address, and a count or bytes.
static void arrive_with(const Instruction& i, Frame& f, bool expects, bool drops) {
  MBarrier& m = mbarrier_at(f.thread, i.value(f, 1), f.line);
  check::leave_word(f.thread, m.gathered);
  i.set(f, 0, m.phase);
  if (expects) expect(m, long(i.value(f, 2)));
  const int arrivals = !expects && i.count() > 2 ? int(i.word(f, 2)) : 1;
  if (drops) m.expected -= arrivals;
  arrive(m, arrivals, f.line);
}
static void wait(const Instruction& i, Frame& f, bool blocks) {
  MBarrier& m = mbarrier_at(f.thread, i.value(f, 1), f.line);
  const unsigned parity = i.word(f, 2) & 1;
  auto over = [&] { return (m.phase & 1) != parity; };
  if (!over() && blocks) {
    m.waiting.emplace_back(&f.thread, parity);
    Engine::current().wait("phase of an mbarrier", f.line);
  } else if (!over()) Engine::current().yield();
  if (over()) check::hear(f.thread, m.done);
  i.set(f, 0, over());
}

static void take_shared(Modifiers& m) {
  m.take_any({"shared", "shared::cta", "shared::cluster"});
  m.need("b64");
}
Action bind_mbarrier(Modifiers& m) {
  const std::string what = m.need_any({"init", "inval", "arrive", "arrive_drop", "expect_tx", "try_wait", "test_wait"});
  m.take_any({"release", "acquire", "relaxed"});
  m.take_any({"cta", "cluster"});
  const bool expects = (what == "arrive" || what == "arrive_drop") && m.take("expect_tx");
  const bool waits = what == "try_wait" || what == "test_wait";
  const bool parity = m.take("parity");
  if (waits) m.take_any({"acquire", "relaxed"}), m.take_any({"cta", "cluster"});
  take_shared(m);
  if (what == "init") return init;
  if (what == "inval") return invalidate;
  if (what == "expect_tx") return [](const Instruction& i, Frame& f) { expect(mbarrier_at(f.thread, i.value(f, 0), f.line), long(i.value(f, 1))); };
  if (waits) {  // without .parity the operand is a state: the phase in which it was returned
    (void)parity;
    return [blocks = what == "try_wait"](const Instruction& i, Frame& f) { wait(i, f, blocks); };
  }
  return [=](const Instruction& i, Frame& f) { arrive_with(i, f, expects, what == "arrive_drop"); };
}
}  // namespace emu
