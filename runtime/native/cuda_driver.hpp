// NVIDIA's driver, loaded when first asked for: building needs no header or library of CUDA.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace moec::cuda {

using Result = int;
using Address = uint64_t;
/// A context, module, function, stream, event or graph.
using Handle = void*;

/// CUDA_MEMCPY2D of cuda.h: `height` rows of `width` bytes. A place is an address on the device or of the host, whichever it is.
struct Copy2D {
  struct Place {
    size_t x = 0, y = 0;
    unsigned type = 4;  // CU_MEMORYTYPE_UNIFIED
    void* host = nullptr;
    Address address = 0;
    Handle array = nullptr;
    size_t pitch = 0;
  };
  Place from, to;
  size_t width = 0, height = 0;
};
/// CUtensorMap.
struct alignas(128) TensorMap {
  char opaque[128];
};

/// All that is called, as cuda.h declares it: test/cuda/headers.cpp compares both.
#define MOEC_CUDA_FUNCTIONS(F)                                                                                       \
  F(cuInit, unsigned)                                                                                                \
  F(cuDriverGetVersion, int*)                                                                                        \
  F(cuGetErrorName, Result, const char**)                                                                            \
  F(cuGetErrorString, Result, const char**)                                                                          \
  F(cuDeviceGetCount, int*)                                                                                          \
  F(cuDeviceGet, int*, int)                                                                                          \
  F(cuDeviceGetName, char*, int, int)                                                                                \
  F(cuDeviceGetUuid_v2, char*, int)                                                                                  \
  F(cuDeviceTotalMem_v2, size_t*, int)                                                                               \
  F(cuDeviceGetAttribute, int*, int, int)                                                                            \
  F(cuDevicePrimaryCtxRetain, Handle*, int)                                                                          \
  F(cuDevicePrimaryCtxRelease_v2, int)                                                                               \
  F(cuCtxSetCurrent, Handle)                                                                                         \
  F(cuMemGetInfo_v2, size_t*, size_t*)                                                                               \
  F(cuMemAlloc_v2, Address*, size_t)                                                                                 \
  F(cuMemFree_v2, Address)                                                                                           \
  F(cuMemHostAlloc, void**, size_t, unsigned)                                                                        \
  F(cuMemFreeHost, void*)                                                                                            \
  F(cuMemcpyAsync, Address, Address, size_t, Handle)                                                                 \
  F(cuMemcpy2DAsync_v2, const Copy2D*, Handle)                                                                       \
  F(cuMemsetD8Async, Address, unsigned char, size_t, Handle)                                                         \
  F(cuModuleLoadData, Handle*, const void*)                                                                          \
  F(cuModuleUnload, Handle)                                                                                          \
  F(cuModuleGetFunction, Handle*, Handle, const char*)                                                               \
  F(cuFuncSetAttribute, Handle, int, int)                                                                            \
  F(cuOccupancyMaxActiveBlocksPerMultiprocessor, int*, Handle, int, size_t)                                          \
  F(cuStreamCreate, Handle*, unsigned)                                                                               \
  F(cuStreamDestroy_v2, Handle)                                                                                      \
  F(cuStreamSynchronize, Handle)                                                                                     \
  F(cuStreamQuery, Handle)                                                                                           \
  F(cuStreamBeginCapture_v2, Handle, int)                                                                            \
  F(cuStreamEndCapture, Handle, Handle*)                                                                             \
  F(cuGraphInstantiateWithFlags, Handle*, Handle, unsigned long long)                                                \
  F(cuGraphLaunch, Handle, Handle)                                                                                   \
  F(cuGraphDestroy, Handle)                                                                                          \
  F(cuGraphExecDestroy, Handle)                                                                                      \
  F(cuLaunchKernel, Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**, void**) \
  F(cuEventCreate, Handle*, unsigned)                                                                                \
  F(cuEventRecord, Handle, Handle)                                                                                   \
  F(cuEventSynchronize, Handle)                                                                                      \
  F(cuEventElapsedTime, float*, Handle, Handle)                                                                      \
  F(cuEventDestroy_v2, Handle)                                                                                       \
  F(cuTensorMapEncodeTiled, void*, int, unsigned, Address, const uint64_t*, const uint64_t*, const uint32_t*, const uint32_t*, int, int, int, int)

/// CUdevice_attribute
enum Attribute { max_pitch = 11, multiprocessors = 16, major = 75, minor = 76 };
/// Of streams and their capture, of functions, of tensor maps.
constexpr unsigned non_blocking = 1;
constexpr int this_thread = 1, most_dynamic_shared = 8, bf16 = 9, swizzle_128 = 3, promotion_256 = 3;

/// `uuid`: 32 hexadecimal digits, by which processes that see other devices know the same one.
struct Device {
  std::string name, uuid;
  int major, minor, multiprocessors;
  size_t bytes;
};

class Driver {
 public:
  /// The library at `path`, or of that name; once loaded it stays. Throws what `Failure` says, also where it finds no device.
  static const Driver& load(const std::string& path);

#define F(name, ...) Result (*name)(__VA_ARGS__) = nullptr;
  MOEC_CUDA_FUNCTIONS(F)
#undef F

  /// Where it was found.
  std::string path;
  /// 12040 is 12.4.
  int version = 0;

  std::vector<Device> devices() const;
  int attribute(Attribute which, int device) const;
  /// Throws Failure unless a call went well.
  void check(Result result, const std::string& what) const;

 private:
  explicit Driver(const std::string& path);
};

/// The message is `CODE: text`. CODE is the driver's name of an error, or NO_DRIVER, OLD_DRIVER, ENDLESS_KERNEL.
class Failure : public std::runtime_error {
 public:
  Failure(const std::string& code, const std::string& text) : runtime_error(code + ": " + text) {}
};
constexpr Result out_of_memory = 2, not_ready = 600, out_of_resources = 701;

}  // namespace moec::cuda
