// State of asynchronous instructions: cp.async, bulk copies, mbarriers, wgmma.
#pragma once
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "../checker/clock.hpp"
#include "../runtime/config.hpp"
#include "../runtime/collective.hpp"

namespace emu {
/// The cp.async and bulk stores of a thread.
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
  /// Still pending in this phase.
  long bytes = 0;
  unsigned long long phase = 0;
  /// Threads that wait for the phase of this parity.
  std::vector<std::pair<Thread*, unsigned>> waiting;
  /// The joined clocks of the arrivals of this phase; the clock that a waiter acquires from the last phase.
  check::Clock gathered, done;
  /// The actor of its bulk copies, the thread that initialised it, and whether that has executed a fence since.
  int actor = 0, owner = 0;
  bool fenced = false;
};
struct Warpgroup {
  Collective meeting;
  /// Pending wgmma.
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
/// The blocks per SM that launch bounds are assumed to request: as many as shared memory allows.
inline int blocks_by_shared(size_t dynamic) { return dynamic > config.shared_limit / 4 ? int((config.shared_limit + 1024) / (dynamic + 1024)) : 1; }
/// Registers per thread before any setmaxnreg, from the launch bounds.
inline int registers_at_start(int threads, size_t dynamic) {
  const int most = 65536 / blocks_by_shared(dynamic) / threads / 8 * 8;
  return most > 255 ? 255 : most;
}
}  // namespace emu
