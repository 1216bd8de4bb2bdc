// The result of cuTensorMapEncodeTiled. The real layout of its 128 bytes is undocumented; this one is the emulator's.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu {
enum class Swizzle : uint8_t { None, B128, B64, B32 };
struct TensorMap {
  uint32_t mark;
  /// Element size in bytes.
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
/// `strides`: in bytes, of all axes but the innermost. Throws Failure where the hardware does not support it.
void encode_tensor_map(void* to, unsigned element, unsigned rank, void* base, const uint64_t* dims, const uint64_t* strides, const uint32_t* box, Swizzle);
/// Fails if it is no tensor map of this rank.
TensorMap tensor_map(const void* from, int rank);
/// The 128 (64, 32) byte swizzle: address bits 4.. are XORed with bits 7..
inline uint32_t swizzled(uint32_t address, Swizzle s) {
  const uint32_t mask = s == Swizzle::None ? 0 : s == Swizzle::B128 ? 7 : s == Swizzle::B64 ? 3 : 1;
  return address ^ (address >> 7 & mask) << 4;
}
inline unsigned span_of(Swizzle s) { return s == Swizzle::B128 ? 128 : s == Swizzle::B64 ? 64 : s == Swizzle::B32 ? 32 : 16; }
}  // namespace emu
