// Allocations and copies.
#include <cstring>

#include "../checker/shadow.hpp"
#include "../runtime/config.hpp"
#include "../runtime/memory.hpp"
#include "stream.hpp"

namespace emu::driver {
static size_t free_bytes() {
  const size_t used = config.taken + device_bytes();
  return used < config.memory ? config.memory - used : 0;
}
static bool pinned(const void* p) {
  const Region* r = region_of(p);
  return r && r->host;
}
static void to_device(CUdeviceptr to, const void* from, size_t n) {
  require_device((void*)to, n, "a copy to the device");
  memcpy((void*)to, from, n);
  host_wrote((void*)to, n);
}
static void to_host(void* to, CUdeviceptr from, size_t n) {
  require_device((void*)from, n, "a copy from the device");
  memcpy(to, (void*)from, n);
}
/// Copies keep the initialised state of each byte.
static void on_device(CUdeviceptr to, CUdeviceptr from, size_t n) {
  require_device((void*)to, n, "a copy on the device");
  require_device((void*)from, n, "a copy on the device");
  memmove((void*)to, (void*)from, n);
  if (!config.check || n == 0) return;
  const Region *t = region_of((void*)to, n), *f = region_of((void*)from, n);
  for (size_t i = 0; i < n && t->shadow; i++)
    if (!f->shadow || f->shadow[from - f->low + i].flags & check::Initialised) t->shadow[to - t->low + i].flags |= check::Initialised;
}
static bool on_gpu(CUdeviceptr p, size_t n) {
  const Region* r = region_of((void*)p, n);
  return r && !r->host;
}
static void anywhere(CUdeviceptr to, CUdeviceptr from, size_t n) {
  if (on_gpu(to, n) && on_gpu(from, n)) on_device(to, from, n);
  else if (on_gpu(to, n)) to_device(to, (void*)from, n);
  else if (on_gpu(from, n)) to_host((void*)to, from, n);
  else fail("a copy of %zu bytes from %p to %p, neither on the device", n, (void*)from, (void*)to);
}
template <class F> static Result copy_async(CUdeviceptr to, CUdeviceptr from, size_t n, Stream& stream, F work) {
  const bool may_wait = (on_gpu(to, n) || pinned((void*)to)) && (on_gpu(from, n) || pinned((void*)from));
  if (!may_wait && stream.capture) return spoils_capture(), capture_unsupported;
  const Result asked = enqueue(stream, work);
  return asked == success && !may_wait ? finish(stream) : asked;
}
/// CUDA_MEMCPY2D.
struct Copy2D {
  struct Place {
    size_t x, y;
    unsigned type;  // 1 host, 2 device, 4 either
    void* host;
    CUdeviceptr address;
    void* array;
    size_t pitch;
    CUdeviceptr start() const { return (type == 1 ? CUdeviceptr(host) : address) + y * pitch + x; }
  } from, to;
  size_t width, height;
};
static void fill(CUdeviceptr to, unsigned value, size_t size, size_t n) {
  require_device((void*)to, n * size, "a fill");
  for (size_t i = 0; i < n; i++) memcpy((char*)to + i * size, &value, size);
  host_wrote((void*)to, n * size);
}
/// Synchronous operations.
template <class F> static Result at_once(F work) {
  return in_context([&] {
    if (spoils_capture()) return capture_unsupported;
    const Result before = finish_default();
    if (before == success) work();
    return before;
  });
}
template <class F> static Result in_stream(void* stream, F work) {
  return in_context([&] { return enqueue(stream_of(stream), work); });
}
}  // namespace emu::driver
using namespace emu::driver;

API cuMemAlloc_v2(CUdeviceptr* p, size_t bytes) {
  return in_context([&] {
    if (spoils_capture()) return capture_unsupported;
    if (bytes == 0) return invalid_value;
    if (bytes > free_bytes()) return out_of_memory;
    return *p = CUdeviceptr(emu::device_alloc(bytes)), success;
  });
}
API cuMemFree_v2(CUdeviceptr p) {
  return in_context([&] {
    const Result before = finish_all();
    if (before != success) return before;
    return p == 0 || emu::device_free((void*)p) ? success : invalid_value;
  });
}
API cuMemGetInfo_v2(size_t* available, size_t* total) {
  return in_context([&] { return *total = emu::config.memory, *available = free_bytes(), success; });
}
API cuMemHostAlloc(void** p, size_t bytes, unsigned) {
  return in_context([&] {
    if (spoils_capture()) return capture_unsupported;
    return *p = emu::device_alloc(bytes, true), success;
  });
}
API cuMemAllocHost_v2(void** p, size_t bytes) { return cuMemHostAlloc(p, bytes, 0); }
API cuMemFreeHost(void* p) {
  return in_context([&] { return finish_all(), emu::device_free(p) ? success : invalid_value; });
}
API cuMemHostGetDevicePointer_v2(CUdeviceptr* p, void* host, unsigned) {
  return in_context([&] { return *p = CUdeviceptr(host), pinned(host) ? success : invalid_value; });
}
/// Host memory that was not allocated by the driver is pageable: its copies are not deferred.
API cuMemHostRegister_v2(void*, size_t, unsigned) { return success; }
API cuMemHostUnregister(void*) { return success; }

API cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t n) {
  return at_once([=] { to_device(to, from, n); });
}
API cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t n) {
  return at_once([=] { to_host(to, from, n); });
}
API cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) {
  return at_once([=] { on_device(to, from, n); });
}
/// Pageable memory is read before the call returns, pinned memory later.
API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t n, void* stream) {
  if (pinned(from)) return in_stream(stream, [=] { to_device(to, from, n); });
  return in_stream(stream, [=, kept = std::vector<char>((const char*)from, (const char*)from + n)] { to_device(to, kept.data(), n); });
}
/// A copy to pageable memory is complete when the call returns.
API cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t n, void* stream) {
  const Result asked = in_stream(stream, [=] { to_host(to, from, n); });
  if (asked != success || pinned(to)) return asked;
  return in_context([&] { return stream_of(stream).capture ? success : finish(stream_of(stream)); });
}
API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, void* stream) {
  return in_stream(stream, [=] { on_device(to, from, n); });
}
/// The direction follows from the addresses. Pageable memory is copied before the call returns.
API cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t n, void* stream) {
  return in_context([&] { return copy_async(to, from, n, stream_of(stream), [=] { anywhere(to, from, n); }); });
}
API cuMemcpy2DAsync_v2(const Copy2D* asked, void* stream) {
  return in_context([&, c = *asked] {
    if (c.to.x + c.width > c.to.pitch || c.from.x + c.width > c.from.pitch) return invalid_value;
    const CUdeviceptr to = c.to.start(), from = c.from.start();
    return copy_async(to, from, c.width, stream_of(stream), [=] {
      for (size_t row = 0; row < c.height; row++) anywhere(to + row * c.to.pitch, from + row * c.from.pitch, c.width);
    });
  });
}
API cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t n) {
  return at_once([=] { fill(to, value, 1, n); });
}
API cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t n) {
  return at_once([=] { fill(to, value, 2, n); });
}
API cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t n) {
  return at_once([=] { fill(to, value, 4, n); });
}
API cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, void* stream) {
  return in_stream(stream, [=] { fill(to, value, 1, n); });
}
API cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t n, void* stream) {
  return in_stream(stream, [=] { fill(to, value, 2, n); });
}
API cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, void* stream) {
  return in_stream(stream, [=] { fill(to, value, 4, n); });
}
