// Shared by the functions of libcuda: result codes, the lock, and the sticky error of a failed kernel.
#pragma once
#include <cstdio>
#include <mutex>
#include <new>

#include "../dialect/interface.hpp"
#include "../runtime/report.hpp"

namespace emu::driver {
/// Values of CUresult.
enum Result {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  not_initialized = 3,
  invalid_device = 101,
  invalid_image = 200,
  invalid_context = 201,
  invalid_handle = 400,
  not_found = 500,
  not_ready = 600,
  launch_failed = 719,
  not_supported = 801,
  capture_unsupported = 900,
  capture_invalidated = 901,
  capture_unmatched = 903,
  capture_unjoined = 904,
  capture_isolation = 905,
  captured_event = 907,
};
extern std::recursive_mutex lock;
extern bool initialized;
/// Set by a failed kernel: as on a GPU, all later calls in this context fail.
extern Result sticky;

/// Runs the body of an API function under the lock; exceptions become result codes.
template <class F> Result guarded(F body) {
  std::lock_guard<std::recursive_mutex> hold(lock);
  if (!initialized) return not_initialized;
  if (sticky != success) return sticky;
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return out_of_memory;
  } catch (const Failure& failure) {
    fprintf(stderr, "emulator: %s\n", failure.what());
    return invalid_value;
  }
}
/// The same for a function that needs a current context.
bool has_context();
template <class F> Result in_context(F body) {
  return guarded([&] { return has_context() ? body() : invalid_context; });
}
}  // namespace emu::driver
#define API extern "C" __attribute__((visibility("default"))) ::emu::driver::Result
typedef unsigned long long CUdeviceptr;
