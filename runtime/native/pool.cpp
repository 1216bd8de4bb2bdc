#include "pool.hpp"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

namespace moec {

static constexpr size_t cache_line = 64;  // in bytes; shared variables are aligned to it to avoid false sharing
static constexpr int spin_limit = 2000;   // some tens of microseconds, about what waking a parked thread costs
static constexpr long chunks_per_thread = 16;

static void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}
/// Waits longer each time (spin, yield, sleep), so that a thread that was preempted gets its core back.
class Backoff {
 public:
  void wait() {
    if (count_++ < spin_limit) return cpu_relax();
    if (count_ < spin_limit + 100) return void(sched_yield());
    const timespec nap{0, 50'000};
    nanosleep(&nap, nullptr);
  }

 private:
  int count_ = 0;
};

using Clock = std::chrono::steady_clock;
/// A helper parks after so long: it outlasts what JavaScript does between two calls that write tokens, 100 to 250 microseconds. By the clock, since a pause
/// takes from 1 ns (arm64) to 50.
static constexpr std::chrono::microseconds park_after{300};

/// A step and a number of its units, packed into one word so that both change atomically and a late thread cannot change either.
namespace units {
static constexpr int bits = 40;
static uint64_t of(size_t step, long count) { return uint64_t(step) << bits | uint64_t(count); }
static size_t step(uint64_t x) { return size_t(x >> bits); }
static long count(uint64_t x) { return long(x & ((uint64_t(1) << bits) - 1)); }
}  // namespace units
/// How many units of a thread's own part of the current round were taken, by any thread; if it names an earlier step, none were.
struct alignas(cache_line) Pool::Share {
  std::atomic<uint64_t> taken{0};
};
/// The state of one run(); lives on its stack, so it returns only when no helper is inside. A round is one shared step, whose units are its tasks;
/// nothing else runs meanwhile. Small steps are run between two rounds, by the thread that ended the first.
struct Pool::Run {
  Clock::time_point start;
  const std::vector<Step>& steps;
  const std::atomic<bool>& cancel;
  std::vector<StepTime>& times;
  std::vector<Share> shares;
  bool cancelled = false;
  /// The current round's step and how many of its units are not done; after the last step, a step past the end.
  alignas(cache_line) std::atomic<uint64_t> round{0};
};
/// Converts each step's end time to its duration. A step without tasks has no end time, and takes 0.
static void to_durations(std::vector<StepTime>& times) {
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

/// Each thread's scratch begins at this offset in a page. A load waits for a recent store with the same last 12 address bits (4K aliasing), and large
/// arrays begin at offsets 0 and 1600 (compiler/plan/place.ts). On Zen 4 a softmax of two such arrays takes 18 to 36% longer with scratch at 0 or 64.
static constexpr size_t page = 4096, scratch_offset = 1024;
static size_t scratch_pages(size_t floats) { return (scratch_offset + floats * sizeof(float) + page - 1) / page * page; }

Pool::Pool(int threads, size_t scratch)
    : threads_(threads), scratch_bytes_(scratch_pages(scratch)), scratch_(scratch_bytes_ * size_t(threads)) {
  try {
    for (int i = 1; i < threads_; i++) helpers_.emplace_back([this, i] { helperLoop(i); });
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
  return reinterpret_cast<float*>(scratch_.data() + scratch_bytes_ * size_t(thread) + scratch_offset);
}

#if defined(__linux__)
static void pin_to_core(pthread_t thread, int core) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(size_t(core), &one);
  pthread_setaffinity_np(thread, sizeof one, &one);
}
Pool::PinnedThreads::PinnedThreads(Pool& pool) : pool_(pool) {
  const int own = sched_getcpu();
  if (own < 0 || sched_getaffinity(0, sizeof all_, &all_) != 0 || CPU_COUNT(&all_) != pool.threads_) return;
  pinned_ = true;
  pin_to_core(pthread_self(), own);
  size_t next = 0;
  for (int core = 0; core < CPU_SETSIZE && next < pool.helpers_.size(); core++)
    if (core != own && CPU_ISSET(size_t(core), &all_)) pin_to_core(pool.helpers_[next++].native_handle(), core);
}
Pool::PinnedThreads::~PinnedThreads() {
  if (!pinned_) return;
  pthread_setaffinity_np(pthread_self(), sizeof all_, &all_);
  for (auto& helper : pool_.helpers_) pthread_setaffinity_np(helper.native_handle(), sizeof all_, &all_);
}
#else
Pool::PinnedThreads::PinnedThreads(Pool&) {}
Pool::PinnedThreads::~PinnedThreads() {}
#endif

bool Pool::run(const std::vector<Step>& steps, const std::atomic<bool>& cancel, std::vector<StepTime>& times) {
  Run run{Clock::now(), steps, cancel, times, std::vector<Share>(size_t(threads_))};
  beginRound(run, 0, 0);
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
  for (Backoff backoff; active_helpers_.load(std::memory_order_acquire) > 0;) backoff.wait();
  to_durations(times);
  return !run.cancelled;
}

void Pool::helperLoop(int thread) {
  for (uint64_t seen = 0;;) {
    Run* run = waitForRun(seen);
    if (run == nullptr) return;
    work(*run, thread);
    active_helpers_.fetch_sub(1, std::memory_order_release);
  }
}
/// Waits for a run to join, first spinning, then giving its core to whoever wants it, then parked; null when the pool ends.
Pool::Run* Pool::waitForRun(uint64_t& seen) {
  for (;;) {
    const auto end = Clock::now() + park_after;
    for (int i = 0; generation_.load(std::memory_order_relaxed) == seen && (i < spin_limit || Clock::now() < end); i++) {
      if (i < spin_limit) cpu_relax();
      else sched_yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return generation_.load() != seen; });
    seen = generation_.load();
    if (stop_) return nullptr;
    if (current_ == nullptr) continue;  // that run has ended already
    active_helpers_.fetch_add(1);
    return current_;
  }
}

/// Every thread goes through all rounds. It first takes the units of its own part, which are the same in every run, so that their data is in its
/// caches; then those of others. A round waits only for units that were taken, so a thread that comes late or sleeps delays nothing.
void Pool::work(Run& run, int thread) {
  for (size_t s; (s = current(run)) < run.steps.size();) {
    if (finishUnits(run, s, takeUnits(run, s, thread, thread), thread)) continue;
    long done = 0;
    for (int i = 1; i < threads_; i++) done += takeUnits(run, s, (thread + i) % threads_, thread);
    if (finishUnits(run, s, done, thread)) continue;
    for (Backoff backoff; current(run) == s;) backoff.wait();
  }
}
size_t Pool::current(const Run& run) { return units::step(run.round.load(std::memory_order_acquire)); }
/// Runs units of the part `from` until all are taken; returns how many this thread ran. Chunks become smaller towards the end, so that threads end
/// together; a part that takes no longer than one chunk is not cut.
long Pool::takeUnits(Run& run, size_t s, int from, int thread) {
  std::atomic<uint64_t>& taken = run.shares[size_t(from)].taken;
  const long all = run.steps[s].tasks, first = all * from / threads_, count = all * (from + 1) / threads_ - first;
  const long most = threads_ == 1 ? count : std::max(1L, all / (threads_ * chunks_per_thread));
  long done = 0;
  for (uint64_t seen = taken.load(std::memory_order_relaxed);;) {
    if (units::step(seen) > s) return done;
    const long begin = units::step(seen) < s ? 0 : units::count(seen), left = count - begin;
    if (left <= 0) return done;
    const long grain = run.steps[s].grain, chunk = std::max(std::clamp(left / (2 * threads_), 1L, most), std::min(left / 2, grain));
    const long size = threads_ == 1 || count <= grain ? left : chunk;
    if (!taken.compare_exchange_weak(seen, units::of(s, begin + size), std::memory_order_relaxed)) continue;
    runTasks(run, s, first + begin, first + begin + size, thread);
    done += size;
    seen = taken.load(std::memory_order_relaxed);
  }
}
/// Subtracts units that were run; true if they were the round's last, in which case this thread has begun the next round.
bool Pool::finishUnits(Run& run, size_t s, long done, int thread) {
  if (done == 0 || units::count(run.round.fetch_sub(uint64_t(done), std::memory_order_acq_rel)) > done) return false;
  beginRound(run, s + 1, thread);
  return true;
}
/// Runs small steps until a step is to be shared, and begins its round. If the run is cancelled, ends it instead.
void Pool::beginRound(Run& run, size_t s, int thread) {
  for (; s < run.steps.size() && (run.steps[s].small || run.steps[s].tasks == 0); s++) {
    if (run.cancel.load(std::memory_order_relaxed)) break;
    runTasks(run, s, 0, run.steps[s].tasks, thread);
  }
  if (s < run.steps.size() && run.cancel.load(std::memory_order_relaxed)) {
    run.cancelled = true;
    s = run.steps.size();
  }
  run.round.store(units::of(s, s < run.steps.size() ? run.steps[s].tasks : 0), std::memory_order_release);
}
/// Runs tasks of a step and measures them. Whoever runs the last task sets the end time, because other threads may be without a core by then.
void Pool::runTasks(Run& run, size_t s, long begin, long end, int thread) {
  const Step& step = run.steps[s];
  begin += step.first, end += step.first;
  if (run.times.empty()) return step.kernel(step.args.data(), begin, end, scratch(thread));
  const int64_t start = thread_nanoseconds();
  step.kernel(step.args.data(), begin, end, scratch(thread));
  run.times[s].busy += thread_nanoseconds() - start;
  run.times[s].wall = std::chrono::nanoseconds(Clock::now() - run.start).count();
}

}  // namespace moec
