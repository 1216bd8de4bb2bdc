// Where the elements of a buffer lie, and copies between layouts.
#pragma once
#include <cstddef>
#include <vector>

namespace moec {

/// A stack of `outer` matrices [rows, cols] of elements of `width` bytes. Rows: rows are `pitch` elements apart. Panels: each matrix is
/// blocks of `pitch` columns, each block [rows][pitch].
struct Layout {
  long width, outer, rows, cols, pitch;
  bool panels;

  long elements() const { return outer * rows * cols; }
  /// Elements from the first to the last, padding between them included.
  long footprint() const;
  /// The same elements without padding, row after row.
  Layout plain() const { return {width, outer, rows, cols, cols, false}; }
};

/// Copies rows [begin, end) of the outer * rows that there are. Both have the same elements.
void convert(char* to, const Layout& to_layout, const char* from, const Layout& from_layout, long begin, long end);

/// Rows that lie in both of two layouts alike: `height` of them, each of `length` elements without a gap. All in elements.
struct Block {
  long to, from, to_pitch, from_pitch, length, height;
};
/// Together all elements; where both layouts are alike, the padding too.
std::vector<Block> blocks(const Layout& to, const Layout& from);

}  // namespace moec
