#include "group.hpp"

#include <stdexcept>

namespace moec {

Group::Group(const CollectiveSpec& spec, int size, int rank) : workers_(spec.workers), apart_(spec.apart) {
  const int all = spec.workers * spec.groups;
  if (all != size) throw std::runtime_error("this plan is for " + std::to_string(all) + " workers, and there are " + std::to_string(size));
  const int run = workers_ * apart_, place = rank % run;
  member_ = place / apart_;
  first_ = rank - place + place % apart_;
}
std::vector<int> Group::others() const {
  std::vector<int> all;
  for (int i = 1; i < workers_; i++) all.push_back((member_ + i) % workers_);
  return all;
}

}  // namespace moec
