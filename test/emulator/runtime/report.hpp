// Findings of a launch and their source lines.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace emu {
/// Thrown by fail() outside of CUDA threads, in calls of the host.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// An offset into the kernel's library; 0: none.
typedef uint32_t Position;
extern thread_local Position position;
/// The library of the current launch.
void set_code(const void* function);
/// The site of a return address.
Position position_of(const void* return_address);
/// `file:line < file:line`: the line, then the call sites that it was inlined into.
std::string where(Position);
/// Makes `where` of many quick: each time that lines are looked for takes long.
void find_lines(const std::vector<Position>&);
/// Whether the address is in the kernel's library (constants).
bool in_code(const void* address);

/// Records a finding; the kernel goes on until there are too many.
void report(const char* format, ...) __attribute__((format(printf, 1, 2)));
}  // namespace emu
