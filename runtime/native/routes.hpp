// Which rows an exchange sends to whom, and where they go, as row numbers; the same for host and GPU.
#pragma once
#include "group.hpp"

namespace moec {

/// A worker's own rows are sorted by expert. An owner has the rows that it receives sorted by expert, then by worker. Blocks are (first row, number of
/// rows) of each expert that has rows, in the order of experts on both sides, so that sender and receiver agree.
class Routes {
 public:
  using Blocks = std::vector<std::pair<long, long>>;
  /// `offsets`: i32[size, experts + 1], the offsets of all workers. Throws if they are no valid offsets. Throws NO_ROOM, on all workers alike, if any
  /// owner of any group is sent more rows than it has room for.
  Routes(const CollectiveSpec& spec, const int32_t* offsets, size_t count, const Group& group, int size);
  Blocks sent(int to) const { return back_ ? rowsFrom(to) : rowsFor(to); }
  Blocks received(int from) const { return back_ ? rowsFor(from) : rowsFrom(from); }

 private:
  /// This worker's own rows for the experts of member `owner`.
  Blocks rowsFor(int owner) const;
  /// Where the rows of member `member` lie among those that this worker has as an owner.
  Blocks rowsFrom(int member) const;
  void requireRoom(const CollectiveSpec& spec, long room, int size) const;
  /// The number of experts that each member owns.
  long experts() const { return (offsets_per_worker_ - 1) / group_.workers(); }
  /// The first row of an expert on a worker, given by its rank.
  long start(int worker, long expert) const { return offsets_[worker * offsets_per_worker_ + expert]; }

  const int32_t* offsets_;
  long offsets_per_worker_;
  const Group& group_;
  bool back_;
  /// Of each owner's experts those whose rows are moved.
  long first_, end_;
};

}  // namespace moec
