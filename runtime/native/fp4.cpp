#include "fp4.hpp"
#include <algorithm>
#include <cfloat>
#include "bits.hpp"

#define MOEC_INLINE static inline __attribute__((always_inline))

namespace moec {

static constexpr size_t group = 32;
/// So many neighbouring columns are computed together: loops over them become vectors, and what is summed along a column is summed in order.
static constexpr size_t width = 64;
/// The numbers of e2m1, one of which a column's largest size becomes, in the order in which they are tried. Where the scale for 6 is normal the first two
/// are the best: others are a power of two times these, and all numbers of such a scale are also numbers of the smaller one.
static constexpr float largest[] = {6, 4, 3, 2, 1.5f, 1, 0.5f};

/// The bf16 nearest to most / number; the one below it, where that times the number is not finite.
MOEC_INLINE float scaleFor(float most, float number) {
  const float scale = roundBf16(most / number);
  return magnitude(scale * number) < infinity_bits ? scale : fromBits(magnitude(scale) - 0x10000);
}
/// Twice the number that the low bits of a code stand for: 0, 1, 2, 3, 4, 6, 8, 12.
MOEC_INLINE int32_t twice(int32_t index) { return index + (index > 4) + (index > 5) + 3 * (index > 6); }

/// The scales of neighbouring columns, and how large, as bits, what has each index is at most. Ties are the even index's.
struct Scales {
  float of[width];
  int32_t most[7][width];
};
MOEC_INLINE void setScale(Scales& s, size_t j, float scale) {
  constexpr float middle[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
  s.of[j] = scale;
  for (int i = 0; i < 7; i++) s.most[i][j] = scale == 0 ? INT32_MAX : magnitude(middle[i] * scale) - (i & 1);
}
MOEC_INLINE int32_t indexOf(const Scales& s, size_t j, int32_t size) {
  int32_t index = 0;
  for (int i = 0; i < 7; i++) index += size > s.most[i][j];
  return index;
}
/// The bits of the largest sizes of n columns. Returns the largest of all.
MOEC_INLINE int32_t findMost(int32_t* most, const float* x, size_t inner, size_t n) {
  int32_t all = 0;
  std::fill(most, most + n, 0);
  for (size_t k = 0; k < group; k++)
    for (size_t j = 0; j < n; j++) most[j] = std::max(most[j], magnitude(x[k * inner + j]));
  for (size_t j = 0; j < n; j++) all = std::max(all, most[j]);
  return all;
}
/// The sums of squared errors. Codes times scales are exact, and so are the squares, so it does not matter whether the compiler fuses these with the sums.
MOEC_INLINE void addErrors(double* error, const Scales& s, const float* x, size_t inner, size_t n) {
  std::fill(error, error + n, 0.0);
  for (size_t k = 0; k < group; k++)
    for (size_t j = 0; j < n; j++) {
      const int32_t size = magnitude(x[k * inner + j]);
      const float off = fromBits(size) - float(twice(indexOf(s, j, size))) * (0.5f * s.of[j]);
      error[j] += double(off) * double(off);
    }
}
/// Sets the scales of n columns to those of the least errors, of equal ones the first.
MOEC_INLINE void findScales(Scales& s, const int32_t* most, const float* x, size_t inner, size_t n) {
  float best[width];
  double least[width], error[width];
  bool small = false;
  for (size_t j = 0; j < n; j++) small |= most[j] > 0 && roundBf16(fromBits(most[j]) / largest[0]) < FLT_MIN;
  for (size_t i = 0; i < (small ? 7 : 2); i++) {
    for (size_t j = 0; j < n; j++) setScale(s, j, scaleFor(fromBits(most[j]), largest[i]));
    addErrors(error, s, x, inner, n);
    for (size_t j = 0; j < n; j++) {
      const bool better = i == 0 || error[j] < least[j];
      best[j] = better ? s.of[j] : best[j];
      least[j] = better ? error[j] : least[j];
    }
  }
  for (size_t j = 0; j < n; j++) setScale(s, j, best[j]);
}
/// The code of a number: its sign and its index.
MOEC_INLINE int32_t codeOf(const Scales& s, size_t j, float x) {
  return indexOf(s, j, magnitude(x)) | (bitsOf(x) < 0 ? 8 : 0);
}
/// Of n neighbouring columns a group; false if a number is not finite.
MOEC_INLINE bool quantiseGroup(const float* x, int8_t* codes, uint16_t* scales, size_t inner, size_t n) {
  int32_t most[width];
  Scales s;
  if (findMost(most, x, inner, n) >= infinity_bits) return false;
  findScales(s, most, x, inner, n);
  for (size_t j = 0; j < n; j++) scales[j] = uint16_t(magnitude(s.of[j]) >> 16);
  for (size_t k = 0; k < group; k += 2)
    for (size_t j = 0; j < n; j++)
      codes[k / 2 * inner + j] = int8_t(codeOf(s, j, x[k * inner + j]) | codeOf(s, j, x[(k + 1) * inner + j]) << 4);
  return true;
}
MOEC_INLINE bool quantiseAll(const float* x, int8_t* codes, uint16_t* scales, Columns c) {
  for (size_t g = 0; g < c.outer * c.depth / group; g++)
    for (size_t j = 0; j < c.inner; j += width) {
      const size_t first = g * c.inner;
      if (!quantiseGroup(x + first * group + j, codes + first * group / 2 + j, scales + first + j, c.inner, std::min(width, c.inner - j))) return false;
    }
  return true;
}
MOEC_INLINE float numberOf(int32_t code, float scale) {
  return fromBits(bitsOf(float(twice(code & 7)) * (0.5f * scale)) ^ int32_t(uint32_t(code & 8) << 28));
}
MOEC_INLINE void dequantiseAll(float* x, const int8_t* codes, const uint16_t* scales, Columns c) {
  for (size_t row = 0; row < c.outer * c.depth / 2; row++) {
    const int8_t* code = codes + row * c.inner;
    const uint16_t* scale = scales + row / (group / 2) * c.inner;
    float *even = x + 2 * row * c.inner, *odd = even + c.inner;
    for (size_t j = 0; j < c.inner; j++) {
      const float by = fromBits(int32_t(uint32_t(scale[j]) << 16));
      even[j] = numberOf(code[j], by);
      odd[j] = numberOf(code[j] >> 4, by);
    }
  }
}

#if defined(__x86_64__)
#define MOEC_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define MOEC_AVX2 __attribute__((target("avx2")))
MOEC_AVX512 static bool quantiseAvx512(const float* x, int8_t* codes, uint16_t* scales, Columns c) { return quantiseAll(x, codes, scales, c); }
MOEC_AVX2 static bool quantiseAvx2(const float* x, int8_t* codes, uint16_t* scales, Columns c) { return quantiseAll(x, codes, scales, c); }
static bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif
/// The same bits on each instruction set.
bool quantiseFp4(const float* numbers, int8_t* codes, uint16_t* scales, Columns columns) {
#if defined(__x86_64__)
  if (hasAvx512()) return quantiseAvx512(numbers, codes, scales, columns);
  if (__builtin_cpu_supports("avx2")) return quantiseAvx2(numbers, codes, scales, columns);
#endif
  return quantiseAll(numbers, codes, scales, columns);
}
void dequantiseFp4(float* numbers, const int8_t* codes, const uint16_t* scales, Columns columns) { dequantiseAll(numbers, codes, scales, columns); }

}  // namespace moec
