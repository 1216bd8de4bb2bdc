// What is remembered of each byte.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu::check {
struct Access {
  /// The block, its actor and that one's step; step 0 is none.
  uint32_t block, step, position;
  uint16_t actor;
};
enum Flag : uint16_t {
  Initialised = 1,
  /// The last write was atomic.
  ByAtomic = 2,
  /// A cp.async that is not waited for will write it.
  Pending = 4,
  /// The last write was an ordinary one: the async proxy sees it only after a proxy fence.
  Generic = 8,
  Mbarrier = 16,
};
/// All zeros: never touched.
struct Cell {
  Access write, reads[2];
  /// Of shared memory: the block that the rest is about.
  uint32_t owner;
  uint16_t flags;
};
inline void mark_written(Cell* cells, size_t n) {
  for (size_t i = 0; i < n; i++) cells[i].flags |= Initialised;
}
}  // namespace emu::check
