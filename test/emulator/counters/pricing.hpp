// The cost model of the memory system.
#pragma once
#include <cstdint>

namespace emu::count {
typedef unsigned long long u64;
/// One memory request of a warp: an address per lane of the mask, `bytes` bytes each.
struct Request {
  uint32_t mask = 0;
  uint8_t bytes = 0;
  u64 address[32];
};
/// `ideal`: the least cost of as many bytes.
struct Cost {
  u64 real = 0, ideal = 0;
};
/// Wavefronts of n addresses: the most distinct 4-byte words in one of the 32 banks.
unsigned wavefronts(const u64* addresses, unsigned n, unsigned bytes);
/// 16-byte accesses are served by quarter warps, 8-byte ones by half warps.
Cost shared_cost(const Request&);
/// Sectors of 32 bytes.
Cost global_cost(const Request&);
}  // namespace emu::count
