// The pieces of memory that a collective sends to and receives from each member of the group; for addresses of host or GPU.
#pragma once
#include "routes.hpp"

namespace moec {

/// `Piece` is an address and a number of bytes. The pieces that a member sends match those that the other receives, in number and sizes.
template <class Piece>
class Moves {
 public:
  using Pieces = std::vector<Piece>;
  /// isGather: an all_gather, where all of each operand goes to every member. Else an all_to_all, where member r gets row r.
  Moves(const Pieces& read, const Pieces& written, int members, bool isGather)
      : read_(read), written_(written), members_(members), isGather_(isGather) {}
  /// An exchange of `rows` rows.
  Moves(const Pieces& read, const Pieces& written, const Routes& routes, long rows) : read_(read), written_(written), routes_(&routes), rows_(rows) {}
  Pieces sent(int to) const {
    if (routes_) return rows(read_, routes_->sent(to));
    return isGather_ ? parts(read_, 0, 1) : parts(read_, to, members_);
  }
  Pieces received(int from) const { return routes_ ? rows(written_, routes_->received(from)) : parts(written_, from, members_); }

 private:
  /// Part `part` of each piece, cut into `count` equal parts.
  static Pieces parts(const Pieces& of, int part, int count) {
    Pieces all;
    for (const auto& [at, bytes] : of)
      if (const size_t each = bytes / size_t(count); each > 0) all.push_back({at + size_t(part) * each, each});
    return all;
  }
  Pieces rows(const Pieces& of, const Routes::Blocks& blocks) const {
    Pieces all;
    for (size_t i = 0; i < written_.size(); i++) {
      const auto& [at, _] = of[i];
      const size_t width = read_[i].bytes / size_t(rows_);
      for (const auto& [first, count] : blocks) all.push_back({at + size_t(first) * width, size_t(count) * width});
    }
    return all;
  }

  const Pieces &read_, &written_;
  int members_ = 0;
  bool isGather_ = false;
  const Routes* routes_ = nullptr;
  long rows_ = 0;
};

}  // namespace moec
