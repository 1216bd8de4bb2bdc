// Threads that run a list of steps together.
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

  /// While it lives, the caller and each helper stay on a core of their own, if they are as many as the cores that the caller may use. Linux wakes a
  /// helper on the core of its caller, where it may wait for milliseconds while another core has nothing to do.
  class Apart {
   public:
    explicit Apart(Pool& pool);
    ~Apart();
    Apart(const Apart&) = delete;
    Apart& operator=(const Apart&) = delete;

   private:
#if defined(__linux__)
    Pool& pool_;
    cpu_set_t all_;
    bool apart_ = false;
#endif
  };

 private:
  struct Run;
  struct Share;

  void stop();
  void help(int thread);
  Run* enter(uint64_t& seen);
  void work(Run& run, int thread);
  static size_t current(const Run& run);
  long take(Run& run, size_t step, int from, int thread);
  bool finish(Run& run, size_t step, long done, int thread);
  void advance(Run& run, size_t step, int thread);
  void chunk(Run& run, size_t step, long begin, long end, int thread);
  float* scratch(int thread);

  int threads_;
  size_t scratch_bytes_;
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
