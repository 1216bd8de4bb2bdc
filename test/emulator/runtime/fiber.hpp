// Fibers: contexts with their own stack, and the switch between them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu {
class Fiber {
 public:
  /// The guard is larger than the frame of any function, so that none steps over it (`wavefronts` takes 8 KiB).
  static constexpr size_t stack_bytes = 256 << 10, guard_bytes = 16 << 10;
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  /// The next switch to this fiber calls `entry`, which must not return.
  void prepare(void (*entry)());
  /// Switches to this fiber and saves the current context in `from`.
  void enter(void** from) const;
  void enter_from(Fiber& from) const { enter(&from.sp_); }
  /// Switches away from this fiber and saves its context.
  void leave_to(void* to);
  bool holds(const void* p) const { return uintptr_t(p) - uintptr_t(stack_) < stack_bytes; }
  bool overflows_at(const void* p) const { return uintptr_t(p) - uintptr_t(stack_) < guard_bytes; }

 private:
  void* sp_ = nullptr;
  char* stack_;
};
/// Switches to another context without saving the current one.
[[noreturn]] void jump(void* to);
}  // namespace emu
