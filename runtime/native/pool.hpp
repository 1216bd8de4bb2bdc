// Threads that run a list of steps together.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "arena.hpp"
#include "engine.hpp"

namespace moec {

/// Does tasks [begin, end) of one launch.
using Kernel = void (*)(void* const* args, long begin, long end, float* scratch);

struct Step {
  Kernel kernel;
  std::vector<void*> args;
  long tasks;
  /// So little work that one thread does it sooner than several share it.
  bool small = false;
};

class Pool {
 public:
  /// `threads` with the caller of run(); each has `scratch` floats.
  Pool(int threads, size_t scratch);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Runs the steps one after the other, the tasks of each on all threads. False if it was cancelled between two steps.
  /// `times`: empty, or one zero for each step.
  bool run(const std::vector<Step>& steps, const std::atomic<bool>& cancel, std::vector<StepTime>& times);

 private:
  struct Run;
  struct Share;
  struct Round;

  void stop();
  void help(int thread);
  Run* enter(uint64_t& seen);
  void work(Run& run, int thread);
  long take(Run& run, const Round& round, int from, int thread);
  void small(Run& run, const Round& round, int thread);
  bool finished(const Round& round) const;
  void chunk(Run& run, size_t step, long begin, long end, int thread);
  float* scratch(int thread);

  int threads_;
  size_t scratch_floats_;
  Arena scratch_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> inside_{0};
  Run* current_ = nullptr;
  bool stop_ = false;
  std::vector<std::thread> helpers_;
};

}  // namespace moec
