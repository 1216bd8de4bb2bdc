// The workers that take part in a collective step: all of them, or each of several groups separately.
#pragma once
#include "engine.hpp"

namespace moec {

/// The group of one worker (see `Group` in compiler/graph/node.ts). Its members are numbered in the order of their ranks.
class Group {
 public:
  /// Throws if the number of workers is not that which the plan was made for.
  Group(const CollectiveSpec& spec, int size, int rank);
  int workers() const { return workers_; }
  /// This worker's member number.
  int member() const { return member_; }
  /// The rank of a member.
  int rank(int member) const { return first_ + member * stride_; }
  /// All other members, beginning with the next one, so that workers do not all send to the same one first.
  std::vector<int> others() const;

 private:
  int workers_, stride_, member_, first_;
};

}  // namespace moec
