#include "launch.hpp"

#include <signal.h>

#include <condition_variable>
#include <thread>

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "config.hpp"
#include "engine.hpp"
#include "memory.hpp"
#include "report.hpp"

namespace emu {

/// Worker threads for launches. They live as long as the process, since each keeps the stacks of its fibers.
class Helpers {
 public:
  void run(Launch& launch, int threads) {
    while (int(count_) < threads - 1) std::thread(&Helpers::help, this, int(++count_)).detach();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      launch_ = &launch;
      wanted_ = threads - 1;
      busy_ = threads - 1;
      generation_++;
    }
    wake_.notify_all();
    work(launch, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }
  static void work(Launch& launch, int index) {
    static thread_local Engine engine;
    engine.run(launch, index);
  }

 private:
  void help(int index);
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Launch* launch_ = nullptr;
  int wanted_ = 0, busy_ = 0, count_ = 0;
  unsigned long generation_ = 0;
};

static void on_fault(int signal, siginfo_t* info, void*) {
  if (!self) {
    ::signal(signal, SIG_DFL);
    return;  // the instruction is retried, faults again and ends the process
  }
  const void* p = info->si_addr;
  if (me().fiber.overflows_at(p)) fail("the stack of a thread overflows: %zu bytes", Fiber::stack_bytes);
  if (const Region* r = region_near(p))
    fail("an access outside buffer #%d of %zu bytes, at offset %ld", r->number, size_t(r->high - r->low), long(uintptr_t(p) - r->low));
  fail("an access of memory that does not exist, at %p", p);
}
/// While it lives, faults of kernels are reported; the signal handler has its own stack, since the thread's may have overflowed.
class Faults {
 public:
  Faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &segv_);
    sigaction(SIGBUS, &action, &bus_);
  }
  ~Faults() {
    sigaction(SIGSEGV, &segv_, nullptr);
    sigaction(SIGBUS, &bus_, nullptr);
  }

 private:
  struct sigaction segv_, bus_;
};
class SignalStack {
 public:
  SignalStack() {
    stack_t mine = {};
    mine.ss_sp = memory_;
    mine.ss_size = sizeof memory_;
    sigaltstack(&mine, &before_);
  }
  ~SignalStack() { sigaltstack(&before_, nullptr); }

 private:
  char memory_[1 << 16];
  stack_t before_;
};
void Helpers::help(int index) {
  SignalStack stack;
  for (unsigned long seen = 0;;) {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return generation_ != seen; });
    seen = generation_;
    if (index > wanted_) continue;
    Launch& launch = *launch_;
    lock.unlock();
    work(launch, index);
    lock.lock();
    if (--busy_ == 0) done_.notify_one();
  }
}

static void check_shape(const Launch& l) {
  if (l.threads() == 0 || l.threads() > 1024 || l.block.z > 64) fail("%s: a block of %ux%ux%u threads", l.kernel->name, l.block.x, l.block.y, l.block.z);
  if (l.blocks() == 0 || l.grid.y > 65535 || l.grid.z > 65535) fail("%s: a grid of %ux%ux%u blocks", l.kernel->name, l.grid.x, l.grid.y, l.grid.z);
  if (l.dynamic > config.shared_limit) fail("%s: %zu bytes of dynamic shared memory; there are %zu", l.kernel->name, l.dynamic, config.shared_limit);
}
std::vector<std::string> launch(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic, void** args, bool cooperative) {
  static Helpers& helpers = *new Helpers;  // its threads outlive everything
  Launch l;
  l.kernel = &kernel;
  l.args = args;
  l.grid = grid;
  l.block = block;
  l.dynamic = dynamic;
  l.cooperative = cooperative;
  check_shape(l);
  set_code(kernel.function);
  check::begin_launch(l);
  const bool alone = config.check || config.count || cooperative || config.threads <= 1;
  {
    Faults faults;
    SignalStack stack;
    if (alone) Helpers::work(l, 0);
    else helpers.run(l, config.threads);
  }
  count::end_launch(l);
  return l.findings;
}
}  // namespace emu
