// What kernels call of the emulator. The functions are defined in runtime/ and ptx/; a compiled kernel leaves them undefined, and finds them
// in the process that loads it.
#pragma once
#include "types.hpp"

/// A function that touches the emulator's own memory, or the host's: no business of the checker.
#define EMU_UNCHECKED __attribute__((no_sanitize("thread")))

namespace emu {
typedef unsigned long long u64;

/// Where a CUDA thread stands. `linear`: its number in the block.
struct ThreadIndex {
  uint3 tid, bid;
  dim3 bdim, gdim;
  unsigned linear, lane, warp;
};
/// The CUDA thread that runs now on this thread of the system.
extern __thread ThreadIndex* self __attribute__((tls_model("initial-exec")));

/// `count` 0: all threads of the block that have not ended.
void barrier(int id, int count, int line, bool only_arrive = false);
enum class Reduction { Count, And, Or };
int barrier_reduce(Reduction, bool predicate, int line);

/// Run by the last lane to arrive, for all lanes of the mask; args[lane] is what each brought.
typedef void (*Together)(void** args, unsigned mask, void* user);
/// `operation` tells different collectives apart; `orders_memory`: as __syncwarp.
void collective(unsigned mask, const void* operation, void* arg, Together run, void* user, int line, bool orders_memory = false);

enum class Atomic { Add, Min, Max, And, Or, Xor, Exchange, Swap, Inc, Dec };
/// `type`: i int, u unsigned, l unsigned long long, f float, d double. Gives the old value.
u64 atomic(void* address, Atomic, char type, u64 value, u64 compare);
void thread_fence();
void yield();
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// The block's array that belongs to this `key`.
void* shared_array(const void* key, size_t bytes, size_t align);
unsigned char* dynamic_shared();
size_t shared_address(const void* generic);

/// An operand of an inline PTX statement. `out`: where a result goes, and its present value comes from; null: `value` is given.
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
