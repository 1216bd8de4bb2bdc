// A thread that does work one piece after another, while the threads of the pool go on.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace moec {

/// Pieces of work are done in the order in which they are begun; they do not throw. One thread at a time calls `begin`, `wait` and `finish`.
class SecondQueue {
 public:
  /// `atStart` is called by the thread, with whether somebody waits for it.
  explicit SecondQueue(std::function<void(const std::atomic<bool>&)> atStart);
  ~SecondQueue();
  SecondQueue(const SecondQueue&) = delete;
  SecondQueue& operator=(const SecondQueue&) = delete;

  void begin(std::function<void()> work);
  /// Waits until no more than so many pieces that were begun are not done.
  void wait(size_t left);
  /// Waits until all is done.
  void finish() { wait(0); }

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable begun_, done_;
  std::deque<std::function<void()>> pieces_;
  std::atomic<bool> awaited_{false};
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace moec
