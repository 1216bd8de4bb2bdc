// Vector types. Sizes and alignments are those of CUDA.
#pragma once
#define EMU_VECTOR(T, N, A)                                                  \
  struct alignas(2 * (A)) N##2 { T x, y; };                                  \
  struct N##3 { T x, y, z; };                                                \
  struct alignas(4 * (A) > 16 ? 16 : 4 * (A)) N##4 { T x, y, z, w; };        \
  inline N##2 make_##N##2(T x, T y) { return {x, y}; }                       \
  inline N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }               \
  inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VECTOR(signed char, char, 1)
EMU_VECTOR(unsigned char, uchar, 1)
EMU_VECTOR(short, short, 2)
EMU_VECTOR(unsigned short, ushort, 2)
EMU_VECTOR(int, int, 4)
EMU_VECTOR(unsigned, uint, 4)
EMU_VECTOR(float, float, 4)
EMU_VECTOR(double, double, 8)
EMU_VECTOR(long long, longlong, 8)
EMU_VECTOR(unsigned long long, ulonglong, 8)
#undef EMU_VECTOR

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
