#include "pool.hpp"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

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

using Clock = std::chrono::steady_clock;

/// Of one thread in one round: how many units were taken of those that it begins with, and how many it has done, of whose ever.
struct alignas(line) Pool::Share {
  std::atomic<long> taken{0}, done{0};
};
/// What is done before anything else begins: a step, whose units are its tasks, or small steps in a row, which together are one unit.
struct Pool::Round {
  size_t begin, end;
  bool small;
  long units;
  Share* shares;
};
/// Lives on the stack of run(), which returns only when no helper is inside.
struct Pool::Run {
  Clock::time_point start;
  const std::vector<Step>& steps;
  const std::atomic<bool>& cancel;
  std::vector<StepTime>& times;
  size_t threads;
  std::vector<Share> shares;
  std::atomic<size_t> current{0};
  std::atomic<bool> cut{false};

  Round round(size_t begin) {
    size_t end = begin;
    while (end < steps.size() && steps[end].small) end++;
    const bool small = end > begin;
    return {begin, small ? end : begin + 1, small, small ? 1 : steps[begin].tasks, &shares[begin * threads]};
  }
};
/// From the time when each step ended to the time that it took; a step without tasks ends nowhere.
static void differences(std::vector<StepTime>& times) {
  int64_t last = 0;
  for (StepTime& time : times) {
    const int64_t end = std::max(time.wall.load(), last);
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
    : threads_(threads), scratch_floats_(padded(scratch)), scratch_(scratch_floats_ * size_t(threads) * sizeof(float)) {
  try {
    for (int i = 1; i < threads_; i++) helpers_.emplace_back([this, i] { help(i); });
  } catch (const std::system_error& error) {
    stop();
    throw std::runtime_error("cannot start " + std::to_string(threads_) + " threads: " + error.what());
  }
}
Pool::~Pool() { stop(); }
void Pool::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    generation_++;
  }
  wake_.notify_all();
  for (auto& helper : helpers_) helper.join();
}
float* Pool::scratch(int thread) {
  return reinterpret_cast<float*>(scratch_.data()) + scratch_floats_ * size_t(thread);
}

bool Pool::run(const std::vector<Step>& steps, const std::atomic<bool>& cancel, std::vector<StepTime>& times) {
  const auto threads = size_t(threads_);
  Run run{Clock::now(), steps, cancel, times, threads, std::vector<Share>(steps.size() * threads)};
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
  return run.current.load() == steps.size() && !run.cut;
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

/// Every thread walks all rounds. It begins with its own units of each, the same in every run, so that it finds in its caches what it read and wrote
/// before, then takes others'. Nobody waits for a thread, only for units that were taken, so one that comes late or sleeps holds up nothing.
void Pool::work(Run& run, int thread) {
  for (size_t s = run.current.load(); s < run.steps.size() && !run.cancel.load(std::memory_order_relaxed);) {
    const Round round = run.round(s);
    long done = 0;
    for (int i = 0; i < threads_; i++) done += take(run, round, (thread + i) % threads_, thread);
    round.shares[thread].done.fetch_add(done, std::memory_order_release);
    for (Backoff backoff; !finished(round);) backoff.wait();
    s = round.end;
    if (thread == 0) run.current.store(s);
  }
}
bool Pool::finished(const Round& round) const {
  long left = round.units;
  for (int i = 0; i < threads_; i++) left -= round.shares[i].done.load(std::memory_order_acquire);
  return left == 0;
}
/// Does of the units with which a thread begins as many as nobody has taken; how many. Fewer and fewer at a time, so that threads end together.
long Pool::take(Run& run, const Round& round, int from, int thread) {
  std::atomic<long>& taken = round.shares[from].taken;
  const long first = round.units * from / threads_, count = round.units * (from + 1) / threads_ - first;
  const long most = threads_ == 1 ? count : std::max(1L, round.units / (threads_ * chunks_per_thread));
  long done = 0;
  for (long left; (left = count - taken.load(std::memory_order_relaxed)) > 0;) {
    const long size = threads_ == 1 ? left : std::clamp(left / (2 * threads_), 1L, most);
    const long begin = taken.fetch_add(size), end = std::min(begin + size, count);
    if (begin >= end) break;
    if (round.small) small(run, round, thread);
    else chunk(run, round.begin, first + begin, first + end, thread);
    done += end - begin;
  }
  return done;
}

/// All steps of a round, unless it is cancelled between two.
void Pool::small(Run& run, const Round& round, int thread) {
  for (size_t s = round.begin; s < round.end; s++) {
    if (run.cancel.load(std::memory_order_relaxed)) return void(run.cut = true);
    chunk(run, s, 0, run.steps[s].tasks, thread);
  }
}
/// Tasks of a step, timed. Its end is noted by whoever does its last task: any other thread may be without a core by then.
void Pool::chunk(Run& run, size_t s, long begin, long end, int thread) {
  const Step& step = run.steps[s];
  if (run.times.empty()) return step.kernel(step.args.data(), begin, end, scratch(thread));
  const int64_t start = thread_nanoseconds();
  step.kernel(step.args.data(), begin, end, scratch(thread));
  run.times[s].busy += thread_nanoseconds() - start;
  run.times[s].wall = std::chrono::nanoseconds(Clock::now() - run.start).count();
}

}  // namespace moec
