// NVIDIA's driver API, loaded at run time by dlopen: building needs no headers or libraries of CUDA.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../shared_library.hpp"

namespace moec::cuda {

using Result = int;
using Address = uint64_t;
/// A handle of a context, module, function, stream, event or graph.
using Handle = void*;

/// CUDA_MEMCPY2D of cuda.h: copies `height` rows of `width` bytes. Addresses are unified: of the device or of the host.
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

/// Every function that is called, with the parameters that cuda.h declares; test/cuda/headers.cpp compares them.
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
  F(cuStreamWaitEvent, Handle, Handle, unsigned)                                                                     \
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

/// Values of CUdevice_attribute.
enum Attribute { max_pitch = 11, multiprocessors = 16, major = 75, minor = 76 };
/// Constants for streams, events and capture, for functions, and for tensor maps.
constexpr unsigned non_blocking = 1, disable_timing = 2;
constexpr int this_thread = 1, most_dynamic_shared = 8, bf16 = 9, swizzle_128 = 3, promotion_256 = 3;

/// `uuid`: 32 hexadecimal digits, which identify a GPU across processes that see different lists.
struct Device {
  std::string name, uuid;
  int major, minor, multiprocessors;
  size_t bytes;
};

class Driver {
 public:
  /// Loads the library at `path` (or of that name for the loader) and initialises it; it stays loaded. Throws Failure, also if there is no device.
  static const Driver& load(const std::string& path);

#define F(name, ...) Result (*name)(__VA_ARGS__) = nullptr;
  MOEC_CUDA_FUNCTIONS(F)
#undef F

  /// The path that it was found at.
  std::string path;
  /// 12040 means 12.4.
  int version = 0;

  std::vector<Device> devices() const;
  int attribute(Attribute which, int device) const;
  /// Throws Failure with the driver's name of an error if a call returned one; `what` says what was called.
  void check(Result result, const std::string& what) const;

 private:
  explicit Driver(const std::string& path);
};

constexpr Result out_of_memory = 2, not_ready = 600, out_of_resources = 701;

}  // namespace moec::cuda
