// Shadow memory: the state of each byte.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu::check {
struct Access {
  /// An access: block, actor, and the actor's step; step 0: none.
  uint32_t block, step, position;
  uint16_t actor;
};
enum Flag : uint16_t {
  Initialised = 1,
  /// The last write was atomic.
  ByAtomic = 2,
  /// A pending cp.async will write it.
  Pending = 4,
  /// The last write was by the generic proxy: visible to the async proxy only after fence.proxy.async.
  Generic = 8,
  Mbarrier = 16,
};
/// All zeros: never touched.
struct Cell {
  Access write, reads[2];
  /// Shared memory: the block that this state belongs to.
  uint32_t owner;
  uint16_t flags;
};
inline void mark_written(Cell* cells, size_t n) {
  for (size_t i = 0; i < n; i++) cells[i].flags |= Initialised;
}
}  // namespace emu::check
