// CUDA's built-in functions that C does not have. Approximate ones (__expf) are exact here: tests of them need a tolerance.
#pragma once
#include "interface.hpp"

#define EMU_BITS(to, from, name)     \
  inline to name(from x) {           \
    to y;                            \
    static_assert(sizeof x == sizeof y, ""); \
    memcpy(&y, &x, sizeof y);        \
    return y;                        \
  }
EMU_BITS(unsigned, float, __float_as_uint)
EMU_BITS(float, unsigned, __uint_as_float)
EMU_BITS(int, float, __float_as_int)
EMU_BITS(float, int, __int_as_float)
EMU_BITS(long long, double, __double_as_longlong)
EMU_BITS(double, long long, __longlong_as_double)
#undef EMU_BITS

/// No contraction: functions with a rounding mode in their name are not fused.
inline float emu_rounded(float x) {
#if defined(__x86_64__)
  asm("" : "+x"(x));
#else
  asm("" : "+w"(x));
#endif
  return x;
}
inline float __fadd_rn(float a, float b) { return emu_rounded(a + b); }
inline float __fsub_rn(float a, float b) { return emu_rounded(a - b); }
inline float __fmul_rn(float a, float b) { return emu_rounded(a * b); }
inline float __fdiv_rn(float a, float b) { return emu_rounded(a / b); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return float(1.0 / sqrt(double(x))); }
inline float rsqrtf(float x) { return float(1.0 / sqrt(double(x))); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __exp2f(float x) { return exp2f(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

/// Converts as the hardware: rounded, saturated, NaN to 0.
template <class T> inline T emu_convert(double x, double low, double high) { return x != x ? T(0) : x <= low ? T(low) : x >= high ? T(high) : T(x); }
inline int __float2int_rn(float x) { return emu_convert<int>(rint(x), -2147483648.0, 2147483647.0); }
inline int __float2int_rz(float x) { return emu_convert<int>(trunc(x), -2147483648.0, 2147483647.0); }
inline int __float2int_rd(float x) { return emu_convert<int>(floor(x), -2147483648.0, 2147483647.0); }
inline int __float2int_ru(float x) { return emu_convert<int>(ceil(x), -2147483648.0, 2147483647.0); }
inline unsigned __float2uint_rn(float x) { return emu_convert<unsigned>(rint(x), 0.0, 4294967295.0); }
inline unsigned __float2uint_rz(float x) { return emu_convert<unsigned>(trunc(x), 0.0, 4294967295.0); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
  return r;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)((unsigned __int128)a * b >> 64); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) { return by & 31 ? high << (by & 31) | low >> (32 - (by & 31)) : high; }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) { return by & 31 ? low >> (by & 31) | high << (32 - (by & 31)) : low; }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const unsigned long long both = (unsigned long long)b << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) r |= unsigned(both >> (selector >> (4 * i) & 7) * 8 & 255) << (8 * i);
  return r;
}

// Loads and stores with a hint are ordinary ones.
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline T __ldlu(const T* p) { return *p; }
template <class T> inline void __stcg(T* p, T v) { *p = v; }
template <class T> inline void __stcs(T* p, T v) { *p = v; }
template <class T> inline void __stwt(T* p, T v) { *p = v; }

#define EMU_MIN_MAX(T)                               \
  inline T min(T a, T b) { return a < b ? a : b; }   \
  inline T max(T a, T b) { return a > b ? a : b; }
EMU_MIN_MAX(int)
EMU_MIN_MAX(unsigned)
EMU_MIN_MAX(long)
EMU_MIN_MAX(unsigned long)
EMU_MIN_MAX(long long)
EMU_MIN_MAX(unsigned long long)
#undef EMU_MIN_MAX
inline unsigned min(int a, unsigned b) { return min(unsigned(a), b); }
inline unsigned min(unsigned a, int b) { return min(a, unsigned(b)); }
inline unsigned max(int a, unsigned b) { return max(unsigned(a), b); }
inline unsigned max(unsigned a, int b) { return max(a, unsigned(b)); }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
#ifndef __clang__
#define __builtin_assume(x) ((void)0)
#endif
#define __assume(x) ((void)0)
