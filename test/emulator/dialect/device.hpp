// Force-included before CUDA text (`-include device.hpp`): the part of CUDA C++ that generated kernels use, implemented on the CPU.
// Kernels only call the functions of interface.hpp. The C++ library is not included, so kernels compile fast.
#pragma once
#define CUDA_EMULATION 1
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#pragma GCC diagnostic ignored "-Wunknown-pragmas"

#include "types.hpp"
#include "interface.hpp"
#include "kernel.hpp"
#include "warp.hpp"
#include "atomic.hpp"
#include "math.hpp"
#include "ptx.hpp"
