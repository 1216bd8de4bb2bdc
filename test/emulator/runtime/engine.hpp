// The scheduler of one worker thread: runs the CUDA threads of its blocks as fibers.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "block.hpp"

namespace emu {
class Engine {
 public:
  static Engine& current();
  void run(Launch&, int index);
  Launch& launch() const { return *launch_; }

  /// Blocks the current thread until another one wakes it.
  void wait(const char* what, int line);
  void wake(Thread*, bool first = false);
  /// Lets all other ready threads run first.
  void yield();
  /// Queues asynchronous work, which is done at some point between the steps of threads.
  void later(std::function<void()> action) { actions_.push_back(std::move(action)); }
  /// Aborts the launch from a CUDA thread.
  [[noreturn]] void abandon();

 private:
  Thread* next();
  uint64_t random();
  void make_room(unsigned threads, size_t blocks);
  bool admit();
  void begin(Block&, unsigned number);
  void resume(Thread*);
  void act();
  [[noreturn]] void deadlock() const;
  static void thread_main();
  void end_thread(Thread&);

  Launch* launch_ = nullptr;
  void* scheduler_ = nullptr;
  std::deque<Thread*> ready_;
  std::deque<std::function<void()>> actions_;
  std::vector<std::unique_ptr<Thread>> pool_;
  std::vector<std::unique_ptr<Block>> blocks_;
  uint64_t random_ = 1;
  long idle_ = 0;
};
/// Called when all threads of a block have exited.
void end_block(Block&);
void reset_barriers(Block&);
/// Completes a barrier that only waited for a thread that has exited.
void release_if_full(Block&);
}  // namespace emu
