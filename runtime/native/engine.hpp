// The interface of an engine, which holds a plan's memory and runs its entries; one for the host and one for CUDA.
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

/// A collective (see `CollectiveOp` in compiler/plan/plan.ts); `fn` may be empty. `rows`, `length`: rows of an exchange's operand and result, of which it
/// moves those of piece `piece` of `pieces`.
struct CollectiveSpec {
  std::string name, dtype, fn;
  bool back;
  long rows, length, piece, pieces;
  int workers, groups, stride;
};
struct BufferSpec {
  size_t offset, bytes;
  Layout layout;
};
/// A launch of `kernel` on the buffers `args`. If `kernel` is `copy_step`: a copy of args[0] to args[1]; if it is `collective_step`: `collective`; if it is
/// `wait_step`: a wait for the step `awaited` of the entry, which is beside.
struct StepSpec {
  static constexpr long copy_step = -1, collective_step = -2, wait_step = -3;
  long kernel;
  std::vector<size_t> args;
  /// Of a launch: how many tasks, from `first` on.
  long tasks, first;
  /// So little work that one thread of the host does it faster than several would (`isSmall` in compiler/plan/plan.ts).
  bool small;
  /// How many of its tasks a thread of the host takes at a time (`grainOf` there).
  long grain;
  /// Only begun; a second queue does it after what it was given before (`Step` in compiler/plan/plan.ts).
  bool beside = false;
  std::optional<CollectiveSpec> collective{};
  size_t awaited = 0;
};
/// Nanoseconds of a step. `wall`: elapsed time. `busy`: CPU time that all threads together spent in its kernel.
struct StepTime {
  std::atomic<int64_t> wall{0};
  std::atomic<int64_t> busy{0};
};

/// What a run found out about a kernel's variant: whether it agrees with the kernel, and is used from now on, and, if not, why.
struct Finding {
  size_t kernel;
  bool agrees;
  std::string text;
};

/// An entry that is run repeatedly. After each run its result `from`, or of several equal `parts` of it the `part` that is this worker's, is copied to its
/// input `to`, and the integers >= 0 of `next` and the last integer of `key` are incremented. It ends after `times` runs, or when a time limit has
/// passed: `within` on the JavaScript thread, which is blocked, `beside` on another.
struct Repeat {
  size_t entry;
  long times;
  std::chrono::nanoseconds within, beside;
  size_t from, parts, part, to, next, key;
};

/// Errors are std::exception with a message. There is one run at a time, and no read or write during it; the addon ensures this.
class Engine {
 public:
  /// Throws if a buffer is not within the `bytes` of the arena.
  Engine(std::vector<BufferSpec> buffers, size_t bytes);
  virtual ~Engine() = default;
  /// A kernel did not end; the memory that it uses cannot be freed.
  bool stuck() const { return stuck_; }

  const Layout& layout(size_t buffer) const { return buffers_.at(buffer).layout; }
  /// Copies a buffer from or to row-major memory. Writing sets padding to zero.
  void write(size_t buffer, const char* row_major) { upload(buffers_.at(buffer), row_major); }
  /// The same of matrix `first` and those that follow, `bytes` in all without padding.
  void writePart(size_t buffer, const char* row_major, size_t bytes, long first) { upload(part(buffer, bytes, first), row_major); }
  void read(size_t buffer, char* row_major) { download(row_major, buffers_.at(buffer)); }
  void readPart(size_t buffer, char* row_major, size_t bytes, long first) { download(row_major, part(buffer, bytes, first)); }
  virtual void fill(size_t offset, size_t bytes, int byte) = 0;

  /// Bytes that it holds as long as it lives, about.
  virtual size_t memory() const { return bytes_; }
  virtual size_t steps(size_t entry) const = 0;
  /// Returns false if it was cancelled. `times`: empty, or a zero entry for each step, which is filled in. Call `cancel(false)` before each run.
  virtual bool run(size_t entry, std::vector<StepTime>& times) = 0;
  /// The integers of all runs' results; empty if it was cancelled.
  virtual std::vector<int32_t> repeat(const Repeat& repeat);
  void cancel(bool wanted) { cancel_ = wanted; }
  /// The findings since the last call.
  std::vector<Finding> findings() { return std::exchange(findings_, {}); }

 protected:
  virtual void upload(const BufferSpec& to, const char* row_major) = 0;
  virtual void download(char* row_major, const BufferSpec& from) = 0;
  void requireWithin(size_t offset, size_t bytes) const;
  std::vector<int32_t> integers(size_t buffer);
  void setIntegers(size_t buffer, const std::vector<int32_t>& values);

  std::vector<BufferSpec> buffers_;
  size_t bytes_;
  std::atomic<bool> cancel_{false};
  bool stuck_ = false;
  std::vector<Finding> findings_;

 private:
  BufferSpec part(size_t buffer, size_t bytes, long first) const;
};

}  // namespace moec
