// What cuTensorMapEncodeTiled makes. The layout of its 128 bytes is the driver's secret, so ours is our own.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu {
enum class Swizzle : uint8_t { None, B128, B64, B32 };
struct TensorMap {
  uint32_t mark;
  /// Bytes of an element.
  uint8_t element, rank;
  Swizzle swizzle;
  uint32_t dim[5], box[5];
  uint64_t stride[5];
  char* base;

  size_t box_bytes() const {
    size_t bytes = element;
    for (int d = 0; d < rank; d++) bytes *= box[d];
    return bytes;
  }
};
/// `strides`: bytes, of all axes but the innermost. Throws Failure where the hardware could not.
void encode_tensor_map(void* to, unsigned element, unsigned rank, void* base, const uint64_t* dims, const uint64_t* strides, const uint32_t* box, Swizzle);
/// Fails where there is none of this rank.
TensorMap tensor_map(const void* from, int rank);
/// Chunks of 16 bytes change places within rows of 128 (64, 32) bytes: the address's bits 4.. are xored with its bits 7..
inline uint32_t swizzled(uint32_t address, Swizzle s) {
  const uint32_t mask = s == Swizzle::None ? 0 : s == Swizzle::B128 ? 7 : s == Swizzle::B64 ? 3 : 1;
  return address ^ (address >> 7 & mask) << 4;
}
inline unsigned span_of(Swizzle s) { return s == Swizzle::B128 ? 128 : s == Swizzle::B64 ? 64 : s == Swizzle::B32 ? 32 : 16; }
}  // namespace emu
