// Device memory and a block's shared memory.
#pragma once
#include <cstddef>
#include <cstdint>

#include "block.hpp"

namespace emu {
/// An allocation, [low, high), between guard pages. `host`: pinned host memory.
struct Region {
  uintptr_t low, high;
  char* map;
  size_t map_bytes;
  check::Cell* shadow;
  int number;
  bool host;
};
/// Aligned to 256 bytes; all bits are set (NaN, -1). Throws std::bad_alloc.
void* device_alloc(size_t bytes, bool host = false);
/// False if the address is not one that device_alloc returned.
bool device_free(void*);
size_t device_bytes();
/// Null if the bytes are not all in one region.
Region* region_of(const void*, size_t bytes = 1);
/// The region whose guard pages the address is in.
Region* region_near(const void*);
/// Marks bytes as written by the host. Throws Failure outside of device memory.
void host_wrote(const void*, size_t bytes);
void require_device(const void*, size_t bytes, const char* what);

/// A shared address is an offset into the block's arena; the first is `shared_base`.
constexpr uint32_t arena_bytes = 256 << 10, shared_base = 1024;
void begin_shared(Block&, size_t dynamic);
/// The offset in the block's arena; larger than the arena if the pointer is not in it.
inline size_t shared_offset(const Block& b, const void* p) { return size_t((const char*)p - b.arena); }
/// Accesses that the emulator makes for an instruction. Fail outside of allocations and if misaligned.
char* shared_at(Thread&, uint32_t address, size_t bytes, size_t align, const char* what);
char* global_at(const void*, size_t bytes, size_t align, const char* what);
/// Whether bytes between the shared arrays were written.
void check_gaps(const Block&);
}  // namespace emu
