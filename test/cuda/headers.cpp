// Compares what runtime/native says of the driver with NVIDIA's own header: numbers and layouts when compiled, functions by a line for each that differs.
#include <cuda.h>

#include <cstddef>
#include <cstdio>
#include <type_traits>

#include "../../runtime/native/cuda/driver.hpp"

using namespace moec::cuda;

/// Passed in the same way. An address of the device is an integer there, and may be a pointer here.
template <class A, class B>
constexpr bool alike = sizeof(A) == sizeof(B) && std::is_floating_point_v<A> == std::is_floating_point_v<B>;
template <class F, class G>
struct Same : std::false_type {};
template <class... A, class... B>
struct Same<Result (*)(A...), CUresult (*)(B...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(A) != sizeof...(B)) return false;
    else return (alike<A, B> && ...);
  }
  static constexpr bool value = compare();
};

#define AT(mine, theirs) static_assert(offsetof(Copy2D, mine) == offsetof(CUDA_MEMCPY2D, theirs))
static_assert(sizeof(Copy2D) == sizeof(CUDA_MEMCPY2D));
AT(from.x, srcXInBytes);
AT(from.y, srcY);
AT(from.type, srcMemoryType);
AT(from.host, srcHost);
AT(from.address, srcDevice);
AT(from.array, srcArray);
AT(from.pitch, srcPitch);
AT(to.x, dstXInBytes);
AT(to.y, dstY);
AT(to.type, dstMemoryType);
AT(to.host, dstHost);
AT(to.address, dstDevice);
AT(to.array, dstArray);
AT(to.pitch, dstPitch);
AT(width, WidthInBytes);
AT(height, Height);
static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));

static_assert(Copy2D::Place{}.type == CU_MEMORYTYPE_UNIFIED);
static_assert(max_pitch == int(CU_DEVICE_ATTRIBUTE_MAX_PITCH));
static_assert(multiprocessors == int(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
static_assert(major == int(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
static_assert(minor == int(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
static_assert(out_of_memory == CUDA_ERROR_OUT_OF_MEMORY && not_ready == CUDA_ERROR_NOT_READY);
static_assert(out_of_resources == CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
static_assert(non_blocking == CU_STREAM_NON_BLOCKING && this_thread == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(most_dynamic_shared == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(bf16 == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 && swizzle_128 == CU_TENSOR_MAP_SWIZZLE_128B);
static_assert(promotion_256 == CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
static_assert(CU_TENSOR_MAP_INTERLEAVE_NONE == 0 && CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE == 0);

int main() {
#define F(name, ...)                                                                          \
  {                                                                                           \
    typedef Result (*Mine)(__VA_ARGS__);                                                      \
    if constexpr (!Same<Mine, decltype(&::name)>::value) std::puts(#name " is another in cuda.h"); \
  }
  MOEC_CUDA_FUNCTIONS(F)
}
