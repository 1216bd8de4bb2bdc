// Atomic functions. All are at least as strong as CUDA's.
#pragma once
#include "interface.hpp"

#define EMU_ATOMIC(T, type, name, what)                                \
  inline T name(T* p, T v) {                                           \
    emu::u64 bits = 0;                                                 \
    memcpy(&bits, &v, sizeof v);                                       \
    bits = emu::atomic(p, emu::Atomic::what, type, bits, 0);           \
    memcpy(&v, &bits, sizeof v);                                       \
    return v;                                                          \
  }
#define EMU_ATOMICS(T, type)                                           \
  EMU_ATOMIC(T, type, atomicAdd, Add)                                  \
  EMU_ATOMIC(T, type, atomicMin, Min)                                  \
  EMU_ATOMIC(T, type, atomicMax, Max)                                  \
  EMU_ATOMIC(T, type, atomicAnd, And)                                  \
  EMU_ATOMIC(T, type, atomicOr, Or)                                    \
  EMU_ATOMIC(T, type, atomicXor, Xor)                                  \
  EMU_ATOMIC(T, type, atomicExch, Exchange)                            \
  inline T atomicSub(T* p, T v) { return atomicAdd(p, (T)(0 - v)); }      \
  inline T atomicCAS(T* p, T compare, T v) { return (T)emu::atomic(p, emu::Atomic::Swap, type, emu::u64(v), emu::u64(compare)); }
EMU_ATOMICS(int, 'i')
EMU_ATOMICS(unsigned, 'u')
EMU_ATOMICS(unsigned long long, 'l')
EMU_ATOMIC(unsigned, 'u', atomicInc, Inc)
EMU_ATOMIC(unsigned, 'u', atomicDec, Dec)
EMU_ATOMIC(float, 'f', atomicAdd, Add)
EMU_ATOMIC(float, 'f', atomicExch, Exchange)
EMU_ATOMIC(double, 'd', atomicAdd, Add)
#undef EMU_ATOMIC
#undef EMU_ATOMICS
