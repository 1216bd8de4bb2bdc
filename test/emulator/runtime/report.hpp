// What went wrong in a launch, and where in its source.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace emu {
/// Thrown by fail() where no CUDA thread runs: by the host's calls.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// A place in the kernel's library, counted from its start; 0 is none.
typedef uint32_t Position;
extern thread_local Position position;
/// The library that the launch now running comes from.
void set_code(const void* function);
/// Of the address to which a function returns.
Position position_of(const void* return_address);
/// `file:line < file:line`: the line, then those that it was inlined into.
std::string where(Position);
/// Whether the address belongs to the kernel's library: its constants.
bool in_code(const void* address);

/// A finding that the kernel can go on after; many end the launch.
void report(const char* format, ...) __attribute__((format(printf, 1, 2)));
}  // namespace emu
