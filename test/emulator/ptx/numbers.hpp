// Formats of small floats.
#pragma once
#include <cstdint>
#include <cstring>

namespace emu {
inline float float_of_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
inline uint32_t bits_of_float(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
inline float from_bf16(uint16_t h) { return float_of_bits(uint32_t(h) << 16); }
/// Rounds to nearest even; NaN becomes 0x7fff, as in hardware.
inline uint16_t to_bf16(float f) {
  const uint32_t u = bits_of_float(f);
  return (u & 0x7fffffff) > 0x7f800000 ? uint16_t(0x7fff) : uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
inline float from_f16(uint16_t h) {
  const uint32_t sign = uint32_t(h >> 15) << 31, exponent = h >> 10 & 31, mantissa = h & 1023;
  if (exponent == 31) return float_of_bits(sign | 0x7f800000 | mantissa << 13);
  if (exponent > 0) return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
  const float small = float(mantissa) * 0x1p-24f;
  return sign ? -small : small;
}
inline uint16_t to_f16(float f) {
  const uint32_t u = bits_of_float(f), sign = u >> 16 & 0x8000, x = u & 0x7fffffff;
  if (x > 0x7f800000) return 0x7fff;
  if (x >= 0x477ff000) return uint16_t(sign | 0x7c00);  // rounds to 65536 or more
  if (x < 0x38800000) {                                  // below 2^-14: in steps of 2^-24
    const float steps = float_of_bits(x) * 0x1p24f;
    const uint32_t whole = uint32_t(steps);
    const float rest = steps - float(whole);
    return uint16_t(sign | (whole + (rest > 0.5f || (rest == 0.5f && whole & 1))));
  }
  return uint16_t(sign | ((x - 0x38000000 + 0xfff + (x >> 13 & 1)) >> 13));
}
/// Truncates to the 19 bits of tf32 that tensor cores read.
inline float as_tf32(uint32_t bits) { return float_of_bits(bits & 0xffffe000); }
/// Rounds to nearest tf32, ties away from zero (cvt.rna).
inline uint32_t to_tf32(float f) {
  const uint32_t u = bits_of_float(f);
  return (u & 0x7f800000) == 0x7f800000 ? u : (u + 0x1000) & 0xffffe000;
}
enum class Small { Bf16, F16, Tf32 };
inline int bytes_of(Small s) { return s == Small::Tf32 ? 4 : 2; }
/// Element `i` of a register or of memory.
inline float element(Small s, uint32_t word, int i) {
  if (s == Small::Tf32) return as_tf32(word);
  const uint16_t half = uint16_t(word >> (16 * i));
  return s == Small::Bf16 ? from_bf16(half) : from_f16(half);
}
}  // namespace emu
