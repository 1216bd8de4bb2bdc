// Who of all workers do a step together: all of them, or each of several groups by itself.
#pragma once
#include "engine.hpp"

namespace moec {

/// A worker's group, as `Group` of compiler/graph/node.ts says it; its members are numbered in the order of ranks.
class Group {
 public:
  /// Throws where there are not as many workers as the plan is for.
  Group(const TogetherSpec& spec, int size, int rank);
  int workers() const { return workers_; }
  /// Which member this worker is.
  int own() const { return own_; }
  /// Which of all workers a member is.
  int rank(int member) const { return first_ + member * apart_; }
  /// Members from the next one on, so that not all begin with the same.
  std::vector<int> others() const;

 private:
  int workers_, apart_, own_, first_;
};

}  // namespace moec
