// Kernels: qualifiers, indices, barriers and shared memory.
#pragma once
#include "interface.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ _Pragma("GCC error \"shared memory is declared through SHARED or DYN_SMEM: the emulator checks its bounds\"")

#define threadIdx (::emu::self->tid)
#define blockIdx (::emu::self->bid)
#define blockDim (::emu::self->bdim)
#define gridDim (::emu::self->gdim)
static const int warpSize = 32;

#define __syncthreads() ::emu::barrier(0, 0, __LINE__)
#define __syncthreads_count(p) ::emu::barrier_reduce(::emu::Reduction::Count, (p) != 0, __LINE__)
#define __syncthreads_and(p) ::emu::barrier_reduce(::emu::Reduction::And, (p) != 0, __LINE__)
#define __syncthreads_or(p) ::emu::barrier_reduce(::emu::Reduction::Or, (p) != 0, __LINE__)
#define __threadfence() ::emu::thread_fence()
#define __threadfence_system() ::emu::thread_fence()
#define __threadfence_block() ((void)0) /* the checker asks for a barrier where threads of a block meet */
#define __nanosleep(n) ::emu::yield()
#define __trap() ::emu::fail("__trap() at line %d", __LINE__)

#define SHARED(T, name, dims)      \
  static char name##_key;          \
  typedef T name##_array dims;     \
  name##_array& name = *(name##_array*)::emu::shared_array(&name##_key, sizeof(name##_array), alignof(T))
#define DYN_SMEM(name) unsigned char* name = ::emu::dynamic_shared()
inline size_t __cvta_generic_to_shared(const void* p) { return emu::shared_address(p); }

#define KERNEL extern "C" __global__
/// After a kernel: registers it by name.
#define KERNEL_END(name) extern "C" __attribute__((visibility("default"))) const ::emu::Kernel emu_kernel_##name = ::emu::describe(#name, name);

namespace emu {
template <class T> struct Bare { typedef T type; };
template <class T> struct Bare<const T> { typedef T type; };
template <int... I> struct Indices {};
template <int N, int... I> struct Count : Count<N - 1, N - 1, I...> {};
template <int... I> struct Count<0, I...> { typedef Indices<I...> type; };

template <class... A, int... I> EMU_UNCHECKED inline void call_with(void (*f)(A...), void** args, Indices<I...>) { f(*(typename Bare<A>::type*)args[I]...); }
template <class... A> struct Signature {
  EMU_UNCHECKED static void call(void* function, void** args) { call_with((void (*)(A...))function, args, typename Count<sizeof...(A)>::type()); }
};
template <class... A> inline Kernel describe(const char* name, void (*f)(A...)) {
  static const unsigned sizes[] = {unsigned(sizeof(A))..., 0};
  return {name, (void*)f, Signature<A...>::call, sizes, int(sizeof...(A))};
}
}  // namespace emu
