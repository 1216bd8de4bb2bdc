// Barriers, fences, and warp-wide instructions other than matrix ones.
#include <stdexcept>

#include "../checker/checker.hpp"
#include "../dialect/warp.hpp"
#include "../runtime/config.hpp"
#include "../runtime/engine.hpp"
#include "modifiers.hpp"

namespace emu {

Action bind_barrier(Modifiers& m) {
  m.take("cta");
  const std::string what = m.need_any({"warp", "sync", "arrive"});
  if (what == "warp") {
    m.need("sync");
    return [](const Instruction& i, Frame& f) { __syncwarp(i.word(f, 0), f.line); };
  }
  m.take("aligned");
  return [arrives = what == "arrive"](const Instruction& i, Frame& f) { barrier(int(i.word(f, 0)), i.count() > 1 ? int(i.word(f, 1)) : 0, f.line, arrives); };
}

static void fence_mbarriers(Thread& t) {
  for (auto& [address, m] : t.block->mbarriers)
    if (m.owner == int(t.linear)) m.fenced = true;
}
Action bind_fence(Modifiers& m) {
  if (m.take("mbarrier_init")) {
    m.need("release");
    m.need_any({"cluster"});
    return [](const Instruction&, Frame& f) { fence_mbarriers(f.thread); };
  }
  if (m.take("proxy")) {
    const bool async = m.need_any({"async", "alias"}) == "async";
    m.take_any({"global", "shared::cta", "shared::cluster"});
    return [async](const Instruction&, Frame& f) {
      if (!async) return;
      check::proxy_fence(f.thread);
      fence_mbarriers(f.thread);
    };
  }
  m.take_any({"acq_rel", "sc", "acquire", "release"});
  const bool block_only = !m.take_any({"cta"}).empty();
  if (!block_only) m.need_any({"gpu", "gl", "sys", "cluster"});
  return [block_only](const Instruction&, Frame& f) {
    if (!block_only) check::fence(f.thread);
  };
}

/// Operands: the lane (or a sink), the predicate, the mask.
Action bind_elect(Modifiers& m) {
  m.need("sync");
  return [](const Instruction& i, Frame& f) {
    const unsigned mask = i.word(f, 2);
    __ballot_sync(mask, 1, f.line);  // all must be here
    i.set(f, 0, unsigned(__builtin_ctz(mask)));
    i.set(f, 1, f.thread.lane == unsigned(__builtin_ctz(mask)));
  };
}

/// setmaxnreg: warps release registers to the block's pool and request them from it; a request waits until there are enough.
static void set_registers(Thread& t, int count, bool more, int line) {
  if (count % 8 || count < 24 || count > 256) fail("setmaxnreg %d (line %d): a multiple of 8 between 24 and 256", count, line);
  Warp& w = t.block->warps[t.warp];
  if (w.registers == 0) w.registers = registers_at_start(t.block->count, t.block->launch->dynamic);
  if (more ? count < w.registers : count > w.registers) fail("setmaxnreg.%s to %d registers from %d (line %d)", more ? "inc" : "dec", count, w.registers, line);
  const int change = (count - w.registers) * 32;
  while (change > t.block->free_registers) Engine::current().yield();
  t.block->free_registers -= change;
  w.registers = count;
}
Action bind_setmaxnreg(Modifiers& m) {
  const bool more = m.need_any({"inc", "dec"}) == "inc";
  m.need("sync");
  m.need("aligned");
  m.need("u32");
  return [more](const Instruction& i, Frame& f) {
    static const char before = 0;
    auto nothing = [](void**, unsigned, void*) {};
    collective(~0u, &before, nullptr, nothing, nullptr, f.line);
    if (f.thread.lane == 0) set_registers(f.thread, int(i.word(f, 0)), more, f.line);
    collective(~0u, &i, nullptr, nothing, nullptr, f.line);
  };
}

/// Operands: result (and a predicate), value, b, c, mask. c holds the segment's mask and the clamp: PTX ISA 9.7.9.6.
static void shuffle(const std::string& mode, const Instruction& i, Frame& f) {
  const bool predicate = i.count() == 6;
  const size_t a = predicate ? 2 : 1;
  const unsigned b = i.word(f, a + 1) & 31, c = i.word(f, a + 2), segment = c >> 8 & 31, clamp = c & 31, lane = f.thread.lane;
  const int most = int((lane & segment) | (clamp & ~segment));
  const int from = mode == "up" ? int(lane) - int(b) : mode == "down" ? int(lane + b) : mode == "bfly" ? int(lane ^ b) : int((lane & segment) | (b & ~segment));
  const bool valid = mode == "up" ? from >= most : from <= most;
  const unsigned value = emu::shuffle(i.word(f, a + 3), i.word(f, a), valid ? from : -1, f.line);
  i.set(f, 0, value);
  if (predicate) i.set(f, 1, valid);
}
Action bind_shfl(Modifiers& m) {
  m.need("sync");
  const std::string mode = m.need_any({"up", "down", "bfly", "idx"});
  m.need("b32");
  return [mode](const Instruction& i, Frame& f) { shuffle(mode, i, f); };
}
Action bind_vote(Modifiers& m) {
  m.need("sync");
  const std::string what = m.need_any({"ballot", "any", "all", "uni"});
  m.need_any({"b32", "pred"});
  return [what](const Instruction& i, Frame& f) {
    const unsigned mask = i.word(f, 2), votes = __ballot_sync(mask, i.value(f, 1) != 0, f.line), there = __ballot_sync(mask, 1, f.line);
    i.set(f, 0, what == "ballot" ? votes : what == "any" ? votes != 0 : what == "all" ? votes == there : votes == 0 || votes == there);
  };
}
Action bind_redux(Modifiers& m) {
  m.need("sync");
  const std::string what = m.need_any({"add", "min", "max", "and", "or", "xor"});
  const bool is_signed = m.need_type().is_signed();
  return [=](const Instruction& i, Frame& f) {
    const unsigned v = i.word(f, 1), mask = i.word(f, 2);
    const int line = f.line;
    i.set(f, 0, what == "add" ? __reduce_add_sync(mask, v, line) : what == "and" ? __reduce_and_sync(mask, v, line) : what == "or" ? __reduce_or_sync(mask, v, line)
      : what == "xor" ? __reduce_xor_sync(mask, v, line) : what == "min" ? (is_signed ? unsigned(__reduce_min_sync(mask, int(v), line)) : __reduce_min_sync(mask, v, line))
      : is_signed ? unsigned(__reduce_max_sync(mask, int(v), line)) : __reduce_max_sync(mask, v, line));
  };
}
}  // namespace emu
