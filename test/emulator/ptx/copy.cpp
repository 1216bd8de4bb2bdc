// cp.async: copies from global to shared memory that a thread waits for.
#include <cstring>
#include <stdexcept>

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "../runtime/config.hpp"
#include "../runtime/engine.hpp"
#include "../runtime/memory.hpp"
#include "mbarrier.hpp"
#include "modifiers.hpp"

namespace emu {
using check::Kind;
typedef AsyncCopies::Copy Copy;

static void perform(const Block& b, const Copy& c) {
  memcpy(b.arena + c.to, c.from, c.read);
  memset(b.arena + c.to + c.read, 0, c.bytes - c.read);
}
static void finish(Block& b, const check::Actor& actor, const AsyncCopies::Group& group) {
  for (const Copy& c : group) {
    if (config.lazy) perform(b, c);
    check::set_flag(b, c.to, c.bytes, check::Pending, false);
    check::access_as(actor, b, b.arena + c.to, c.bytes, Kind::Write);
  }
}
static check::Actor actor_of(const Thread& t) {
  static const check::Clock none(1);
  if (!config.check) return {none, 0, 0};
  return {t.clocks.own, uint16_t(t.linear), t.clocks.own[t.linear]};
}

static Copy operands_of(const Instruction& i, const Frame& f) {
  const unsigned bytes = i.word(f, 2);
  return {i.word(f, 0), bytes, i.count() > 3 ? i.word(f, 3) : bytes, (const char*)i.value(f, 1)};
}
static void copy(const Instruction& i, Frame& f, bool past_l1) {
  Thread& t = f.thread;
  const Copy c = operands_of(i, f);
  if (c.read > c.bytes || (past_l1 ? c.bytes != 16 : c.bytes != 4 && c.bytes != 8 && c.bytes != 16))
    fail("cp.async of %u bytes, %u of them read (line %d)", c.bytes, c.read, f.line);
  char* to = shared_at(t, c.to, c.bytes, c.bytes, "cp.async");
  global_at(c.from, c.read, c.bytes, "cp.async");
  if (c.read > 0) check::access(t, c.from, c.read, Kind::Read);
  check::access(t, to, c.bytes, Kind::Write);
  check::set_flag(*t.block, c.to, c.bytes, check::Pending, true);
  count::copy(t, c.to, c.bytes, c.from, c.read);
  if (!config.lazy) perform(*t.block, c);
  t.copies.open.push_back(c);
}
static void commit(Frame& f) {
  AsyncCopies& copies = f.thread.copies;
  copies.committed.push_back(std::move(copies.open));
  copies.open.clear();
}
static void wait(Frame& f, size_t left) {
  auto& committed = f.thread.copies.committed;
  for (; committed.size() > left; committed.pop_front()) finish(*f.thread.block, actor_of(f.thread), committed.front());
}
/// Arrives on the mbarrier when all cp.async of the thread so far are complete.
static void arrive_when_done(uint32_t mbarrier, Frame& f, bool increments) {
  Thread& t = f.thread;
  commit(f);
  AsyncCopies::Group all;
  for (auto& group : t.copies.committed) all.insert(all.end(), group.begin(), group.end());
  t.copies.committed.clear();
  MBarrier& m = mbarrier_at(t, mbarrier, f.line);
  if (increments) m.pending++;
  Block* b = t.block;
  const check::Clock knows = t.clocks.own;
  const uint16_t number = uint16_t(t.linear);
  check::leave_word(t, t.clocks.own);  // a release: waiters do not see later steps
  auto done = [=] {
    finish(*b, {knows, number, config.check ? knows[number] : 0}, all);
    MBarrier& m = b->mbarriers.at(mbarrier);
    check::join(m.gathered, knows);
    arrive(m, 1, f.line);
  };
  if (config.lazy) Engine::current().later(done);
  else done();
}

Action bind_cp_async(Modifiers& m) {
  if (m.take("commit_group")) return [](const Instruction&, Frame& f) { commit(f); };
  if (m.take("wait_group")) return [](const Instruction& i, Frame& f) { wait(f, i.word(f, 0)); };
  if (m.take("wait_all")) return [](const Instruction&, Frame& f) { commit(f), wait(f, 0); };
  if (m.take("mbarrier")) {
    m.need("arrive");
    const bool increments = !m.take("noinc");
    m.take_any({"shared", "shared::cta"});
    m.need("b64");
    return [increments](const Instruction& i, Frame& f) { arrive_when_done(i.word(f, 0), f, increments); };
  }
  const bool past_l1 = m.need_any({"cg", "ca"}) == "cg";
  m.need_any({"shared", "shared::cta"});
  m.need("global");
  m.take_prefixed("L2::");
  return [past_l1](const Instruction& i, Frame& f) { copy(i, f, past_l1); };
}
Action bind_cp(Modifiers& m) {
  m.need("async");
  return m.take("bulk") ? bind_bulk(m) : bind_cp_async(m);
}
}  // namespace emu
