#include "second_queue.hpp"

#include <stdexcept>
#include <string>
#include <system_error>

namespace moec {

SecondQueue::SecondQueue(std::function<void(const std::atomic<bool>&)> atStart) {
  try {
    thread_ = std::thread([this, atStart = std::move(atStart)] {
      atStart(awaited_);
      loop();
    });
  } catch (const std::system_error& error) {
    throw std::runtime_error(std::string("cannot start a thread for messages: ") + error.what());
  }
}
SecondQueue::~SecondQueue() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  begun_.notify_one();
  thread_.join();
}
void SecondQueue::begin(std::function<void()> work) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pieces_.push_back(std::move(work));
  }
  begun_.notify_one();
}
void SecondQueue::wait(size_t left) {
  std::unique_lock<std::mutex> lock(mutex_);
  awaited_ = true;
  done_.wait(lock, [&] { return pieces_.size() <= left; });
  awaited_ = false;
}
/// A piece stays in the list while it is done.
void SecondQueue::loop() {
  for (std::unique_lock<std::mutex> lock(mutex_);;) {
    begun_.wait(lock, [&] { return stop_ || !pieces_.empty(); });
    if (pieces_.empty()) return;
    const std::function<void()> work = pieces_.front();
    lock.unlock();
    work();
    lock.lock();
    pieces_.pop_front();
    done_.notify_one();
  }
}

}  // namespace moec
