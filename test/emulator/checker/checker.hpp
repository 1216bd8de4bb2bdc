// Bounds, initialisation and races. Two accesses of a byte race where one writes and none of both is known to come first: by barriers,
// mbarriers, waits, or (between blocks) a fence and an atomic operation. All functions do nothing unless config.check.
#pragma once
#include "../runtime/block.hpp"

namespace emu::check {
enum class Kind {
  Read,
  Write,
  Atomic,
  /// Volatile, relaxed or acquiring.
  AtomicRead,
  /// Of an mbarrier, by instructions made for it.
  MbarrierRead,
  /// By the async proxy: TMA and wgmma.
  AsyncRead,
  AsyncWrite,
  /// Of a box by TMA: it may hold more than is meant, as rows of another group, or of none.
  BoxRead,
};
/// Who accesses: his number, his step, and what he knows.
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

/// All know from here on what each knew. `clock`: what others left word of; it is emptied.
void meet(const std::vector<Thread*>&, Clock& clock);
void meet(Thread* const*, int count);
/// What the thread knows is added to the clock; its later steps are not.
void leave_word(Thread&, Clock&);
void hear(Thread&, const Clock&);

void fence(Thread&);
void proxy_fence(Thread&);
/// As fence, then an atomic write; an atomic read, then as a fence.
void acquire(Thread&, const void*);
void release(Thread&, const void*);

void set_flag(Block&, uint32_t shared_address, size_t bytes, Flag, bool on);
}  // namespace emu::check
