// What goes from a worker to the members of its group and comes from them, at addresses of any kind.
#pragma once
#include "routes.hpp"

namespace moec {

/// `Piece` is an address and a number of bytes. What one member sends to another has as many pieces as what that receives from it, of as many bytes each.
template <class Piece>
class Moves {
 public:
  using Pieces = std::vector<Piece>;
  /// Of all that is gathered, the whole; else of as many rows as there are members a row to each.
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
  /// One of so many equal parts of each.
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
