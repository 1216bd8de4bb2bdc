#include "routes.hpp"

#include <stdexcept>
#include <string>

namespace moec {

Routes::Routes(const int32_t* offsets, size_t count, int workers, int rank, long rows, bool back)
    : offsets_(offsets), ends_(long(count) / workers), workers_(workers), rank_(rank), back_(back) {
  for (int w = 0; w < workers; w++)
    for (long g = 0; g + 1 < ends_; g++)
      if (start(w, g) < 0 || start(w, g) > start(w, g + 1) || start(w, g + 1) > rows)
        throw std::runtime_error("rows " + std::to_string(start(w, g)) + " to " + std::to_string(start(w, g + 1)) + " of " + std::to_string(rows) +
                                 " cannot be exchanged");
}
Routes::Blocks Routes::own(int owner) const {
  Blocks blocks;
  for (long g = owner * groups(); g < (owner + 1) * groups(); g++)
    if (start(rank_, g) < start(rank_, g + 1)) blocks.emplace_back(start(rank_, g), start(rank_, g + 1) - start(rank_, g));
  return blocks;
}
Routes::Blocks Routes::owned(int worker) const {
  Blocks blocks;
  long place = 0;
  for (long g = rank_ * groups(); g < (rank_ + 1) * groups(); g++)
    for (int w = 0; w < workers_; w++) {
      const long count = start(w, g + 1) - start(w, g);
      if (w == worker && count > 0) blocks.emplace_back(place, count);
      place += count;
    }
  return blocks;
}

}  // namespace moec
