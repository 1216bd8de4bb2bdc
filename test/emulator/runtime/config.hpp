// How the emulator runs kernels. MOEC_EMULATOR holds words: `check order=random seed=2 lazy threads=2 count=FILE`.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace emu {
enum class Order { Forward, Reverse, Random };
struct Config {
  /// The order in which ready threads run and blocks start.
  Order order = Order::Forward;
  uint64_t seed = 1;
  /// Asynchronous copies, wgmma and stream operations complete as late as allowed; else immediately.
  bool lazy = false;
  /// With `lazy`: but that what streams beside the first are asked for completes as early as allowed.
  bool ahead = false;
  /// Checks bounds, initialisation and races. Kernels must be instrumented (`instrumented` in build.ts).
  bool check = false;
  /// Counts bank conflicts, sectors and divergence, also instrumented. Appends one line of JSON per launch to the file `counts`, if given.
  bool count = false;
  std::string counts;
  /// Worker threads that run the blocks; 1 if anything is checked or counted.
  int threads = 1;
  /// Resident blocks per worker thread.
  int resident = 1;
  /// The most shared memory of a block: 227 KiB on sm_90.
  size_t shared_limit = 232448;
  /// The number of findings after which a launch is aborted.
  size_t patience = 8;
  /// Attributes that the driver reports, the same for all devices: their number, compute capability (90), SMs, bytes of memory, and how many of these
  /// are in use by others.
  int devices = 1, architecture = 90, multiprocessors = 4;
  size_t memory = size_t(16) << 30, taken = 0;
  /// Timeout in seconds of a worker that waits for another one.
  double wait = 120;
};
extern Config config;
/// Throws std::invalid_argument for an unknown word.
void configure(const char* words);
}  // namespace emu
