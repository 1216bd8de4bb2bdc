#include "checker.hpp"

#include "../runtime/config.hpp"
#include "../runtime/memory.hpp"
#include "../runtime/report.hpp"

namespace emu::check {

static const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::Read: return "read";
    case Kind::Write: return "write";
    case Kind::Atomic: return "atomic operation";
    case Kind::AtomicRead: return "atomic read";
    case Kind::MbarrierRead: return "use of an mbarrier";
    case Kind::AsyncRead: return "asynchronous read";
    case Kind::AsyncWrite: return "asynchronous write";
    case Kind::BoxRead: return "read of a box";
  }
  return "";
}
static bool writes(Kind kind) { return kind == Kind::Write || kind == Kind::Atomic || kind == Kind::AsyncWrite; }
static bool atomic(Kind kind) { return kind == Kind::Atomic || kind == Kind::AtomicRead; }

/// The clocks that atomic operations released, by address, then by block.
static std::map<uintptr_t, std::map<uint32_t, Clock>> published;
static uint32_t first_block = 0;
/// Whether any thread of the launch has executed a __threadfence.
static bool fenced = false;

/// One byte that an actor touches.
struct Touch {
  const Actor& actor;
  Block& block;
  Kind kind;
  Cell& cell;
  const char* space;
  int buffer;
  size_t offset;

  std::string place() const {
    char text[64];
    snprintf(text, sizeof text, buffer < 0 ? "byte %zu of %s" : "byte %zu of %s #%d", offset, space, buffer);
    return text;
  }
  bool knows(const Access& a) const {
    if (a.step == 0) return true;
    if (a.block == block.number) return actor.knows[a.actor] >= a.step;
    if (a.block < first_block) return true;  // an earlier launch
    auto known = block.clocks.foreign.find(a.block);
    return known != block.clocks.foreign.end() && a.actor < known->second.size() && known->second[a.actor] >= a.step;
  }
  void race(Access& with, const char* what) {
    report("race on %s: %s at %s by thread %u, and %s at %s by thread %u%s, in no order", place().c_str(), name_of(kind), where(position).c_str(),
           actor.number, what, where(with.position).c_str(), with.actor, with.block == block.number ? "" : " of another block");
    with.step = 0;
  }
  bool misused() {
    if (cell.flags & Pending) report("%s of %s before its cp.async is waited for, at %s", name_of(kind), place().c_str(), where(position).c_str());
    else if (cell.flags & Mbarrier && kind != Kind::MbarrierRead) report("%s of %s, which is an mbarrier, at %s", name_of(kind), place().c_str(), where(position).c_str());
    else if (!writes(kind) && kind != Kind::BoxRead && !(cell.flags & Initialised)) {
      report("%s of %s, which nobody wrote, at %s", name_of(kind), place().c_str(), where(position).c_str());
      cell.flags |= Initialised;
    } else return false;
    return true;
  }
  bool behind_proxy() const {
    return kind == Kind::AsyncRead && cell.flags & Generic && cell.write.block == block.number && cell.write.actor < block.count &&
           block.threads[cell.write.actor]->clocks.proxy_fence < cell.write.step;
  }
  void run() {
    if (misused()) return;
    if (behind_proxy())
      report("asynchronous read of %s without fence.proxy.async after it was written at %s by thread %u", place().c_str(), where(cell.write.position).c_str(), cell.write.actor);
    const bool both_atomic = atomic(kind) && cell.flags & ByAtomic;
    if (!both_atomic && !knows(cell.write)) return race(cell.write, cell.flags & ByAtomic ? "an atomic operation" : "a write");
    if (writes(kind)) write();
    else if (kind != Kind::AtomicRead) read();
  }
  Access access() const { return {block.number, actor.step, position, actor.number}; }
  void write() {
    for (Access& r : cell.reads)
      if (!knows(r)) return race(r, "a read");
    cell.write = access();
    cell.reads[0].step = cell.reads[1].step = 0;
    cell.flags = uint16_t((cell.flags & ~(ByAtomic | Generic)) | Initialised | (kind == Kind::Atomic ? ByAtomic : kind == Kind::Write ? Generic : 0));
  }
  /// Two readers are kept: the first and the last.
  void read() {
    Access& first = cell.reads[0];
    const bool same = first.block == block.number && first.actor == actor.number;
    cell.reads[same || knows(first) ? 0 : 1] = access();
  }
};

static void shared_access(const Actor& actor, Block& b, size_t offset, size_t bytes, Kind kind) {
  bool inside = offset >= shared_base && offset + bytes <= shared_base + b.launch->dynamic;
  for (const SharedArray& a : b.arrays) inside |= offset >= a.offset && offset + bytes <= a.offset + a.bytes;
  if (!inside) return report("%s of %zu bytes at the shared address %zu, outside every shared array, at %s", name_of(kind), bytes, offset, where(position).c_str());
  for (size_t i = offset; i < offset + bytes; i++) {
    Cell& c = b.shadow[i];
    if (c.owner != b.number) c = {}, c.owner = b.number;
    Touch{actor, b, kind, c, "shared memory", -1, i}.run();
  }
}
static void outside(const void* p, size_t bytes, Kind kind) {
  if (in_code(p)) return;  // a constant
  const Region* r = region_near(p);
  const std::string at = where(position);
  if (r) report("%s of %zu bytes outside buffer #%d of %zu bytes, at offset %ld, at %s", name_of(kind), bytes, r->number, size_t(r->high - r->low), long(uintptr_t(p) - r->low), at.c_str());
  else report("%s of %zu bytes at %p, which is no memory of the device, at %s", name_of(kind), bytes, p, at.c_str());
}
void access_as(const Actor& actor, Block& b, const void* p, size_t bytes, Kind kind) {
  if (!config.check) return;
  const size_t offset = shared_offset(b, p);
  if (offset < arena_bytes) return shared_access(actor, b, offset, bytes, kind);
  const Region* r = region_of(p, bytes);
  if (!r) return outside(p, bytes, kind);
  if (r->host) return;
  for (size_t at = uintptr_t(p) - r->low, end = at + bytes; at < end; at++) Touch{actor, b, kind, r->shadow[at], "buffer", r->number, at}.run();
}

void acquire(Thread& t, const void* p) {
  if (!config.check) return;
  auto found = published.find(uintptr_t(p));
  if (found == published.end()) return;
  for (auto& [block, clock] : found->second)
    if (block != t.block->number) join(t.block->clocks.foreign[block], clock);
}
/// Releases what any thread of the block had fenced, if this thread's clock includes the fence.
void release(Thread& t, const void* p) {
  if (!config.check) return;
  auto& here = published[uintptr_t(p)];
  for (const Thread* other : t.block->threads) {
    const Clock& released = other->clocks.released;
    if (!released.empty() && t.clocks.own[other->linear] >= released[other->linear]) join(here[t.block->number], released);
  }
  for (auto& [block, clock] : t.block->clocks.foreign) join(here[block], clock);
}
void access(Thread& t, const void* p, size_t bytes, Kind kind) {
  if (!config.check) return;
  if (kind == Kind::Atomic && fenced) acquire(t, p), release(t, p);
  access_as({t.clocks.own, uint16_t(t.linear), t.clocks.own[t.linear]}, *t.block, p, bytes, kind);
}

void begin_launch(Launch& l) {
  static uint32_t blocks = 1;
  published.clear();
  fenced = false;
  first_block = l.first_block = blocks;
  blocks += l.blocks();
}
void begin_block(Block& b) { b.clocks = {}; }
void begin_thread(Thread& t, int threads) {
  if (!config.check) return;
  t.clocks = {};
  t.clocks.own.assign(size_t(threads + warpgroup_actors + mbarrier_actors), 0);
  t.clocks.own[t.linear] = 1;
}
static void step(Thread& t) { t.clocks.own[t.linear]++; }
void meet(Thread* const* threads, int count) {
  if (!config.check || count == 0) return;
  Clock all;
  for (int i = 0; i < count; i++) join(all, threads[i]->clocks.own);
  for (int i = 0; i < count; i++) {
    threads[i]->clocks.own = all;
    step(*threads[i]);
  }
}
void meet(const std::vector<Thread*>& threads, Clock& clock) {
  if (!config.check || threads.empty()) return;
  hear(*threads[0], clock);
  meet(threads.data(), int(threads.size()));
  clock.clear();
}
void leave_word(Thread& t, Clock& clock) {
  if (!config.check) return;
  join(clock, t.clocks.own);
  step(t);
}
void hear(Thread& t, const Clock& clock) {
  if (config.check) join(t.clocks.own, clock);
}
void fence(Thread& t) {
  if (!config.check) return;
  fenced = true;
  t.clocks.released = t.clocks.own;
  step(t);
}
void proxy_fence(Thread& t) {
  if (!config.check) return;
  t.clocks.proxy_fence = t.clocks.own[t.linear];
  step(t);
}
void set_flag(Block& b, uint32_t address, size_t bytes, Flag flag, bool on) {
  if (!config.check) return;
  for (size_t i = address; i < address + bytes; i++) b.shadow[i].flags = uint16_t(on ? b.shadow[i].flags | flag : b.shadow[i].flags & ~flag);
}
}  // namespace emu::check
