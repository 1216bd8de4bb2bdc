// For `CXX`: kernels with emulated tiles, which the addon takes for what this CPU has.
extern "C" const char moec_needs[] = "avx512f avx512vl avx512bw avx512dq";
#define moec_needs moec_needs_with_tiles
#include "tiles.hpp"
