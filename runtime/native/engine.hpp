// What holds a plan's memory and runs its entries, on any device.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "layout.hpp"

namespace moec {

/// What all workers do together. `rows`, `length`: of an exchange's operand and result; `workers`: of each group.
struct TogetherSpec {
  std::string name, dtype, fn;
  bool back;
  long rows, length;
  int workers, groups, apart;
};
struct BufferSpec {
  size_t offset, bytes;
  Layout layout;
};
/// A launch of `kernel` on the buffers `args`, or, where kernel is `copy`, a copy of args[0] to args[1], or what `together` says.
struct StepSpec {
  static constexpr long copy = -1, together = -2;
  long kernel;
  std::vector<size_t> args;
  long tasks;
  /// So little work that one thread of the host does it sooner than several share it.
  bool small;
  std::optional<TogetherSpec> all{};
};
/// Nanoseconds of a step: how long it took, and what all threads together spent in its kernel, without what other programs took of their cores.
struct StepTime {
  std::atomic<int64_t> wall{0};
  std::atomic<int64_t> busy{0};
};

/// What a run found out of a kernel: whether its variant is used from here on, and why not.
struct Finding {
  size_t kernel;
  bool agrees;
  std::string text;
};

/// An entry that is run again and again: its result `from` becomes its input `to`, and the integers of `next` that are not negative, and the last of
/// `key`, go up by one. So many times, or until so much time has passed: `within` on the thread of
/// JavaScript, which waits, `beside` on another.
struct Repeat {
  size_t entry;
  long times;
  std::chrono::nanoseconds within, beside;
  size_t from, to, next, key;
};

/// Errors are std::exception with a message. One run at a time, and no read or write while it lasts: the addon sees to it.
class Engine {
 public:
  /// Throws where a buffer is not within the `bytes` of the arena.
  Engine(std::vector<BufferSpec> buffers, size_t bytes);
  virtual ~Engine() = default;
  /// A kernel that does not end holds its memory, which cannot be freed.
  bool stuck() const { return stuck_; }

  const Layout& layout(size_t buffer) const { return buffers_.at(buffer).layout; }
  /// From and to plain rows. Padding becomes zero.
  virtual void write(size_t buffer, const char* plain) = 0;
  virtual void read(size_t buffer, char* plain) = 0;
  virtual void fill(size_t offset, size_t bytes, int byte) = 0;

  virtual size_t steps(size_t entry) const = 0;
  /// False if it was cancelled. `times`: empty, or one zero for each step. Before each run, `cancel(false)`.
  virtual bool run(size_t entry, std::vector<StepTime>& times) = 0;
  /// The integers of all results; none if it was cancelled.
  virtual std::vector<int32_t> repeat(const Repeat& repeat);
  void cancel(bool wanted) { cancel_ = wanted; }
  /// Since they were last asked for.
  std::vector<Finding> findings() { return std::exchange(findings_, {}); }

 protected:
  void requireWithin(size_t offset, size_t bytes) const;
  std::vector<int32_t> integers(size_t buffer);
  void setIntegers(size_t buffer, const std::vector<int32_t>& values);

  std::vector<BufferSpec> buffers_;
  size_t bytes_;
  std::atomic<bool> cancel_{false};
  bool stuck_ = false;
  std::vector<Finding> findings_;
};

}  // namespace moec
