// Checks bounds, initialisation and races. Two accesses of a byte race if one is a write and neither happens before the other by barriers,
// mbarriers, waits or (between blocks) a fence and an atomic operation. All functions do nothing unless config.check.
#pragma once
#include "../runtime/block.hpp"

namespace emu::check {
enum class Kind {
  Read,
  Write,
  Atomic,
  /// Volatile, relaxed or acquire.
  AtomicRead,
  /// An mbarrier instruction on its mbarrier.
  MbarrierRead,
  /// By the async proxy (TMA, wgmma).
  AsyncRead,
  AsyncWrite,
  /// A TMA load: the box may include elements that are not used, such as rows of another group or uninitialised ones.
  BoxRead,
};
/// The accessing actor: its index, its step, and its vector clock.
struct Actor {
  const Clock& knows;
  uint16_t number;
  uint32_t step;
};
void access(Thread&, const void*, size_t bytes, Kind);
void access_as(const Actor&, Block&, const void*, size_t bytes, Kind);

void begin_launch(Launch&);
void begin_block(Block&);
void begin_thread(Thread&, int threads);

/// Joins the clocks of all threads. `clock`: of actors that have left word; it is cleared.
void meet(const std::vector<Thread*>&, Clock& clock);
void meet(Thread* const*, int count);
/// Joins the thread's vector clock into `clock` (release).
void leave_word(Thread&, Clock&);
void hear(Thread&, const Clock&);

void fence(Thread&);
void proxy_fence(Thread&);
/// Release: fence, then atomic write. Acquire: atomic read, then fence.
void acquire(Thread&, const void*);
void release(Thread&, const void*);

void set_flag(Block&, uint32_t shared_address, size_t bytes, Flag, bool on);
}  // namespace emu::check
