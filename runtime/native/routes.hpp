// Where the rows of an exchange go, on whatever device they are.
#pragma once
#include "group.hpp"

namespace moec {

/// What each member of a group has of each expert, and where it lies: with the worker in the order of experts, with the expert's owner by expert and
/// worker. Blocks are (first row, how many), of those experts that have rows, in the order of experts on both sides.
class Routes {
 public:
  using Blocks = std::vector<std::pair<long, long>>;
  /// `offsets`: where the experts of worker 0 begin and the last ends, then those of worker 1, ..., of all `size`. Throws where they are none, and
  /// NO_ROOM on all workers alike where an owner, of whichever group, is sent more rows than it has room for.
  Routes(const TogetherSpec& spec, const int32_t* offsets, size_t count, const Group& group, int size);
  Blocks sent(int to) const { return back_ ? owned(to) : own(to); }
  Blocks received(int from) const { return back_ ? own(from) : owned(from); }

 private:
  /// This worker's own rows of the experts of one member.
  Blocks own(int owner) const;
  /// One member's rows of the experts that this worker owns.
  Blocks owned(int member) const;
  void requireRoom(const TogetherSpec& spec, long room, int size) const;
  /// How many a member owns.
  long experts() const { return (ends_ - 1) / group_.workers(); }
  /// Of one of all workers.
  long start(int worker, long expert) const { return offsets_[worker * ends_ + expert]; }

  const int32_t* offsets_;
  long ends_;
  const Group& group_;
  bool back_;
};

}  // namespace moec
