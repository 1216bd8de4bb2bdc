// Launches kernels; used by the driver.
#pragma once
#include <string>
#include <vector>

#include "../dialect/interface.hpp"

namespace emu {
/// Runs a kernel to completion and returns its findings; after a finding the results are undefined. Throws Failure if the launch
/// is invalid.
std::vector<std::string> launch(const Kernel&, dim3 grid, dim3 block, size_t dynamic, void** args, bool cooperative = false);
}  // namespace emu
