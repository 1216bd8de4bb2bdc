// The functions of the emulator that kernels call, defined in runtime/ and ptx/. They are undefined in a compiled kernel, and resolved
// in the process that loads it.
#pragma once
#include "types.hpp"

/// A function that accesses memory of the emulator or the host, which the checker ignores.
#define EMU_UNCHECKED __attribute__((no_sanitize("thread")))

namespace emu {
typedef unsigned long long u64;

/// Indices of a CUDA thread. `linear`: in the block.
struct ThreadIndex {
  uint3 tid, bid;
  dim3 bdim, gdim;
  unsigned linear, lane, warp;
};
/// The CUDA thread that this worker thread runs.
extern __thread ThreadIndex* self __attribute__((tls_model("initial-exec")));

/// `count` 0: all threads of the block that have not exited.
void barrier(int id, int count, int line, bool only_arrive = false);
enum class Reduction { Count, And, Or };
int barrier_reduce(Reduction, bool predicate, int line);

/// Run by the last lane to arrive, for all lanes of the mask; args[lane]: the argument of each.
typedef void (*Together)(void** args, unsigned mask, void* user);
/// `operation`: identifies the collective; `orders_memory`: as __syncwarp.
void collective(unsigned mask, const void* operation, void* arg, Together run, void* user, int line, bool orders_memory = false);

enum class Atomic { Add, Min, Max, And, Or, Xor, Exchange, Swap, Inc, Dec };
/// `type`: i int, u unsigned, l unsigned long long, f float, d double. Returns the old value.
u64 atomic(void* address, Atomic, char type, u64 value, u64 compare);
void thread_fence();
void yield();
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// The block's shared array with this `key`.
void* shared_array(const void* key, size_t bytes, size_t align);
unsigned char* dynamic_shared();
size_t shared_address(const void* generic);

/// An operand of an inline PTX statement. `out`: the variable of an output; null: an input, `value`.
struct Argument {
  void* out;
  u64 value;
  unsigned bytes;
};
/// An inline PTX statement, parsed when first executed.
struct Statement {
  const char* text;
  void* parsed;
};
void ptx(Statement&, Argument*, int count, int line);

typedef void (*Thunk)(void* function, void** args);
/// `sizes`: bytes of each parameter.
struct Kernel {
  const char* name;
  void* function;
  Thunk call;
  const unsigned* sizes;
  int count;
};
}  // namespace emu
