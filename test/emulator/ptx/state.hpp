// What instructions leave behind: copies under way, mbarriers, products of a warpgroup.
#pragma once
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "../checker/clock.hpp"
#include "../runtime/config.hpp"
#include "../runtime/collective.hpp"

namespace emu {
/// The cp.async and the bulk stores of a thread.
struct AsyncCopies {
  /// `read` bytes come from `from`, the rest of `bytes` are zeros.
  struct Copy {
    uint32_t to;
    unsigned bytes, read;
    const char* from;
  };
  typedef std::vector<Copy> Group;
  typedef std::vector<std::function<void()>> Stores;
  Group open;
  std::deque<Group> committed;
  Stores open_stores;
  std::deque<Stores> committed_stores;

  bool unfinished() const {
    bool any = !open.empty() || !open_stores.empty();
    for (const Group& g : committed) any |= !g.empty();
    for (const Stores& s : committed_stores) any |= !s.empty();
    return any;
  }
};
struct MBarrier {
  int expected, pending;
  /// That are still to come in this phase.
  long bytes = 0;
  unsigned long long phase = 0;
  /// Threads that wait for the end of a phase of this parity.
  std::vector<std::pair<Thread*, unsigned>> waiting;
  /// What those who arrived knew; what one knows who saw the last phase end.
  check::Clock gathered, done;
  /// The actor that stands for its bulk copies, the thread that made it, and whether that one executed a fence since.
  int actor = 0, owner = 0;
  bool fenced = false;
};
struct Warpgroup {
  Collective meeting;
  /// wgmma that may still be done.
  std::vector<std::function<void()>> open;
  std::deque<std::vector<std::function<void()>>> committed;
  std::deque<uint32_t> committed_steps;
  uint32_t step = 0, done = 0;
  bool fenced = false;

  bool unfinished() const {
    bool any = !open.empty();
    for (auto& group : committed) any |= !group.empty();
    return any;
  }
};
/// Blocks that launch bounds are taken to ask for: as many as fit, where shared memory is what limits them.
inline int blocks_by_shared(size_t dynamic) { return dynamic > config.shared_limit / 4 ? int((config.shared_limit + 1024) / (dynamic + 1024)) : 1; }
/// Registers of each thread before any setmaxnreg: what launch bounds of so many threads and blocks leave to it.
inline int registers_at_start(int threads, size_t dynamic) {
  const int most = 65536 / blocks_by_shared(dynamic) / threads / 8 * 8;
  return most > 255 ? 255 : most;
}
}  // namespace emu
