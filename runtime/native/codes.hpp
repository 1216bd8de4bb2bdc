// Weights of 8 bits: codes and a scale for each column, as runtime/codes.ts defines them, to the same bits.
#pragma once
#include <cstddef>
#include <cstdint>

namespace moec {

/// `depth` elements of a column are `inner` apart, in each of `outer` parts.
struct Columns {
  size_t outer, depth, inner;
};
/// Sets codes and scales to those of the numbers; false if one is not finite.
bool quantise(const float* numbers, int8_t* codes, float* scales, Columns columns);
void dequantise(float* numbers, const int8_t* codes, const float* scales, Columns columns);

}  // namespace moec
