// The state of a launch: blocks, warps, threads, barriers.
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
  /// What the thread waits for, and the source line.
  const char* waits_for = "";
  int line = 0;
  Block* block = nullptr;
  AsyncCopies copies;
  check::ThreadClocks clocks;
};

struct Warp {
  /// Collectives with different masks may be open at the same time.
  std::vector<Collective> collectives;
  /// Registers per thread since a setmaxnreg; 0: the initial number.
  int registers = 0;
};
struct Barrier {
  int arrived = 0, count = 0;
  std::vector<Thread*> waiting;
  /// The source line at which each warp arrived; 0: not yet.
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
  /// Cooperative launch: all blocks are resident, so they may wait for each other.
  bool cooperative = false;
  /// The id of the launch's first block, and how many blocks have started.
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
  /// Unique among all blocks of the process.
  uint32_t number;
  Launch* launch;
  int count, live = 0;
  std::vector<Thread*> threads;
  std::array<Barrier, 16> barriers;
  std::vector<Warp> warps;
  std::vector<Warpgroup> warpgroups;
  std::map<uint32_t, MBarrier> mbarriers;
  /// Clock values of the mbarriers' actors.
  std::array<uint32_t, check::mbarrier_actors> mbarrier_steps;
  /// Registers that setmaxnreg.dec has released.
  int free_registers;

  char* arena = nullptr;
  uint32_t top;
  std::vector<SharedArray> arrays;
  std::vector<check::Cell> shadow;
  check::BlockClocks clocks;
};
/// The current CUDA thread.
inline Thread& me() { return static_cast<Thread&>(*self); }
}  // namespace emu
