// AMX's tile registers for a CPU that has none: what runtime/device/split.hpp asks of them, as Intel's manual defines it (volume 2, TDPBF16PS: even
// and odd steps of the depth are summed apart, in order, each sum rounded once, and below 2^-126 all is zero). Included before the device headers.
#define EMULATED_TILES
#include <cmath>
#include <cstring>
static thread_local struct { unsigned char data[8][16][64]; long rows[8]; } tiles;
template <int X> inline void tile_load(const void* p, long step) {
  for (long i = 0; i < tiles.rows[X]; i++) std::memcpy(tiles.data[X][i], (const char*)p + i * step, 64);
}
template <int X> inline void tile_store(void* p, long step) {
  for (long i = 0; i < tiles.rows[X]; i++) std::memcpy((char*)p + i * step, tiles.data[X][i], 64);
}
template <int X> inline void tile_zero() { std::memset(tiles.data[X], 0, sizeof tiles.data[X]); }
inline float flushed(float x) { return std::fabs(x) < 0x1p-126f ? 0.0f : x; }
inline float half_of(const unsigned char* word, int odd) {
  unsigned short half;
  std::memcpy(&half, word + 2 * odd, 2);
  const unsigned bits = (unsigned)half << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return flushed(x);
}
template <int TO, int A, int B> inline void tile_dot() {
  for (long m = 0; m < tiles.rows[TO]; m++) for (int n = 0; n < 16; n++) {
    float sum[2] = {0, 0}, c;
    for (long k = 0; k < tiles.rows[B]; k++) for (int odd = 0; odd < 2; odd++)
      sum[odd] = flushed(std::fma(half_of(tiles.data[A][m] + 4 * k, odd), half_of(tiles.data[B][k] + 4 * n, odd), sum[odd]));
    std::memcpy(&c, tiles.data[TO][m] + 4 * n, 4);
    c = flushed(c + flushed(sum[0] + sum[1]));
    std::memcpy(tiles.data[TO][m] + 4 * n, &c, 4);
  }
}
inline void tile_shape(long upper, long lower) {
  for (int t = 0; t < 8; t++) tiles.rows[t] = t > 5 ? 16 : t == 2 || t == 3 || t == 5 ? lower : upper;
}
inline void tile_release() {}
