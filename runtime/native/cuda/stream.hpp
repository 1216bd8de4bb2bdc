// A CUDA stream, and what it needs: copies, kernels and graphs that run in order on one device.
#pragma once
#include <functional>
#include <utility>

#include "driver.hpp"
#include "../layout.hpp"

namespace moec::cuda {

/// Owns a handle or address of the driver and frees it when destroyed, for which its context must be current.
template <class T>
class Owned {
 public:
  Owned() = default;
  Owned(T value, Result (*drop)(T)) : value_(value), drop_(drop) {}
  Owned(Owned&& other) noexcept : value_(other.value_), drop_(other.drop_) { other.drop_ = nullptr; }
  Owned& operator=(Owned&& other) noexcept {
    std::swap(value_, other.value_);
    std::swap(drop_, other.drop_);
    return *this;
  }
  ~Owned() {
    if (drop_ != nullptr) drop_(value_);  // fails after a failed kernel, which was reported already
  }
  T get() const { return value_; }
  explicit operator bool() const { return drop_ != nullptr; }

 private:
  T value_{};
  Result (*drop_)(T) = nullptr;
};

/// The primary context of a device.
class Context {
 public:
  Context(const Driver& driver, int index);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  /// Makes it the calling thread's current context.
  void enter() const { driver.check(makeCurrent(), "cuCtxSetCurrent"); }
  Result makeCurrent() const noexcept { return driver.cuCtxSetCurrent(handle_); }

  const Driver& driver;
  int device = 0;

 private:
  Handle handle_ = nullptr;
};

/// Work is done asynchronously, in the order of the calls.
class Stream {
 public:
  explicit Stream(const Context& context);

  /// Addresses are of device memory or of pinned host memory.
  void copy(Address to, Address from, const Block& block, size_t width);
  void move(Address to, Address from, size_t bytes);
  void fill(Address to, size_t bytes, int byte);
  void launch(Handle function, unsigned blocks, unsigned threads, unsigned shared, void** args, const std::string& name);
  void record(Handle event);
  /// Later work waits for what another stream had to do when the event was recorded there.
  void await(Handle event);
  /// `untimed`: it only orders streams.
  Owned<Handle> event(bool untimed = false) const;
  /// Waits for all work; throws Failure if any of it failed.
  void wait(const std::string& what);
  /// Waits for all work; ignores errors.
  void drain() noexcept { driver_.cuStreamSynchronize(stream_.get()); }
  /// Whether all work ends within so many seconds; polls meanwhile. Throws Failure if any of it failed.
  bool waitFor(double seconds, const std::string& what);
  /// A graph of the work that `work` puts on the stream, and on others that await it and that it awaits; it is captured, not run.
  Owned<Handle> capture(const std::function<void()>& work);
  void replay(Handle graph);
  /// For libraries that put work on the stream themselves (NCCL).
  Handle handle() const { return stream_.get(); }

 private:
  const Driver& driver_;
  size_t max_pitch_;
  Owned<Handle> stream_;
};

/// Page-locked host memory, which the device can copy to and from asynchronously.
Owned<void*> pinned(const Driver& driver, size_t bytes);

/// Copies between row-major host memory and buffers, through two halves of pinned memory: one is filled while the other is copied.
class Staging {
 public:
  Staging(const Context& context, Stream& stream);
  void upload(Address to, const Layout& layout, const char* row_major);
  void download(char* row_major, Address from, const Layout& layout);

 private:
  struct Half {
    char* memory;
    Owned<Handle> copied;
  };
  Half& next();

  const Driver& driver_;
  Stream& stream_;
  Owned<void*> memory_;
  Half halves_[2];
  int next_ = 0;
};

}  // namespace moec::cuda
