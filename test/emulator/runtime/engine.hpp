// Runs blocks of a launch on one thread of the system: picks the next CUDA thread until none is left.
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

  /// The running thread waits until another wakes it.
  void wait(const char* what, int line);
  void wake(Thread*, bool first = false);
  /// The running thread lets all others go first.
  void yield();
  /// For asynchronous work: done between the steps of threads, at some time.
  void later(std::function<void()> action) { actions_.push_back(std::move(action)); }
  /// Ends the launch from within a thread.
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
/// Called when all threads of a block have ended.
void end_block(Block&);
void reset_barriers(Block&);
/// The barrier may be full now that a thread has ended.
void release_if_full(Block&);
}  // namespace emu
