// ld, st, atom, red, cvta.
#include <cstring>
#include <map>
#include <stdexcept>

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "../runtime/config.hpp"
#include "../runtime/engine.hpp"
#include "../runtime/memory.hpp"
#include "../runtime/report.hpp"
#include "modifiers.hpp"

namespace emu {
using check::Kind;

enum class Space { Generic, Global, Shared };
/// Modifiers of a load or a store.
struct Access {
  Space space;
  /// Volatile, relaxed, acquire or release: no race with concurrent accesses of the same kind.
  bool strong, acquires, releases;
  int vector;
  Type type;
  size_t element() const { return size_t(type.bits / 8); }
  size_t bytes() const { return element() * size_t(vector); }
};
static Space take_space(Modifiers& m) {
  if (m.take("global") || m.take("const")) return Space::Global;
  return m.take_any({"shared", "shared::cta"}).empty() ? Space::Generic : Space::Shared;
}
static Access bind_access(Modifiers& m) {
  Access a;
  a.type = m.need_type();
  const std::string order = m.take_any({"weak", "volatile", "relaxed", "acquire", "release"});
  m.take_any({"cta", "cluster", "gpu", "sys"});
  a.strong = !order.empty() && order != "weak";
  a.acquires = order == "acquire";
  a.releases = order == "release";
  a.space = take_space(m);
  m.take("nc");
  m.take_any({"ca", "cg", "cs", "lu", "cv", "wb", "wt"});
  m.take_prefixed("L1::");
  m.take_prefixed("L2::");
  a.vector = m.take("v4") ? 4 : m.take("v2") ? 2 : 1;
  return a;
}
static char* place(Thread& t, Space space, u64 address, size_t bytes, const char* what) {
  const size_t offset = space == Space::Shared ? size_t(uint32_t(address)) : shared_offset(*t.block, (void*)address);
  if (space == Space::Shared || (space == Space::Generic && offset < arena_bytes)) return shared_at(t, uint32_t(offset), bytes, bytes, what);
  return global_at((const void*)address, bytes, bytes, what);
}
static u64 extended(u64 v, const Type& type) {
  if (!type.is_signed() || type.bits == 64) return v;
  const int unused = 64 - type.bits;
  return u64((long long)(v << unused) >> unused);
}
static void load(const Access& a, const Instruction& i, Frame& f) {
  const char* p = place(f.thread, a.space, i.value(f, size_t(a.vector)), a.bytes(), "ld");
  if (a.strong) Engine::current().yield();  // a polling thread must let others run
  check::access(f.thread, p, a.bytes(), a.strong ? Kind::AtomicRead : Kind::Read);
  count::access(f.thread, p, a.bytes(), false);
  if (a.acquires) check::acquire(f.thread, p);
  for (int e = 0; e < a.vector; e++) {
    u64 v = 0;
    memcpy(&v, p + size_t(e) * a.element(), a.element());
    i.set(f, size_t(e), extended(v, a.type));
  }
}
static void store(const Access& a, const Instruction& i, Frame& f) {
  char* p = place(f.thread, a.space, i.value(f, 0), a.bytes(), "st");
  if (a.releases) check::fence(f.thread), check::release(f.thread, p);
  check::access(f.thread, p, a.bytes(), a.strong ? Kind::Atomic : Kind::Write);
  count::access(f.thread, p, a.bytes(), true);
  for (int e = 0; e < a.vector; e++) {
    const u64 v = i.value(f, size_t(1 + e));
    memcpy(p + size_t(e) * a.element(), &v, a.element());
  }
}
Action bind_ld(Modifiers& m) {
  return [a = bind_access(m)](const Instruction& i, Frame& f) { load(a, i, f); };
}
Action bind_st(Modifiers& m) {
  return [a = bind_access(m)](const Instruction& i, Frame& f) { store(a, i, f); };
}

struct AtomicOperation {
  Space space;
  Atomic what;
  char type;
  size_t bytes;
  bool acquires, releases;
};
static AtomicOperation bind_operation(Modifiers& m) {
  static const std::map<std::string, Atomic> operations = {{"add", Atomic::Add}, {"min", Atomic::Min}, {"max", Atomic::Max}, {"and", Atomic::And}, {"or", Atomic::Or},
    {"xor", Atomic::Xor}, {"exch", Atomic::Exchange}, {"cas", Atomic::Swap}, {"inc", Atomic::Inc}, {"dec", Atomic::Dec}};
  const Type type = m.need_type();
  const std::string order = m.take_any({"relaxed", "acquire", "release", "acq_rel"});
  m.take_any({"cta", "cluster", "gpu", "sys"});
  const Space space = take_space(m);
  const std::string what = m.need_any({"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
  if (type.bits < 32 || (type.is_float() && what != "add")) throw std::invalid_argument("its type with ." + what);
  const char letter = type.is_float() ? (type.bits == 64 ? 'd' : 'f') : type.bits == 64 ? 'l' : type.is_signed() ? 'i' : 'u';
  return {space, operations.at(what), letter, size_t(type.bits / 8), order == "acquire" || order == "acq_rel", order == "release" || order == "acq_rel"};
}
static u64 operate(const AtomicOperation& o, Frame& f, u64 address, u64 first, u64 second) {
  char* p = place(f.thread, o.space, address, o.bytes, "atom");
  if (o.releases) check::fence(f.thread);
  const bool swap = o.what == Atomic::Swap;  // cas: compare, then value
  return atomic_at(f.thread, p, o.what, o.type, swap ? second : first, swap ? first : 0);
}
Action bind_atom(Modifiers& m) {
  return [o = bind_operation(m)](const Instruction& i, Frame& f) {
    i.set(f, 0, operate(o, f, i.value(f, 1), i.value(f, 2), i.count() > 3 ? i.value(f, 3) : 0));
  };
}
Action bind_red(Modifiers& m) {
  return [o = bind_operation(m)](const Instruction& i, Frame& f) { operate(o, f, i.value(f, 0), i.value(f, 1), 0); };
}
/// Global addresses equal generic ones; shared addresses are offsets in the arena.
Action bind_cvta(Modifiers& m) {
  const bool to = m.take("to"), shared = m.need_any({"shared", "global", "shared::cta"}) != "global";
  m.need_type();
  return [=](const Instruction& i, Frame& f) {
    u64 v = i.value(f, 1);
    if (shared) v = to ? shared_address((const void*)v) : u64(f.thread.block->arena + v);
    i.set(f, 0, v);
  };
}
/// Cache hints.
Action bind_nothing(Modifiers& m) {
  m.take_prefixed("");
  return [](const Instruction&, Frame&) {};
}
}  // namespace emu
