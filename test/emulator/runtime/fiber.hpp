// A stack of its own, and the switch between two of them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu {
class Fiber {
 public:
  static constexpr size_t stack_bytes = 256 << 10, guard_bytes = 4096;
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  /// The next switch to it calls `entry`, which must never return.
  void prepare(void (*entry)());
  /// From the context that `from` shall keep to this one.
  void enter(void** from) const;
  void enter_from(Fiber& from) const { enter(&from.sp_); }
  /// Leaves this one, which keeps where it was.
  void leave_to(void* to);
  bool holds(const void* p) const { return uintptr_t(p) - uintptr_t(stack_) < stack_bytes; }
  bool overflows_at(const void* p) const { return uintptr_t(p) - uintptr_t(stack_) < guard_bytes; }

 private:
  void* sp_ = nullptr;
  char* stack_;
};
/// Goes to another context for good.
[[noreturn]] void jump(void* to);
}  // namespace emu
