#include "program.hpp"

#include "collective.hpp"

#include <dlfcn.h>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstring>
#include <sstream>
#include <stdexcept>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace moec {

#if defined(__x86_64__)
/// Whether this CPU has AMX for bf16, and Linux permits this process to use it: a process must ask, because its threads' saved state grows by 8 KiB.
static bool may_use_tiles() {
#if defined(__linux__)
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  constexpr unsigned both = 1u << 22 | 1u << 24;    // AMX-BF16, AMX-TILE
  unsigned a = 0, b = 0, c = 0, d = 0;
  static const bool may = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & both) == both && syscall(SYS_arch_prctl, request, tile_data) == 0;
  return may;
#else
  return false;
#endif
}
/// Whether this CPU has a feature, by GCC's name of it.
static bool cpu_has(const std::string& feature) {
#define MOEC_ASK(name) if (feature == name) return __builtin_cpu_supports(name) != 0;
  MOEC_ASK("avx") MOEC_ASK("avx2") MOEC_ASK("fma") MOEC_ASK("bmi") MOEC_ASK("bmi2")
  MOEC_ASK("avx512f") MOEC_ASK("avx512vl") MOEC_ASK("avx512bw") MOEC_ASK("avx512dq") MOEC_ASK("avx512bf16")
  if (feature == "amx-tile" || feature == "amx-bf16") return may_use_tiles();
#undef MOEC_ASK
  return false;
}
#else
/// Units list features of x64 only (compiler/emit/unit.ts).
static bool cpu_has(const std::string&) { return false; }
#endif
/// Throws if this CPU lacks a feature that a library of kernels needs, which it lists in `moec_needs` (compiler/emit/unit.ts); none of its code has
/// run before.
static void require_cpu(void* handle) {
  const auto needs = static_cast<const char*>(dlsym(handle, "moec_needs"));
  if (needs == nullptr) throw std::runtime_error("a library of kernels does not say what CPU it is for");
  std::istringstream words(needs);
  for (std::string feature; words >> feature;) {
    if (!cpu_has(feature)) throw std::runtime_error("kernels for a CPU with " + feature + " cannot run on this one");
  }
}

Library::Library(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) throw std::runtime_error(std::string("cannot load kernels: ") + dlerror());
  try {
    require_cpu(handle_);
  } catch (...) {
    dlclose(handle_);
    throw;
  }
}
Library::~Library() {
  if (handle_ != nullptr) dlclose(handle_);
}
Kernel Library::kernel(const std::string& name) const {
  void* symbol = dlsym(handle_, name.c_str());
  if (symbol == nullptr) throw std::runtime_error("kernel " + name + " is not in its library");
  return reinterpret_cast<Kernel>(symbol);
}

struct Program::Copy {
  char* to;
  const char* from;
  Layout to_layout, from_layout;
  static void rows(void* const* args, long begin, long end, float*) {
    const auto& c = *static_cast<const Copy*>(args[0]);
    convert(c.to, c.to_layout, c.from, c.from_layout, begin, end);
  }
};

/// Copies of so many bytes take longer than waking the other threads.
static constexpr long shared_copy = 1 << 20;

/// A collective as a step. Neither the pool nor the second queue can pass on exceptions, so a failure is stored and the run cancelled before its next step.
struct Program::CollectiveStep {
  Collective collective;
  Program& program;
  bool beside;
  static void run(void* const* args, long begin, long end, float*) {
    auto& step = *static_cast<CollectiveStep*>(args[0]);
    if (begin >= end) return;
    if (step.beside) step.program.second_->begin([&step] { step.run(); });
    else step.run();
  }
  void run() {
    if (program.hasFailed_) return;
    try {
      collective.run();
    } catch (const std::exception& error) {
      program.failure_ = error.what();
      program.hasFailed_ = true;
      program.cancel(true);
    }
  }
};
/// Waits until only so many of the steps that were begun are `left`.
struct Program::WaitStep {
  SecondQueue& second;
  size_t left;
  static void run(void* const* args, long begin, long end, float*) {
    const auto& step = *static_cast<const WaitStep*>(args[0]);
    if (begin < end) step.second.wait(step.left);
  }
};

Program::Program(const Spec& spec) : Engine(spec.buffers, spec.bytes), arena_(spec.bytes), pool_(spec.threads, spec.scratch) {
  for (const auto& path : spec.libraries) libraries_.emplace_back(path);
  std::vector<Kernel> kernels;
  for (const auto& kernel : spec.kernels) kernels.push_back(libraries_.at(kernel.library).kernel(kernel.name));
#ifdef __SANITIZE_ADDRESS__
  specs_ = spec.entries;
#endif
  const auto isBeside = [](const StepSpec& step) { return step.beside; };
  if (std::any_of(spec.entries.begin(), spec.entries.end(), [&](const auto& e) { return std::any_of(e.begin(), e.end(), isBeside); }))
    second_ = std::make_unique<SecondQueue>([](const std::atomic<bool>& awaited) { Mpi::hurried = &awaited; });
  for (const auto& entry : spec.entries) {
    auto& steps = entries_.emplace_back();
    for (size_t at = 0; at < entry.size(); at++) steps.push_back(makeStep(entry, at, kernels));
  }
}
Program::~Program() = default;

Step Program::makeStep(const std::vector<StepSpec>& entry, size_t at, const std::vector<Kernel>& kernels) {
  const StepSpec& spec = entry[at];
  if (spec.kernel == StepSpec::copy_step) return copy(spec);
  if (spec.kernel == StepSpec::wait_step) return wait(entry, at);
  if (spec.beside && spec.kernel != StepSpec::collective_step) throw std::runtime_error("the host runs no kernels beside others");
  return spec.kernel == StepSpec::collective_step ? collective(spec) : launch(spec, kernels);
}
Step Program::launch(const StepSpec& spec, const std::vector<Kernel>& kernels) {
  Step step{kernels.at(size_t(spec.kernel)), {}, spec.tasks, spec.small, spec.grain, spec.first};
  for (const size_t arg : spec.args) step.args.push_back(address(arg));
  return step;
}
Step Program::copy(const StepSpec& spec) {
  const size_t from = spec.args.at(0), to = spec.args.at(1);
  copies_.push_back(std::unique_ptr<Copy>(new Copy{address(to), address(from), layout(to), layout(from)}));
  return {Copy::rows, {copies_.back().get()}, layout(to).outer * layout(to).rows, spec.small, spec.grain};
}

Step Program::collective(const StepSpec& spec) {
  std::vector<Collective::Arg> args;
  for (const size_t arg : spec.args) args.push_back({address(arg), size_t(layout(arg).elements() * layout(arg).width)});
  collectives_.push_back(std::unique_ptr<CollectiveStep>(new CollectiveStep{Collective(spec.collective.value(), std::move(args)), *this, spec.beside}));
  return {CollectiveStep::run, {collectives_.back().get()}, 1, spec.small};
}
/// The steps beside that stand between the awaited one and the wait need not be done.
Step Program::wait(const std::vector<StepSpec>& entry, size_t at) {
  const size_t awaited = entry[at].awaited;
  if (awaited >= at || !entry[awaited].beside) throw std::runtime_error("a step waits for one that is not beside it");
  size_t left = 0;
  for (size_t i = awaited + 1; i < at; i++) left += entry[i].beside;
  waits_.push_back(std::unique_ptr<WaitStep>(new WaitStep{*second_, left}));
  return {WaitStep::run, {waits_.back().get()}, 1, true};
}

#ifdef __SANITIZE_ADDRESS__
/// For `npm run sanitize`: during each step, AddressSanitizer rejects accesses to all of the arena except the step's own buffers.
bool Program::run(size_t entry, std::vector<StepTime>& times) {
  const auto& steps = entries_.at(entry);
  bool finished = true;
  hasFailed_ = false;
  for (size_t i = 0; i < steps.size() && finished; i++) {
    std::vector<StepTime> time(times.empty() ? 0 : 1);
    ASAN_POISON_MEMORY_REGION(arena_.data(), arena_.bytes());
    for (const size_t arg : specs_[entry][i].args) ASAN_UNPOISON_MEMORY_REGION(address(arg), buffers_[arg].bytes);
    finished = pool_.run({steps[i]}, cancel_, time);
    if (specs_[entry][i].beside) second_->finish();
    if (time.empty()) continue;
    times[i].wall = time[0].wall.load();
    times[i].busy = time[0].busy.load();
  }
  ASAN_UNPOISON_MEMORY_REGION(arena_.data(), arena_.bytes());
  return finish(finished);
}
#else
bool Program::run(size_t entry, std::vector<StepTime>& times) {
  hasFailed_ = false;
  return finish(pool_.run(entries_.at(entry), cancel_, times));
}
#endif
/// A run that was cancelled may have begun what it did not wait for.
bool Program::finish(bool finished) {
  if (second_) second_->finish();
  if (hasFailed_) throw std::runtime_error(failure_);
  return finished;
}
/// Pins threads once for all runs, which are too short for a thread that starts late.
std::vector<int32_t> Program::repeat(const Repeat& repeat) {
  const Pool::PinnedThreads pinned(pool_);
  return Engine::repeat(repeat);
}

void Program::upload(const BufferSpec& to, const char* row_major) {
  const auto& [offset, bytes, layout] = to;
  char* const at = arena_.data() + offset;
  if (bytes > size_t(layout.elements() * layout.width)) std::memset(at, 0, bytes);
  runCopy({at, row_major, layout, layout.rowMajor()});
}
void Program::download(char* row_major, const BufferSpec& from) {
  runCopy({row_major, arena_.data() + from.offset, from.layout.rowMajor(), from.layout});
}
/// Copies on all threads, unless it is too little to share.
void Program::runCopy(const Copy& copy) {
  const long rows = copy.to_layout.outer * copy.to_layout.rows;
  void* const args[] = {const_cast<Copy*>(&copy)};
  if (copy.to_layout.elements() * copy.to_layout.width < shared_copy) return Copy::rows(args, 0, rows, nullptr);
  std::vector<StepTime> untimed;
  pool_.run({{Copy::rows, {args[0]}, rows}}, std::atomic<bool>(false), untimed);
}
void Program::fill(size_t offset, size_t bytes, int byte) {
  requireWithin(offset, bytes);
  std::memset(arena_.data() + offset, byte, bytes);
}

}  // namespace moec
