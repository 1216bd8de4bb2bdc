// A pool of threads that run a list of steps together.
#pragma once
#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "arena.hpp"
#include "engine.hpp"

namespace moec {

/// Runs tasks [begin, end) of one launch.
using Kernel = void (*)(void* const* args, long begin, long end, float* scratch);

struct Step {
  Kernel kernel;
  std::vector<void*> args;
  long tasks;
  /// Whether it has so little work that one thread does it faster alone.
  bool small = false;
  /// So many tasks are taken together even where that is a large part of all (`grainOf` in compiler/plan/plan.ts).
  long grain = 1;
  /// The number of the first of its tasks.
  long first = 0;
};

class Pool {
 public:
  /// `threads` includes the caller of run(); each has `scratch` floats of scratch memory.
  Pool(int threads, size_t scratch);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Runs the steps in order, the tasks of each on all threads. False if it was cancelled between two steps. `times`: empty, or one zeroed element
  /// for each step.
  bool run(const std::vector<Step>& steps, const std::atomic<bool>& cancel, std::vector<StepTime>& times);
  /// Bytes of its threads: scratch, and the part of a stack that is likely used.
  size_t memory() const { return scratch_.bytes() + size_t(threads_) * used_stack; }

  /// While it exists, the caller and each helper are pinned to different cores, if there are as many threads as cores that the caller may use. Linux
  /// wakes a helper on the caller's core, where it may wait for milliseconds while another core is idle.
  class PinnedThreads {
   public:
    explicit PinnedThreads(Pool& pool);
    ~PinnedThreads();
    PinnedThreads(const PinnedThreads&) = delete;
    PinnedThreads& operator=(const PinnedThreads&) = delete;

   private:
#if defined(__linux__)
    Pool& pool_;
    cpu_set_t all_;
    bool pinned_ = false;
#endif
  };

 private:
  struct Run;
  struct Share;

  void stop();
  void helperLoop(int thread);
  Run* waitForRun(uint64_t& seen);
  void work(Run& run, int thread);
  static size_t current(const Run& run);
  long takeUnits(Run& run, size_t step, int from, int thread);
  bool finishUnits(Run& run, size_t step, long done, int thread);
  void beginRound(Run& run, size_t step, int thread);
  void runTasks(Run& run, size_t step, long begin, long end, int thread);
  float* scratch(int thread);

  static constexpr size_t used_stack = size_t(64) << 10;
  int threads_;
  size_t scratch_bytes_;
  Arena scratch_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> active_helpers_{0};
  Run* current_ = nullptr;
  bool stop_ = false;
  std::vector<std::thread> helpers_;
};

}  // namespace moec
