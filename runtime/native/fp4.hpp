// Weights of 4 bits: codes and a scale for each 32 elements of a column, as runtime/fp4.ts defines them, to the same bits.
#pragma once
#include "codes.hpp"

namespace moec {

/// Sets codes and scales (bf16) to those of the numbers; false if one is not finite. The depth is a multiple of 32.
bool quantiseFp4(const float* numbers, int8_t* codes, uint16_t* scales, Columns columns);
void dequantiseFp4(float* numbers, const int8_t* codes, const uint16_t* scales, Columns columns);

}  // namespace moec
