#pragma once
#include "../runtime/block.hpp"

namespace emu {
/// Fails where none was initialised.
MBarrier& mbarrier_at(Thread&, uint64_t shared_address, int line);
/// Arrivals, or bytes, have come: ends the phase if nothing is missing.
void arrive(MBarrier&, int arrivals, int line);
void expect(MBarrier&, long bytes);
void receive(MBarrier&, uint32_t shared_address, long bytes);
}  // namespace emu
