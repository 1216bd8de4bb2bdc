// Vector clocks (Mattern 1989): entry i is the last step of actor i that is known to have happened before. The actors of a block are its
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
/// What both know.
inline void meet(Clock& into, const Clock& from) {
  if (into.empty()) into = from;
  else for (size_t i = 0; i < from.size(); i++) into[i] = std::min(into[i], from[i]);
}
struct ThreadClocks {
  Clock own;
  /// What was known at its last __threadfence: what an atomic operation passes on to other blocks.
  Clock released;
  /// Its step at its last fence.proxy.async.
  uint32_t proxy_fence = 0;
};
struct BlockClocks {
  /// By the number of another block of this launch: what of it is known here.
  std::map<uint32_t, Clock> foreign;
};
}  // namespace emu::check
