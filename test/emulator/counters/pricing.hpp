// The memory system's rules.
#pragma once
#include <cstdint>

namespace emu::count {
typedef unsigned long long u64;
/// What one instruction asks for in one warp: an address for each lane in the mask, all of `bytes` bytes.
struct Request {
  uint32_t mask = 0;
  uint8_t bytes = 0;
  u64 address[32];
};
/// `ideal`: what the same bytes would cost at best.
struct Cost {
  u64 real = 0, ideal = 0;
};
/// Wavefronts of n addresses served together: the most distinct words of 4 bytes that fall into one of the 32 banks.
unsigned wavefronts(const u64* addresses, unsigned n, unsigned bytes);
/// Accesses of 16 bytes go by quarters of a warp, those of 8 by halves.
Cost shared_cost(const Request&);
/// Sectors of 32 bytes.
Cost global_cost(const Request&);
}  // namespace emu::count
