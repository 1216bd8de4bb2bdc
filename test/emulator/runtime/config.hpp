// How the emulator runs kernels. MOEC_EMULATOR holds words: `check order=random seed=2 lazy threads=2 count=FILE`.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace emu {
enum class Order { Forward, Reverse, Random };
struct Config {
  /// In which order threads that could run do, and blocks begin.
  Order order = Order::Forward;
  uint64_t seed = 1;
  /// Asynchronous copies and products happen as late as they may; else at once. So do a stream's operations.
  bool lazy = false;
  /// Bounds, initialisation and races. The kernels must be compiled for it (`instrumented` in build.ts).
  bool check = false;
  /// Bank conflicts, sectors, divergence; likewise. A line of JSON a launch is added to `counts`, where that is not empty.
  bool count = false;
  std::string counts;
  /// Threads of the system that share the blocks; one where anything is checked or counted.
  int threads = 1;
  /// Blocks that run at the same time on each.
  int resident = 1;
  /// Bytes that a block may have: 227 KiB is sm_90.
  size_t shared_limit = 232448;
  /// Findings after which a launch is given up.
  size_t patience = 8;
  /// What the stand-in driver says of its devices, which are alike: how many, `sm_90` as 90, multiprocessors, bytes of memory, and how many of them
  /// others use.
  int devices = 1, architecture = 90, multiprocessors = 4;
  size_t memory = size_t(16) << 30, taken = 0;
  /// Seconds in which a worker hears nothing of another that it waits for, until it gives up.
  double wait = 120;
};
extern Config config;
/// Throws std::invalid_argument at a word that it does not know.
void configure(const char* words);
}  // namespace emu
