// The state of a launch: its blocks, their warps and threads, and what they wait at.
#pragma once
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "../checker/clock.hpp"
#include "../checker/shadow.hpp"
#include "../dialect/interface.hpp"
#include "../ptx/state.hpp"
#include "fiber.hpp"

namespace emu {
struct Block;

enum class State { Ready, Blocked, Done };
struct Thread : ThreadIndex {
  Fiber fiber;
  State state = State::Done;
  /// What it waits for, and the line that does.
  const char* waits_for = "";
  int line = 0;
  Block* block = nullptr;
  AsyncCopies copies;
  check::ThreadClocks clocks;
};

struct Warp {
  /// Those of different masks may stand open side by side.
  std::vector<Collective> collectives;
  /// Of each thread, since a setmaxnreg; 0: as at the start.
  int registers = 0;
};
struct Barrier {
  int arrived = 0, count = 0;
  std::vector<Thread*> waiting;
  /// Where each warp met it; 0 is not yet.
  std::array<int, 32> lines{};
  check::Clock clock;
  int sum = 0;
};

/// An array of shared memory.
struct SharedArray {
  const void* key;
  uint32_t offset, bytes;
};
struct Launch {
  const Kernel* kernel;
  void** args;
  dim3 grid, block;
  size_t dynamic;
  /// All blocks run side by side, so they may wait for each other.
  bool cooperative = false;
  /// The number of its first block, and how many have begun.
  uint32_t first_block = 0;
  std::atomic<uint32_t> begun{0};
  std::atomic<unsigned> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::vector<std::string> findings;

  unsigned threads() const { return block.x * block.y * block.z; }
  unsigned blocks() const { return grid.x * grid.y * grid.z; }
  size_t add(const std::string& finding) {
    std::lock_guard<std::mutex> lock(mutex);
    findings.push_back(finding);
    return findings.size();
  }
};
struct Block {
  uint3 id;
  /// Different for every block that ever ran.
  uint32_t number;
  Launch* launch;
  int count, live = 0;
  std::vector<Thread*> threads;
  std::array<Barrier, 16> barriers;
  std::vector<Warp> warps;
  std::vector<Warpgroup> warpgroups;
  std::map<uint32_t, MBarrier> mbarriers;
  /// Steps of the actors that stand for mbarriers.
  std::array<uint32_t, check::mbarrier_actors> mbarrier_steps;
  /// What setmaxnreg has given back.
  int free_registers;

  char* arena = nullptr;
  uint32_t top;
  std::vector<SharedArray> arrays;
  std::vector<check::Cell> shadow;
  check::BlockClocks clocks;
};
/// The thread that runs now.
inline Thread& me() { return static_cast<Thread&>(*self); }
}  // namespace emu
