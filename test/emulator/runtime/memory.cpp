#include "memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "config.hpp"
#include "report.hpp"

namespace emu {

static constexpr size_t page = 4096, alignment = 256;
static std::vector<Region> regions;  // by address
static size_t allocated = 0;

static char* reserve(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return (char*)p;
}
static auto after(uintptr_t address) {
  return std::upper_bound(regions.begin(), regions.end(), address, [](uintptr_t a, const Region& r) { return a < r.low; });
}
void* device_alloc(size_t bytes, bool host) {
  static int count = 0;
  const size_t room = (bytes + alignment - 1) / alignment * alignment, body = (room + page - 1) / page * page;
  char* map = reserve(body + 2 * page);
  mprotect(map, page, PROT_NONE);
  mprotect(map + page + body, page, PROT_NONE);
  memset(map + page, 0xff, body);
  const uintptr_t low = uintptr_t(map + page + body - room);
  auto* shadow = host ? nullptr : (check::Cell*)reserve(std::max<size_t>(bytes, 1) * sizeof(check::Cell));
  regions.insert(after(low), {low, low + bytes, map, body + 2 * page, shadow, count++, host});
  if (!host) allocated += bytes;
  return (void*)low;
}
bool device_free(void* p) {
  for (auto r = regions.begin(); r != regions.end(); ++r) {
    if (r->low != uintptr_t(p)) continue;
    munmap(r->map, r->map_bytes);
    if (r->shadow) munmap(r->shadow, std::max<size_t>(r->high - r->low, 1) * sizeof(check::Cell));
    if (!r->host) allocated -= r->high - r->low;
    regions.erase(r);
    return true;
  }
  return false;
}
size_t device_bytes() { return allocated; }
Region* region_of(const void* p, size_t bytes) {
  static thread_local size_t last = 0;
  const uintptr_t a = uintptr_t(p);
  auto holds = [&](const Region& r) { return a >= r.low && a + bytes <= r.high; };
  if (last < regions.size() && holds(regions[last])) return &regions[last];
  auto r = after(a);
  if (r == regions.begin() || !holds(*--r)) return nullptr;
  last = size_t(r - regions.begin());
  return &*r;
}
Region* region_near(const void* p) {
  for (Region& r : regions)
    if (uintptr_t(p) - uintptr_t(r.map) < r.map_bytes) return &r;
  return nullptr;
}
void require_device(const void* p, size_t bytes, const char* what) {
  if (bytes > 0 && !region_of(p, bytes)) fail("%s: %zu bytes at %p are not device memory", what, bytes, p);
}
void host_wrote(const void* p, size_t bytes) {
  require_device(p, bytes, "a copy by the host");
  if (!config.check || bytes == 0) return;
  Region& r = *region_of(p, bytes);
  if (r.shadow) check::mark_written(r.shadow + (uintptr_t(p) - r.low), bytes);
}

static constexpr uint32_t gap = 64;
static constexpr char gap_byte = char(0xa5);
static void fill_gap(Block& b, uint32_t at) { memset(b.arena + at, gap_byte, gap); }
void begin_shared(Block& b, size_t dynamic) {
  if (!b.arena) {
    char* p = reserve(size_t(arena_bytes) * 2);
    b.arena = (char*)((uintptr_t(p) + arena_bytes - 1) / arena_bytes * arena_bytes);
  }
  b.arrays.clear();
  b.top = shared_base + uint32_t(dynamic);
  memset(b.arena + shared_base, 0xff, dynamic);
  fill_gap(b, b.top);
  if (config.check) b.shadow.resize(arena_bytes);
}
void* shared_array(const void* key, size_t bytes, size_t align) {
  Block& b = *me().block;
  for (const SharedArray& a : b.arrays)
    if (a.key == key) return b.arena + a.offset;
  align = std::max<size_t>(align, 16);
  const uint32_t at = uint32_t((b.top + gap + align - 1) / align * align);
  if (at + bytes - shared_base > config.shared_limit) fail("the block needs more than %zu bytes of shared memory", config.shared_limit);
  memset(b.arena + at, 0xff, bytes);
  b.top = at + uint32_t(bytes);
  b.arrays.push_back({key, at, uint32_t(bytes)});
  fill_gap(b, at - gap);
  fill_gap(b, b.top);
  return b.arena + at;
}
static void check_gap(const Block& b, uint32_t at) {
  for (uint32_t i = at; i < at + gap; i++)
    if (b.arena[i] != gap_byte) return report("something wrote outside the shared arrays, at the shared address %u", i);
}
void check_gaps(const Block& b) {
  for (const SharedArray& a : b.arrays) check_gap(b, a.offset - gap);
  check_gap(b, b.top);
}
unsigned char* dynamic_shared() { return (unsigned char*)me().block->arena + shared_base; }
size_t shared_address(const void* p) {
  const size_t offset = shared_offset(*me().block, p);
  if (offset >= arena_bytes) fail("__cvta_generic_to_shared of an address outside shared memory");
  return offset;
}

char* shared_at(Thread& t, uint32_t address, size_t bytes, size_t align, const char* what) {
  if (address % align) fail("%s: the shared address %u is not a multiple of %zu, at %s", what, address, align, where(position).c_str());
  if (address < shared_base || address + bytes > t.block->top)
    fail("%s: %zu bytes at the shared address %u are outside what the block has, at %s", what, bytes, address, where(position).c_str());
  return t.block->arena + address;
}
char* global_at(const void* p, size_t bytes, size_t align, const char* what) {
  if (uintptr_t(p) % align) fail("%s: the address %p is not a multiple of %zu, at %s", what, p, align, where(position).c_str());
  if (bytes > 0 && !region_of(p, bytes)) {
    if (const Region* r = region_near(p))
      fail("%s: %zu bytes outside buffer #%d of %zu bytes, at offset %ld, at %s", what, bytes, r->number, size_t(r->high - r->low), long(uintptr_t(p) - r->low), where(position).c_str());
    fail("%s: %zu bytes at %p are not device memory, at %s", what, bytes, p, where(position).c_str());
  }
  return (char*)p;
}
}  // namespace emu
