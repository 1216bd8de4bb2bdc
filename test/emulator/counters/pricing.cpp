#include "pricing.hpp"

#include <algorithm>
#include <vector>

namespace emu::count {

unsigned wavefronts(const u64* addresses, unsigned n, unsigned bytes) {
  u64 words[32][32];
  unsigned found[32] = {}, worst = 0;
  for (unsigned i = 0; i < n; i++)
    for (unsigned byte = 0; byte < bytes; byte += 4) {
      const u64 word = (addresses[i] + byte) / 4;
      u64* bank = words[word % 32];
      unsigned& count = found[word % 32];
      if (std::find(bank, bank + count, word) != bank + count || count == 32) continue;
      bank[count++] = word;
      worst = std::max(worst, count);
    }
  return worst;
}
Cost shared_cost(const Request& r) {
  const unsigned together = r.bytes == 16 ? 8 : r.bytes == 8 ? 16 : 32;
  Cost cost;
  for (unsigned first = 0; first < 32; first += together) {
    u64 addresses[32];
    unsigned n = 0;
    for (unsigned lane = first; lane < first + together; lane++)
      if (r.mask >> lane & 1) addresses[n++] = r.address[lane];
    if (n == 0) continue;
    cost.real += wavefronts(addresses, n, std::max<unsigned>(r.bytes, 4));
    cost.ideal++;
  }
  return cost;
}
static size_t distinct(std::vector<u64>& v) {
  std::sort(v.begin(), v.end());
  return size_t(std::unique(v.begin(), v.end()) - v.begin());
}
Cost global_cost(const Request& r) {
  constexpr u64 sector = 32;
  std::vector<u64> sectors, addresses;
  for (int lane = 0; lane < 32; lane++) {
    if (!(r.mask >> lane & 1)) continue;
    const u64 a = r.address[lane];
    addresses.push_back(a);
    for (u64 s = a / sector; s <= (a + r.bytes - 1) / sector; s++) sectors.push_back(s);
  }
  return {distinct(sectors), (distinct(addresses) * r.bytes + sector - 1) / sector};
}
}  // namespace emu::count
