// Atomic operations on device and shared memory, also atomic between worker threads.
#include <cstring>
#include <type_traits>

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "config.hpp"
#include "memory.hpp"
#include "report.hpp"

namespace emu {

template <class T> static T combined(Atomic what, T old, T v, T compare) {
  if constexpr (std::is_integral_v<T>) {
    switch (what) {
      case Atomic::Add: return old + v;
      case Atomic::Min: return old < v ? old : v;
      case Atomic::Max: return old > v ? old : v;
      case Atomic::And: return old & v;
      case Atomic::Or: return old | v;
      case Atomic::Xor: return old ^ v;
      case Atomic::Swap: return old == compare ? v : old;
      case Atomic::Inc: return old >= v ? T(0) : old + 1;
      case Atomic::Dec: return old == 0 || old > v ? v : old - 1;
      case Atomic::Exchange: return v;
    }
  }
  return what == Atomic::Add ? old + v : v;
}
template <class T> static T of_bits(u64 bits) {
  T x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
template <class T> static u64 changed(void* p, Atomic what, u64 value, u64 compare) {
  T old, next;
  __atomic_load((T*)p, &old, __ATOMIC_RELAXED);
  do next = combined(what, old, of_bits<T>(value), of_bits<T>(compare));
  while (!__atomic_compare_exchange((T*)p, &old, &next, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
  u64 bits = 0;
  memcpy(&bits, &old, sizeof old);
  return bits;
}
u64 atomic_at(Thread& t, void* p, Atomic what, char type, u64 value, u64 compare) {
  const size_t bytes = type == 'l' || type == 'd' ? 8 : 4;
  if (shared_offset(*t.block, p) < arena_bytes) shared_at(t, uint32_t(shared_offset(*t.block, p)), bytes, bytes, "atomic");
  else global_at(p, bytes, bytes, "atomic");
  check::access(t, p, bytes, check::Kind::Atomic);
  count::atomic(t, p, bytes);
  switch (type) {
    case 'i': return changed<int>(p, what, value, compare);
    case 'u': return changed<unsigned>(p, what, value, compare);
    case 'l': return changed<u64>(p, what, value, compare);
    case 'f': return changed<float>(p, what, value, compare);
    default: return changed<double>(p, what, value, compare);
  }
}
u64 atomic(void* p, Atomic what, char type, u64 value, u64 compare) {
  position = position_of(__builtin_return_address(0));
  return atomic_at(me(), p, what, type, value, compare);
}
void thread_fence() { check::fence(me()); }
}  // namespace emu
