// Vector clocks (Mattern 1989): entry i is the last step of actor i that happened before. The actors of a block are its
// threads, then its warpgroups (for wgmma), then its mbarriers (for bulk copies).
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace emu::check {
typedef std::vector<uint32_t> Clock;
constexpr int warpgroup_actors = 8, mbarrier_actors = 32;

inline void join(Clock& into, const Clock& from) {
  if (into.size() < from.size()) into.resize(from.size());
  for (size_t i = 0; i < from.size(); i++) into[i] = std::max(into[i], from[i]);
}
/// What both clocks know: the element-wise minimum.
inline void meet(Clock& into, const Clock& from) {
  if (into.empty()) into = from;
  else for (size_t i = 0; i < from.size(); i++) into[i] = std::min(into[i], from[i]);
}
struct ThreadClocks {
  Clock own;
  /// The clock at its last __threadfence, which an atomic operation releases to other blocks.
  Clock released;
  /// Its step at its last fence.proxy.async.
  uint32_t proxy_fence = 0;
};
struct BlockClocks {
  /// The clocks of other blocks of this launch, by block.
  std::map<uint32_t, Clock> foreign;
};
}  // namespace emu::check
