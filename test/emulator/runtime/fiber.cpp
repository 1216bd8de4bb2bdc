#include "fiber.hpp"

#include <sys/mman.h>

#include <cstring>
#include <new>

// emu_switch(void** from, void* to): saves the callee-saved registers and the stack pointer (to *from), and continues at `to`.
extern "C" void emu_switch(void** from, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.type emu_switch,@function
.hidden emu_switch
.globl emu_switch
emu_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp,(%rdi)
  mov %rsi,%rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size emu_switch,.-emu_switch
)");
static constexpr int saved = 8, entry_at = 6;  // saved words, and the index of the return address
#elif defined(__aarch64__)
asm(R"(
.text
.type emu_switch,%function
.hidden emu_switch
.globl emu_switch
emu_switch:
  sub sp,sp,#176
  stp x19,x20,[sp]
  stp x21,x22,[sp,#16]
  stp x23,x24,[sp,#32]
  stp x25,x26,[sp,#48]
  stp x27,x28,[sp,#64]
  stp x29,x30,[sp,#80]
  stp d8,d9,[sp,#96]
  stp d10,d11,[sp,#112]
  stp d12,d13,[sp,#128]
  stp d14,d15,[sp,#144]
  mov x9,sp
  str x9,[x0]
  mov sp,x1
  ldp x19,x20,[sp]
  ldp x21,x22,[sp,#16]
  ldp x23,x24,[sp,#32]
  ldp x25,x26,[sp,#48]
  ldp x27,x28,[sp,#64]
  ldp x29,x30,[sp,#80]
  ldp d8,d9,[sp,#96]
  ldp d10,d11,[sp,#112]
  ldp d12,d13,[sp,#128]
  ldp d14,d15,[sp,#144]
  add sp,sp,#176
  ret
.size emu_switch,.-emu_switch
)");
static constexpr int saved = 22, entry_at = 11;
#else
#error "the emulator knows how to switch stacks on x86-64 and aarch64 only"
#endif

namespace emu {

Fiber::Fiber() {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
  stack_ = (char*)mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (stack_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(stack_, guard_bytes, PROT_NONE);
}
Fiber::~Fiber() { munmap(stack_, stack_bytes); }

void Fiber::prepare(void (*entry)()) {
  void** words = (void**)((uintptr_t(stack_) + stack_bytes) & ~uintptr_t(15)) - saved;
  memset(words, 0, saved * sizeof *words);
  words[entry_at] = (void*)entry;
  sp_ = words;
}
void Fiber::enter(void** from) const { emu_switch(from, sp_); }
void Fiber::leave_to(void* to) { emu_switch(&sp_, to); }

void jump(void* to) {
  void* forgotten;
  emu_switch(&forgotten, to);
  __builtin_unreachable();
}
}  // namespace emu
