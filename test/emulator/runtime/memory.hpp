// Device memory and a block's shared memory.
#pragma once
#include <cstddef>
#include <cstdint>

#include "block.hpp"

namespace emu {
/// What an allocation gave: [low, high). It lies between pages that nobody may touch. `host`: pinned memory of the host.
struct Region {
  uintptr_t low, high;
  char* map;
  size_t map_bytes;
  check::Cell* shadow;
  int number;
  bool host;
};
/// Aligned to 256 bytes and filled with ones: NaN, -1. Throws std::bad_alloc.
void* device_alloc(size_t bytes, bool host = false);
/// False for an address that device_alloc did not give.
bool device_free(void*);
size_t device_bytes();
/// Null where the bytes are not all in one region.
Region* region_of(const void*, size_t bytes = 1);
/// The region whose guard pages the address is in.
Region* region_near(const void*);
/// The host wrote these bytes. Throws Failure outside device memory.
void host_wrote(const void*, size_t bytes);
void require_device(const void*, size_t bytes, const char* what);

/// Offsets into a block's arena are its shared addresses; none is below `shared_base`.
constexpr uint32_t arena_bytes = 256 << 10, shared_base = 1024;
void begin_shared(Block&, size_t dynamic);
/// The offset in the block's arena, or something larger.
inline size_t shared_offset(const Block& b, const void* p) { return size_t((const char*)p - b.arena); }
/// For accesses that the emulator itself makes. Fail outside what is allocated, and where not aligned.
char* shared_at(Thread&, uint32_t address, size_t bytes, size_t align, const char* what);
char* global_at(const void*, size_t bytes, size_t align, const char* what);
/// Whether bytes between the shared arrays were written.
void check_gaps(const Block&);
}  // namespace emu
