#include "group.hpp"

#include <stdexcept>

namespace moec {

Group::Group(const CollectiveSpec& spec, int size, int rank) : workers_(spec.workers), stride_(spec.stride) {
  const int all = spec.workers * spec.groups;
  if (all != size) throw std::runtime_error("this plan is for " + std::to_string(all) + " workers, and there are " + std::to_string(size));
  const int run = workers_ * stride_, place = rank % run;
  member_ = place / stride_;
  first_ = rank - place + place % stride_;
}
std::vector<int> Group::others() const {
  std::vector<int> all;
  for (int i = 1; i < workers_; i++) all.push_back((member_ + i) % workers_);
  return all;
}

}  // namespace moec
