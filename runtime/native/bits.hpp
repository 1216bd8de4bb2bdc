// Floats by their bits.
#pragma once
#include <cstdint>
#include <cstring>

namespace moec {

inline int32_t bitsOf(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float fromBits(int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
/// Magnitudes are compared by their bits, whose order is the same; infinity and NaN are the largest.
inline int32_t magnitude(float x) { return bitsOf(x) & 0x7fffffff; }
constexpr int32_t infinity_bits = 0x7f800000;
/// The bf16 nearest to a magnitude, of two the even one.
inline float roundBf16(float x) {
  const uint32_t bits = uint32_t(magnitude(x));
  return fromBits(int32_t((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000));
}

}  // namespace moec
