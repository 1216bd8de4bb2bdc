// Bulk copies (TMA): tensor tiles and plain ranges, global to shared memory with an mbarrier, and back in groups. PTX ISA 9.7.9.27.
#include <cstring>
#include <stdexcept>

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "../runtime/config.hpp"
#include "../runtime/engine.hpp"
#include "../runtime/memory.hpp"
#include "../runtime/report.hpp"
#include "mbarrier.hpp"
#include "modifiers.hpp"
#include "tensor_map.hpp"

namespace emu {
using check::Kind;

/// A pending copy, with copies of its operands.
struct Bulk {
  Block* block;
  TensorMap map;
  int32_t at[5];
  uint32_t shared;
  size_t bytes;
  /// Of a copy without a tensor map.
  char* global;
  Position position;
  check::Clock knows;
  uint16_t actor;
  uint32_t step;

  check::Actor by() const { return {knows, actor, step}; }
};

/// Calls `piece(shared address, global address or null, bytes)` for all parts of the copy, none larger than 16 bytes; null: outside the tensor.
template <class F> static void pieces(const Bulk& b, F piece) {
  if (b.map.rank == 0) {
    for (size_t i = 0; i < b.bytes; i += 16) piece(b.shared + uint32_t(i), b.global + i, 16u);
    return;
  }
  const TensorMap& m = b.map;
  const unsigned inner = m.box[0] * m.element, rows = unsigned(b.bytes / inner), in_chunk = 16 / m.element;
  for (unsigned r = 0; r < rows; r++) {
    char* row = m.base;
    bool inside = true;
    unsigned rest = r;
    for (int d = 1; d < m.rank; d++) {
      const long x = b.at[d] + long(rest % m.box[d]);
      rest /= m.box[d];
      inside &= x >= 0 && x < long(m.dim[d]);
      row += x * long(m.stride[d]);
    }
    for (unsigned byte = 0; byte < inner; byte += 16) {
      const uint32_t to = swizzled(b.shared + r * inner + byte, m.swizzle);
      const long x = b.at[0] + long(byte / m.element);
      if (inside && x >= 0 && x + in_chunk <= long(m.dim[0])) {
        piece(to, row + x * m.element, 16u);
        continue;
      }
      for (unsigned e = 0; e < in_chunk; e++) {
        const bool ok = inside && x + e >= 0 && x + e < long(m.dim[0]);
        piece(to + e * m.element, ok ? row + (x + e) * m.element : nullptr, unsigned(m.element));
      }
    }
  }
}
static void load(const Bulk& b) {
  position = b.position;
  pieces(b, [&](uint32_t shared, char* global, unsigned bytes) {
    char* to = b.block->arena + shared;
    check::access_as(b.by(), *b.block, to, bytes, Kind::AsyncWrite);
    if (!global) return void(memset(to, 0, bytes));
    check::access_as(b.by(), *b.block, global, bytes, b.map.rank > 0 ? Kind::BoxRead : Kind::Read);
    memcpy(to, global_at(global, bytes, 1, "bulk copy"), bytes);
  });
}
static void store(const Bulk& b) {
  position = b.position;
  pieces(b, [&](uint32_t shared, char* global, unsigned bytes) {
    const char* from = b.block->arena + shared;
    check::access_as(b.by(), *b.block, from, bytes, Kind::AsyncRead);
    if (!global) return;
    check::access_as(b.by(), *b.block, global, bytes, Kind::AsyncWrite);
    memcpy(global_at(global, bytes, 1, "bulk copy"), from, bytes);
  });
}

/// `map`: the operand that holds the tensor map, or the global address of a plain copy; coordinates, or the number of bytes, follow.
static Bulk begin(const Instruction& i, Frame& f, int rank, size_t shared, size_t global, size_t bytes) {
  Bulk b{f.thread.block, {}, {}, i.word(f, shared), 0, nullptr, position, f.thread.clocks.own, uint16_t(f.thread.linear), 0};
  if (rank > 0) {
    b.map = tensor_map((const void*)i.value(f, global), rank);
    for (int d = 0; d < rank; d++) b.at[d] = int32_t(i.word(f, global + 1 + size_t(d)));
    b.bytes = b.map.box_bytes();
  } else {
    b.bytes = i.word(f, bytes);
    b.global = global_at((const void*)i.value(f, global), b.bytes, 16, "bulk copy");
    if (b.bytes % 16) fail("a bulk copy of %zu bytes, which is no multiple of 16 (line %d)", b.bytes, f.line);
  }
  shared_at(f.thread, b.shared, b.bytes, rank > 0 ? 128 : 16, "bulk copy");
  count::bulk(b.bytes, rank > 0 ? b.map.box[0] * b.map.element : b.bytes, shared > global);
  if (config.check) b.step = f.thread.clocks.own[b.actor];
  return b;
}
static void begin_load(const Instruction& i, Frame& f, int rank) {
  Bulk b = begin(i, f, rank, 0, 1, 2);
  const uint32_t address = i.word(f, rank > 0 ? size_t(2 + rank) : 3);
  MBarrier& m = mbarrier_at(f.thread, address, f.line);
  if (config.check && !m.fenced) report("a bulk copy uses an mbarrier whose thread executed no fence after its init (line %d)", f.line);
  check::leave_word(f.thread, m.gathered);
  b.actor = uint16_t(m.actor);
  auto run = [b, address]() mutable {
    MBarrier& m = b.block->mbarriers.at(address);
    b.step = ++b.block->mbarrier_steps[size_t(b.actor - b.block->count - check::warpgroup_actors)];
    load(b);
    if (config.check) m.gathered[b.actor] = b.step;
    receive(m, address, long(b.bytes));
  };
  if (config.lazy) Engine::current().later(run);
  else run();
}
static void begin_store(const Instruction& i, Frame& f, int rank) {
  const size_t shared = rank > 0 ? size_t(1 + rank) : 1;
  const Bulk b = begin(i, f, rank, shared, 0, 2);
  auto& open = f.thread.copies.open_stores;
  if (config.lazy) open.push_back([b] { store(b); });
  else store(b), open.push_back([] {});
}
static void wait_stores(const Instruction& i, Frame& f) {
  auto& committed = f.thread.copies.committed_stores;
  for (; committed.size() > i.word(f, 0); committed.pop_front())
    for (auto& store : committed.front()) store();
}
static void commit_stores(const Instruction&, Frame& f) {
  auto& c = f.thread.copies;
  c.committed_stores.push_back(std::move(c.open_stores));
  c.open_stores.clear();
}

Action bind_bulk(Modifiers& m) {
  if (m.take("commit_group")) return commit_stores;
  if (m.take("wait_group")) return m.take("read"), wait_stores;
  if (m.take("prefetch")) return m.take_prefixed(""), bind_nothing(m);
  int rank = 0;
  if (m.take("tensor")) rank = m.need_any({"1d", "2d", "3d", "4d", "5d"})[0] - '0', m.take("tile");
  m.take("L2::cache_hint");
  if (m.first() == "global") {
    m.need("global");
    m.need_any({"shared::cta"});
    m.need("bulk_group");
    return [rank](const Instruction& i, Frame& f) { begin_store(i, f, rank); };
  }
  m.need_any({"shared::cluster", "shared::cta"});
  m.need("global");
  m.need("mbarrier::complete_tx::bytes");
  return [rank](const Instruction& i, Frame& f) { begin_load(i, f, rank); };
}
}  // namespace emu
