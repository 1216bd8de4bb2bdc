// What the host does with kernels: the emulator's side of a driver.
#pragma once
#include <string>
#include <vector>

#include "../dialect/interface.hpp"

namespace emu {
/// Runs the kernel to its end. Gives what was found wrong; after a finding the results mean nothing. Throws Failure where the launch
/// itself is not possible.
std::vector<std::string> launch(const Kernel&, dim3 grid, dim3 block, size_t dynamic, void** args, bool cooperative = false);
}  // namespace emu
