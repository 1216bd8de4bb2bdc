// Instrumented kernels are compiled with -fsanitize=thread and linked without its runtime: these are the functions that the
// compiler inserts before each access, and (with -fsanitize-coverage=trace-pc) at each basic block.
#include <cstring>

#include "../counters/counters.hpp"
#include "../runtime/config.hpp"
#include "../runtime/memory.hpp"
#include "../runtime/report.hpp"
#include "checker.hpp"

namespace emu {
/// Memory that threadIdx etc. read.
static bool of_emulator(const void* p, const Thread& t) { return p == &self || uintptr_t(p) - uintptr_t(self) < sizeof t; }
static void observe(const void* p, size_t bytes, bool write, const void* from, bool aligned) {
  if (!self) return;
  Thread& t = me();
  if (t.fiber.holds(p) || of_emulator(p, t)) return;  // its own variables
  position = position_of(from);
  if (aligned && uintptr_t(p) % bytes) return report("%s of %zu bytes at %p, which is not a multiple of that, at %s", write ? "write" : "read", bytes, p, where(position).c_str());
  check::access(t, p, bytes, write ? check::Kind::Write : check::Kind::Read);
  count::access(t, p, bytes, write);
}
}  // namespace emu

#define CALLER __builtin_return_address(0)
#define HOOKS(n)                                                                            \
  void __tsan_read##n(void* p) { emu::observe(p, n, false, CALLER, true); }                 \
  void __tsan_write##n(void* p) { emu::observe(p, n, true, CALLER, true); }                 \
  void __tsan_unaligned_read##n(void* p) { emu::observe(p, n, false, CALLER, false); }      \
  void __tsan_unaligned_write##n(void* p) { emu::observe(p, n, true, CALLER, false); }      \
  void __tsan_volatile_read##n(void* p) { emu::observe(p, n, false, CALLER, true); }        \
  void __tsan_volatile_write##n(void* p) { emu::observe(p, n, true, CALLER, true); }
extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* p, unsigned long n) { emu::observe(p, n, false, CALLER, false); }
void __tsan_write_range(void* p, unsigned long n) { emu::observe(p, n, true, CALLER, false); }
void* __tsan_memcpy(void* to, const void* from, unsigned long n) {
  emu::observe(from, n, false, CALLER, false);
  emu::observe(to, n, true, CALLER, false);
  return memcpy(to, from, n);
}
void* __tsan_memmove(void* to, const void* from, unsigned long n) {
  emu::observe(from, n, false, CALLER, false);
  emu::observe(to, n, true, CALLER, false);
  return memmove(to, from, n);
}
void* __tsan_memset(void* to, int value, unsigned long n) {
  emu::observe(to, n, true, CALLER, false);
  return memset(to, value, n);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void*) {}
void __tsan_vptr_update(void*, void*) {}
void __sanitizer_cov_trace_pc() {
  if (emu::self) emu::count::basic_block(emu::me(), emu::position_of(CALLER));
}
}
