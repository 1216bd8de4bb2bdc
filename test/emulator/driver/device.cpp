// Identical devices, and one context, on any of them.
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>

#include <dlfcn.h>

#include "../runtime/config.hpp"
#include "../runtime/memory.hpp"
#include "api.hpp"
#include "stream.hpp"

namespace emu::driver {
std::recursive_mutex lock;
bool initialized = false;
Result sticky = success;

/// Kernels have undefined symbols of the emulator: this library must have been loaded with RTLD_GLOBAL.
static void share_names() {
  Dl_info own;
  if (dladdr((void*)&share_names, &own)) dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}
static const std::map<int, const char*> names = {{success, "CUDA_SUCCESS"}, {invalid_value, "CUDA_ERROR_INVALID_VALUE"}, {out_of_memory, "CUDA_ERROR_OUT_OF_MEMORY"},
  {not_initialized, "CUDA_ERROR_NOT_INITIALIZED"}, {invalid_device, "CUDA_ERROR_INVALID_DEVICE"}, {invalid_image, "CUDA_ERROR_INVALID_IMAGE"},
  {invalid_context, "CUDA_ERROR_INVALID_CONTEXT"}, {invalid_handle, "CUDA_ERROR_INVALID_HANDLE"}, {not_found, "CUDA_ERROR_NOT_FOUND"}, {not_ready, "CUDA_ERROR_NOT_READY"},
  {launch_failed, "CUDA_ERROR_LAUNCH_FAILED"}, {not_supported, "CUDA_ERROR_NOT_SUPPORTED"}, {capture_unsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
  {capture_invalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
  {capture_unmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED"}, {capture_unjoined, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED"},
  {capture_isolation, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION"}, {captured_event, "CUDA_ERROR_CAPTURED_EVENT"}};
/// By CUdevice_attribute; others are 0.
static int attribute(int number) {
  const std::map<int, int> values = {{1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, {8, 49152}, {9, 65536}, {10, 32}, {11, 2147483647}, {12, 65536},
    {13, 1000000}, {16, config.multiprocessors}, {31, 1}, {36, 1000000}, {37, 64}, {38, 50 << 20}, {39, 2048}, {41, 1}, {75, config.architecture / 10},
    {76, config.architecture % 10}, {81, int(config.shared_limit) + 1024}, {82, 65536}, {95, 1}, {97, int(config.shared_limit)}, {106, 32}, {111, 1024}};
  const auto found = values.find(number);
  return found == values.end() ? 0 : found->second;
}
static char context;
static int device_of_context = 0;
int current_device() { return device_of_context; }
static thread_local void* current = nullptr;
bool has_context() { return current != nullptr; }
}  // namespace emu::driver
using namespace emu::driver;

API cuInit(unsigned) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (initialized) return success;
  try {
    if (const char* words = getenv("MOEC_EMULATOR")) emu::configure(words);
  } catch (const std::exception& error) {
    fprintf(stderr, "emulator: %s\n", error.what());
    return invalid_value;
  }
  share_names();
  initialized = true;
  return success;
}
API cuDriverGetVersion(int* version) { return *version = 13000, success; }
API cuGetErrorName(int result, const char** name) {
  const auto found = names.find(result);
  *name = found == names.end() ? nullptr : found->second;
  return *name ? success : invalid_value;
}
API cuGetErrorString(int result, const char** text) { return cuGetErrorName(result, text); }

API cuDeviceGetCount(int* n) {
  return guarded([&] { return *n = emu::config.devices, success; });
}
API cuDeviceGet(int* device, int number) {
  return guarded([&] { return *device = number, number >= 0 && number < emu::config.devices ? success : invalid_device; });
}
API cuDeviceGetName(char* name, int room, int) {
  return guarded([&] { return snprintf(name, size_t(room), "moec's emulator (sm_%d)", emu::config.architecture), success; });
}
API cuDeviceGetAttribute(int* value, int number, int) {
  return guarded([&] { return *value = attribute(number), success; });
}
API cuDeviceTotalMem_v2(size_t* bytes, int) {
  return guarded([&] { return *bytes = emu::config.memory, success; });
}
API cuDeviceGetUuid_v2(void* uuid, int device) {
  return guarded([&] { return memset(uuid, device, 16), success; });
}
API cuDeviceGetPCIBusId(char* text, int room, int device) {
  return guarded([&] { return snprintf(text, size_t(room), "0000:%02x:00.0", device), success; });
}
API cuDeviceCanAccessPeer(int* can, int, int) { return *can = 0, success; }

API cuDevicePrimaryCtxRetain(void** made, int device) {
  return guarded([&] { return device_of_context = device, *made = &context, success; });
}
API cuDevicePrimaryCtxRelease_v2(int) { return success; }
API cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return success; }
API cuDevicePrimaryCtxReset_v2(int) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  return sticky = success;
}
API cuCtxCreate_v2(void** made, unsigned, int) {
  return guarded([&] { return *made = current = &context, success; });
}
API cuCtxDestroy_v2(void*) { return success; }
API cuCtxSetCurrent(void* c) { return current = c, success; }
API cuCtxGetCurrent(void** c) { return *c = current, success; }
API cuCtxPushCurrent_v2(void* c) { return current = c, success; }
API cuCtxPopCurrent_v2(void** c) {
  if (c) *c = current;
  return current = nullptr, success;
}
API cuCtxGetDevice(int* device) { return *device = device_of_context, current ? success : invalid_context; }
API cuCtxSetLimit(int, size_t) { return success; }
API cuCtxGetStreamPriorityRange(int* least, int* greatest) { return *least = *greatest = 0, success; }
API cuCtxSynchronize() {
  return in_context([] { return finish_all(); });
}

/// The newest of `name`, `name_v2`, ...
API cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
  *function = nullptr;
  for (const char* suffix : {"_v3", "_v2", ""})
    if (!*function) *function = dlsym(RTLD_DEFAULT, (std::string(name) + suffix).c_str());
  if (status) *status = *function ? 0 : 1;
  return *function ? success : not_found;
}
