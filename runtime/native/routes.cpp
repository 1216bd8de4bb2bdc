#include "routes.hpp"

#include <stdexcept>
#include <string>

namespace moec {

Routes::Routes(const CollectiveSpec& spec, const int32_t* offsets, size_t count, const Group& group, int size)
    : offsets_(offsets), offsets_per_worker_(long(count) / size), group_(group), back_(spec.back), first_(experts() * spec.piece / spec.pieces), end_(experts() * (spec.piece + 1) / spec.pieces) {
  const auto [rows, room] = back_ ? std::pair(spec.length, spec.rows) : std::pair(spec.rows, spec.length);
  for (int w = 0; w < size; w++)
    for (long g = 0; g + 1 < offsets_per_worker_; g++)
      if (start(w, g) < 0 || start(w, g) > start(w, g + 1) || start(w, g + 1) > rows)
        throw std::runtime_error("rows " + std::to_string(start(w, g)) + " to " + std::to_string(start(w, g + 1)) + " of " + std::to_string(rows) +
                                 " cannot be exchanged");
  requireRoom(spec, room, size);
}
void Routes::requireRoom(const CollectiveSpec& spec, long room, int size) const {
  for (int owner = 0; owner < size; owner++) {
    const Group group(spec, size, owner);
    const long first = group.member() * experts();
    long sent = 0;
    for (int i = 0; i < group.workers(); i++) sent += start(group.rank(i), first + experts()) - start(group.rank(i), first);
    if (sent > room)
      throw std::runtime_error("NO_ROOM: worker " + std::to_string(owner) + " is sent " + std::to_string(sent) + " rows, and has room for " +
                               std::to_string(room));
  }
}
Routes::Blocks Routes::rowsFor(int owner) const {
  const int worker = group_.rank(group_.member());
  Blocks blocks;
  for (long e = owner * experts() + first_; e < owner * experts() + end_; e++)
    if (const long count = start(worker, e + 1) - start(worker, e); count > 0) blocks.emplace_back(start(worker, e), count);
  return blocks;
}
Routes::Blocks Routes::rowsFrom(int member) const {
  Blocks blocks;
  long place = 0;
  const long own = group_.member() * experts();
  for (long e = own; e < own + end_; e++)
    for (int i = 0; i < group_.workers(); i++) {
      const long count = start(group_.rank(i), e + 1) - start(group_.rank(i), e);
      if (i == member && count > 0 && e >= own + first_) blocks.emplace_back(place, count);
      place += count;
    }
  return blocks;
}

}  // namespace moec
