#include "tensor_map.hpp"

#include <cstring>

#include "../dialect/interface.hpp"

namespace emu {
static constexpr uint32_t mark = 0x7a3a9b01;
static_assert(sizeof(TensorMap) <= 128, "it must fit into a CUtensorMap");

static void check_axis(const TensorMap& m, unsigned d) {
  if (m.dim[d] == 0 || m.box[d] == 0 || m.box[d] > 256) fail("tensor map: axis %u has %u elements and a box of %u", d, m.dim[d], m.box[d]);
  if (d > 0 && (m.stride[d] % 16 || m.stride[d] >= 1ull << 40)) fail("tensor map: the stride %llu of axis %u is no multiple of 16", (unsigned long long)m.stride[d], d);
}
void encode_tensor_map(void* to, unsigned element, unsigned rank, void* base, const uint64_t* dims, const uint64_t* strides, const uint32_t* box, Swizzle swizzle) {
  if (rank < 1 || rank > 5) fail("tensor map: rank %u", rank);
  if (uintptr_t(base) % 16) fail("tensor map: the address %p is no multiple of 16", base);
  TensorMap m{mark, uint8_t(element), uint8_t(rank), swizzle, {}, {}, {element}, (char*)base};
  for (unsigned d = 0; d < rank; d++) {
    m.dim[d] = uint32_t(dims[d]);
    m.box[d] = box[d];
    if (d > 0) m.stride[d] = strides[d - 1];
    check_axis(m, d);
  }
  const unsigned inner = box[0] * element;
  if (inner % 16 || (swizzle != Swizzle::None && inner > span_of(swizzle))) fail("tensor map: rows of %u bytes do not fit the swizzle", inner);
  memset(to, 0, 128);
  memcpy(to, &m, sizeof m);
}
TensorMap tensor_map(const void* from, int rank) {
  TensorMap m;
  memcpy(&m, from, sizeof m);
  if (m.mark != mark || m.rank != rank) fail("no tensor map of rank %d", rank);
  return m;
}
}  // namespace emu
