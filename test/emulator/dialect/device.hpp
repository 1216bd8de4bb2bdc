// Force-included before CUDA text (`-include device.hpp`): the words of CUDA C++ that generated kernels use, given a meaning on the CPU.
// Kernels need of the emulator only the functions in interface.hpp. Nothing here includes the C++ library, so a kernel parses fast.
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
