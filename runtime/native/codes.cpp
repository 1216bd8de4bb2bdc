#include "codes.hpp"
#include <algorithm>
#include "bits.hpp"

namespace moec {

static constexpr float largest_code = 127;
/// The nearest whole number, of two the even one: adding moves what is below 1 out of a float's bits.
static float nearest(float x) {
  constexpr float shift = 12582912;  // 1.5 * 2^23
  return (x + shift) - shift;
}
/// Calls f(from, column, n, one) for each n elements that lie together: all of a column, or one of each of n columns.
template <class F>
static void forRuns(Columns c, F f) {
  const size_t part = c.depth * c.inner;
  for (size_t o = 0; o < c.outer; o++) {
    if (c.inner == 1)
      f(o * part, o, c.depth, true);
    else
      for (size_t k = 0; k < c.depth; k++) f(o * part + k * c.inner, o * c.inner, c.inner, false);
  }
}
bool quantise(const float* numbers, int8_t* codes, float* scales, Columns columns) {
  const size_t count = columns.outer * columns.inner;
  std::fill(scales, scales + count, 0.0f);
  forRuns(columns, [&](size_t from, size_t column, size_t n, bool one) {
    if (one) {
      int32_t most = magnitude(scales[column]);
      for (size_t i = 0; i < n; i++) most = std::max(most, magnitude(numbers[from + i]));
      scales[column] = fromBits(most);
    } else
      for (size_t i = 0; i < n; i++) scales[column + i] = fromBits(std::max(magnitude(scales[column + i]), magnitude(numbers[from + i])));
  });
  for (size_t i = 0; i < count; i++) {
    if (magnitude(scales[i]) >= infinity_bits) return false;
    scales[i] = roundBf16(scales[i] / largest_code);
  }
  const auto code = [](float x, float scale) {
    const float whole = nearest(scale == 0 ? 0 : x / scale);
    return int8_t(int32_t(std::min(std::max(whole, -largest_code), largest_code)));  // a subnormal scale is far off
  };
  forRuns(columns, [&](size_t from, size_t column, size_t n, bool one) {
    if (one)
      for (size_t i = 0; i < n; i++) codes[from + i] = code(numbers[from + i], scales[column]);
    else
      for (size_t i = 0; i < n; i++) codes[from + i] = code(numbers[from + i], scales[column + i]);
  });
  return true;
}
void dequantise(float* numbers, const int8_t* codes, const float* scales, Columns columns) {
  forRuns(columns, [&](size_t from, size_t column, size_t n, bool one) {
    if (one)
      for (size_t i = 0; i < n; i++) numbers[from + i] = float(codes[from + i]) * scales[column];
    else
      for (size_t i = 0; i < n; i++) numbers[from + i] = float(codes[from + i]) * scales[column + i];
  });
}

}  // namespace moec
