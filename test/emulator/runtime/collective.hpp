// Collectives of a warp or a warpgroup.
#pragma once
#include "../dialect/interface.hpp"

namespace emu {
struct Thread;
/// One collective: the lanes of a mask, or the threads of a warpgroup, that have arrived.
struct Collective {
  unsigned mask = 0;
  int arrived = 0;
  const void* operation = nullptr;
  void* args[128];
  Thread* threads[128];
};
/// As collective(), for the 128 threads of the caller's warpgroup.
void warpgroup_collective(const void* operation, void* arg, Together, void* user, int line);
/// As atomic(), at `position`.
u64 atomic_at(Thread&, void* address, Atomic, char type, u64 value, u64 compare);
}  // namespace emu
