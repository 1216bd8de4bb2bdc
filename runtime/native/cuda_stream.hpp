// Work in order on one device: copies, kernels, graphs of them.
#pragma once
#include <functional>
#include <utility>

#include "cuda_driver.hpp"
#include "layout.hpp"

namespace moec::cuda {

/// What the driver gave, given back when it goes. Its context must then be current.
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
    if (drop_ != nullptr) drop_(value_);  // after a failed kernel this fails too
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
  /// For the calling thread, from here on.
  void enter() const { driver.check(makeCurrent(), "cuCtxSetCurrent"); }
  Result makeCurrent() const noexcept { return driver.cuCtxSetCurrent(handle_); }

  const Driver& driver;
  int device = 0;

 private:
  Handle handle_ = nullptr;
};

/// Everything it is given is done in order, after the call.
class Stream {
 public:
  explicit Stream(const Context& context);

  /// Addresses are of the device, or of pinned memory of the host.
  void copy(Address to, Address from, const Block& block, size_t width);
  void move(Address to, Address from, size_t bytes);
  void fill(Address to, size_t bytes, int byte);
  void launch(Handle function, unsigned blocks, unsigned threads, unsigned shared, void** args, const std::string& name);
  void record(Handle event);
  Owned<Handle> event() const;
  /// Throws what went wrong in anything before.
  void wait(const std::string& what);
  /// The same, whatever went wrong.
  void finish() noexcept { driver_.cuStreamSynchronize(stream_.get()); }
  /// Whether that takes no longer than so many seconds, in which the host does nothing else.
  bool ends(double seconds, const std::string& what);
  /// A graph of what `work` gives to the stream, which does not run.
  Owned<Handle> capture(const std::function<void()>& work);
  void replay(Handle graph);
  /// For what else gives it work.
  Handle handle() const { return stream_.get(); }

 private:
  const Driver& driver_;
  size_t max_pitch_;
  Owned<Handle> stream_;
};

/// Memory of the host that the device copies to and from by itself.
Owned<void*> pinned(const Driver& driver, size_t bytes);

/// Copies between plain rows of the host and buffers, by way of pinned memory: one half is filled while the other is on its way.
class Staging {
 public:
  Staging(const Context& context, Stream& stream);
  void upload(Address to, const Layout& layout, const char* plain);
  void download(char* plain, Address from, const Layout& layout);

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
  int turn_ = 0;
};

}  // namespace moec::cuda
