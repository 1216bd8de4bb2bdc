// Where the rows of an exchange go, on whatever device they are.
#pragma once
#include "engine.hpp"

namespace moec {

/// What each worker has of each group, and where it lies: with the worker in the order of groups, with the group's owner by group and worker.
/// Blocks are (first row, how many), of those groups that have rows, in the order of groups on both sides.
class Routes {
 public:
  using Blocks = std::vector<std::pair<long, long>>;
  /// `offsets`: where the groups of worker 0 begin and the last ends, then those of worker 1, ..., `count` in all. Throws where they are none, and
  /// NO_ROOM on all workers alike where an owner is sent more rows than it has room for.
  Routes(const TogetherSpec& spec, const int32_t* offsets, size_t count, int workers, int rank);
  Blocks sent(int to) const { return back_ ? owned(to) : own(to); }
  Blocks received(int from) const { return back_ ? own(from) : owned(from); }

 private:
  /// This worker's own rows of the groups of one owner.
  Blocks own(int owner) const;
  /// One worker's rows of the groups that this worker owns.
  Blocks owned(int worker) const;
  void requireRoom(long room) const;
  long groups() const { return (ends_ - 1) / workers_; }
  long start(int worker, long group) const { return offsets_[worker * ends_ + group]; }

  const int32_t* offsets_;
  long ends_;
  int workers_, rank_;
  bool back_;
};

}  // namespace moec
