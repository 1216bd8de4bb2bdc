#include "routes.hpp"

#include <stdexcept>
#include <string>

namespace moec {

Routes::Routes(const TogetherSpec& spec, const int32_t* offsets, size_t count, int workers, int rank)
    : offsets_(offsets), ends_(long(count) / workers), workers_(workers), rank_(rank), back_(spec.back) {
  const auto [rows, room] = back_ ? std::pair(spec.length, spec.rows) : std::pair(spec.rows, spec.length);
  for (int w = 0; w < workers; w++)
    for (long g = 0; g + 1 < ends_; g++)
      if (start(w, g) < 0 || start(w, g) > start(w, g + 1) || start(w, g + 1) > rows)
        throw std::runtime_error("rows " + std::to_string(start(w, g)) + " to " + std::to_string(start(w, g + 1)) + " of " + std::to_string(rows) +
                                 " cannot be exchanged");
  requireRoom(room);
}
void Routes::requireRoom(long room) const {
  for (int owner = 0; owner < workers_; owner++) {
    long sent = 0;
    for (int w = 0; w < workers_; w++) sent += start(w, (owner + 1) * groups()) - start(w, owner * groups());
    if (sent > room)
      throw std::runtime_error("NO_ROOM: worker " + std::to_string(owner) + " is sent " + std::to_string(sent) + " rows, and has room for " +
                               std::to_string(room));
  }
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
