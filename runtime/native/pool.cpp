#include "pool.hpp"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <chrono>

namespace moec {

static constexpr size_t line = 64;  // bytes; what one thread writes shares no line with what another does
static constexpr int spins = 2000;  // tens of microseconds, about what waking a parked thread costs
static constexpr long chunks_per_thread = 16;

static void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
/// Waits a little longer each time, so that a thread that lost its core gets it back.
class Backoff {
 public:
  void wait() {
    if (count_++ < spins) return relax();
    if (count_ < spins + 100) return void(sched_yield());
    const timespec nap{0, 50'000};
    nanosleep(&nap, nullptr);
  }

 private:
  int count_ = 0;
};

struct alignas(line) Pool::Progress {
  std::atomic<long> next{0};
  alignas(line) std::atomic<long> done{0};
};
using Clock = std::chrono::steady_clock;

/// Lives on the stack of run(), which returns only when no helper is inside.
struct Pool::Run {
  Clock::time_point start;
  const Step* steps;
  size_t count;
  const std::atomic<bool>& cancel;
  std::vector<StepTime>& times;
  std::vector<Progress> progress;
  std::atomic<size_t> current{0};
};
/// From the time when each step ended to the time that it took; a step without tasks ends nowhere.
static void differences(std::vector<StepTime>& times) {
  int64_t last = 0;
  for (StepTime& time : times) {
    const int64_t end = std::max(time.wall, last);
    time.wall = end - last;
    last = end;
  }
}
static int64_t thread_nanoseconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

static size_t padded(size_t floats) { return (floats * sizeof(float) + line - 1) / line * line / sizeof(float) + line; }

Pool::Pool(int threads, size_t scratch)
    : threads_(threads), scratch_floats_(padded(scratch)), scratch_(new float[scratch_floats_ * size_t(threads) + line]) {
  for (int i = 1; i < threads_; i++) helpers_.emplace_back([this, i] { help(i); });
}
Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    generation_++;
  }
  wake_.notify_all();
  for (auto& helper : helpers_) helper.join();
}
float* Pool::scratch(int thread) {
  const auto start = (reinterpret_cast<uintptr_t>(scratch_.get()) + line - 1) & ~(line - 1);
  return reinterpret_cast<float*>(start) + scratch_floats_ * size_t(thread);
}

bool Pool::run(const std::vector<Step>& steps, const std::atomic<bool>& cancel, std::vector<StepTime>& times) {
  Run run{Clock::now(), steps.data(), steps.size(), cancel, times, std::vector<Progress>(steps.size())};
  {
    std::lock_guard<std::mutex> lock(mutex_);
    current_ = &run;
    generation_++;
  }
  wake_.notify_all();
  work(run, 0);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    current_ = nullptr;
  }
  for (Backoff backoff; inside_.load(std::memory_order_acquire) > 0;) backoff.wait();
  differences(times);
  return run.current.load() == run.count;
}

void Pool::help(int thread) {
  for (uint64_t seen = 0;;) {
    Run* run = enter(seen);
    if (run == nullptr) return;
    work(*run, thread);
    inside_.fetch_sub(1, std::memory_order_release);
  }
}
/// Spins briefly, then parks, until there is a run to join; null when the pool ends.
Pool::Run* Pool::enter(uint64_t& seen) {
  for (;;) {
    for (int i = 0; i < spins && generation_.load(std::memory_order_relaxed) == seen; i++) relax();
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return generation_.load() != seen; });
    seen = generation_.load();
    if (stop_) return nullptr;
    if (current_ == nullptr) continue;  // it came too late
    inside_.fetch_add(1);
    return current_;
  }
}

/// Every thread walks all steps. Nobody waits for a thread, only for chunks that were taken, so one that comes late or sleeps holds up nothing.
void Pool::work(Run& run, int thread) {
  for (size_t s = run.current.load(); s < run.count && !run.cancel.load(std::memory_order_relaxed); s++) {
    const Step& step = run.steps[s];
    Progress& progress = run.progress[s];
    const long size = threads_ == 1 ? step.tasks : std::max(1L, step.tasks / (threads_ * chunks_per_thread));
    for (long begin; (begin = progress.next.fetch_add(size)) < step.tasks;) {
      const long end = std::min(begin + size, step.tasks);
      chunk(run, s, begin, end, thread);
    }
    for (Backoff backoff; progress.done.load(std::memory_order_acquire) < step.tasks;) backoff.wait();
    if (thread == 0) run.current.store(s + 1);
  }
}

/// Tasks of a step, timed. The end of the step is noted by whoever does its last task: any other thread may be without a core by then.
void Pool::chunk(Run& run, size_t s, long begin, long end, int thread) {
  const Step& step = run.steps[s];
  const bool timed = !run.times.empty();
  const int64_t start = timed ? thread_nanoseconds() : 0;
  step.kernel(step.args.data(), begin, end, scratch(thread));
  if (timed) run.times[s].busy += thread_nanoseconds() - start;
  const bool last = run.progress[s].done.fetch_add(end - begin, std::memory_order_release) + end - begin == step.tasks;
  if (timed && last) run.times[s].wall = std::chrono::nanoseconds(Clock::now() - run.start).count();
}

}  // namespace moec
