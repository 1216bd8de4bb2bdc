#pragma once
#include "../runtime/block.hpp"

namespace emu {
/// Fails if there is no initialised mbarrier.
MBarrier& mbarrier_at(Thread&, uint64_t shared_address, int line);
/// Counts arrivals or bytes; completes the phase if none is missing.
void arrive(MBarrier&, int arrivals, int line);
void expect(MBarrier&, long bytes);
void receive(MBarrier&, uint32_t shared_address, long bytes);
}  // namespace emu
