#include "engine.hpp"

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "config.hpp"
#include "memory.hpp"
#include "report.hpp"

namespace emu {
__thread ThreadIndex* self = nullptr;
static thread_local Engine* engine = nullptr;
/// The number of polls without progress after which spinning threads are reported as a deadlock.
static constexpr long patience = 2'000'000;

Engine& Engine::current() { return *engine; }

uint64_t Engine::random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_ >> 11;
}
Thread* Engine::next() {
  if (config.order == Order::Random) std::swap(ready_[random() % ready_.size()], ready_[0]);
  Thread* t = ready_.front();
  ready_.pop_front();
  return t;
}

void Engine::wait(const char* what, int line) {
  Thread& t = me();
  t.state = State::Blocked;
  t.waits_for = what;
  t.line = line;
  idle_ = 0;
  if (!actions_.empty() || ready_.empty() || blocks_.size() > 1) return t.fiber.leave_to(scheduler_);
  Thread* to = next();  // directly, not through the scheduler
  if (to == &t) return;
  self = to;
  to->fiber.enter_from(t.fiber);
}
void Engine::wake(Thread* t, bool first) {
  t->state = State::Ready;
  if (first && config.order == Order::Forward) ready_.push_front(t);
  else ready_.push_back(t);
}
void Engine::yield() {
  Thread& t = me();
  if (++idle_ > patience) fail("no thread makes progress: each only looks whether something has come");
  ready_.push_back(&t);
  t.fiber.leave_to(scheduler_);
}
void Engine::abandon() {
  launch_->failed = true;
  self = nullptr;
  jump(scheduler_);
}
void yield() { Engine::current().yield(); }

void Engine::thread_main() {
  const Kernel& kernel = *me().block->launch->kernel;
  kernel.call(kernel.function, me().block->launch->args);
  Engine& e = current();
  e.end_thread(me());
  self = nullptr;
  jump(e.scheduler_);
}
void Engine::end_thread(Thread& t) {
  t.state = State::Done;
  idle_ = 0;
  if (t.copies.unfinished()) report("a thread ends with cp.async copies that it never waited for");
  Block& b = *t.block;
  b.live--;
  release_if_full(b);
  if (b.live == 0) end_block(b);
}

void Engine::make_room(unsigned threads, size_t blocks) {
  while (blocks_.size() > blocks) blocks_.pop_back();
  while (blocks_.size() < blocks) blocks_.push_back(std::make_unique<Block>());
  while (pool_.size() < blocks * threads) pool_.push_back(std::make_unique<Thread>());
  auto thread = pool_.begin();
  for (auto& b : blocks_) {
    b->threads.clear();
    for (unsigned i = 0; i < threads; i++) b->threads.push_back((thread++)->get());
    b->live = 0;
  }
}
/// The block that starts n-th: the start order of blocks is undefined on a GPU.
static unsigned nth_block(unsigned n, unsigned total) {
  if (config.order == Order::Forward) return n;
  if (config.order == Order::Reverse) return total - 1 - n;
  unsigned step = unsigned(config.seed * 2654435761u % total) | 1;
  auto coprime = [&] { unsigned a = step, b = total; while (b) { unsigned r = a % b; a = b; b = r; } return a == 1; };
  while (!coprime()) step += 2;
  return unsigned((uint64_t(n) * step + config.seed) % total);
}
/// Starts blocks while there is room; returns whether any is running.
bool Engine::admit() {
  bool any = false;
  for (auto& b : blocks_) {
    if (b->live > 0) { any = true; continue; }
    const unsigned n = launch_->next++;
    if (n >= launch_->blocks()) continue;
    begin(*b, nth_block(n, launch_->blocks()));
    any = true;
  }
  return any;
}
void Engine::begin(Block& b, unsigned number) {
  const dim3 grid = launch_->grid, block = launch_->block;
  const int n = int(launch_->threads());
  b.launch = launch_;
  b.id = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
  b.number = launch_->first_block + launch_->begun++;
  b.count = b.live = n;
  b.warps.assign(size_t(n + 31) / 32, {});
  b.warpgroups.assign(size_t(n) / 128, {});
  b.mbarriers.clear();
  b.mbarrier_steps = {};
  b.free_registers = 65536 / blocks_by_shared(launch_->dynamic) - n * registers_at_start(n, launch_->dynamic);
  reset_barriers(b);
  begin_shared(b, launch_->dynamic);
  check::begin_block(b);
  for (int i = 0; i < n; i++) {
    Thread& t = *b.threads[size_t(i)];
    const unsigned u = unsigned(i);
    static_cast<ThreadIndex&>(t) = {{u % block.x, u / block.x % block.y, u / block.x / block.y}, b.id, block, grid, u, u & 31, u >> 5};
    t.block = &b;
    t.state = State::Ready;
    t.copies = {};
    check::begin_thread(t, n);
    t.fiber.prepare(thread_main);
  }
  for (int i = 0; i < n; i++) ready_.push_back(b.threads[size_t(config.order == Order::Reverse ? n - 1 - i : i)]);
}

void Engine::resume(Thread* t) {
  self = t;
  t->fiber.enter(&scheduler_);
  self = nullptr;
}
void Engine::act() {
  auto action = std::move(actions_.front());
  actions_.pop_front();
  idle_ = 0;
  action();
}
void Engine::deadlock() const {
  std::map<std::string, int> waiting;
  for (auto& b : blocks_)
    for (const Thread* t : b->threads)
      if (t->state == State::Blocked) waiting[std::string(t->waits_for) + " at line " + std::to_string(t->line)]++;
  std::string text = "deadlock in kernel " + std::string(launch_->kernel->name) + ":";
  for (auto& [what, n] : waiting) text += "\n    " + std::to_string(n) + " threads wait for a " + what;
  throw Failure(text);
}
void Engine::run(Launch& launch, int index) {
  engine = this;
  launch_ = &launch;
  random_ = config.seed * 0x9e3779b97f4a7c15ull + uint64_t(index) * 77 + 1;
  ready_.clear();
  actions_.clear();
  idle_ = 0;
  make_room(launch.threads(), launch.cooperative ? launch.blocks() : size_t(config.resident));
  try {
    while (!launch.failed) {
      const bool more = !ready_.empty() && blocks_.size() == 1 ? true : admit();
      if (!more && actions_.empty()) break;
      if (!actions_.empty() && (ready_.empty() || random() % 4 == 0)) act();
      else if (ready_.empty()) deadlock();
      else resume(next());
    }
  } catch (const Failure& failure) {
    launch.add(failure.what());
    launch.failed = true;
  }
  self = nullptr;
}
}  // namespace emu
