// Memory layouts of buffers, and copies between layouts.
#pragma once
#include <cstddef>
#include <vector>

namespace moec {

/// A stack of `outer` matrices [rows, cols] of elements of `width` bytes. In rows: consecutive rows are `pitch` elements apart. In panels: each
/// matrix is divided into blocks of `pitch` columns, each stored as [rows][pitch].
struct Layout {
  long width, outer, rows, cols, pitch;
  bool panels;

  long elements() const { return outer * rows * cols; }
  /// The number of elements from the first to the last, including padding in between.
  long footprint() const;
  /// The number of elements from one matrix to the next.
  long matrixPitch() const;
  /// The row-major layout of the same elements, without padding.
  Layout rowMajor() const { return {width, outer, rows, cols, cols, false}; }
};

/// Copies rows [begin, end) of all outer * rows between layouts of the same shape.
void convert(char* to, const Layout& to_layout, const char* from, const Layout& from_layout, long begin, long end);

/// A 2D block that both layouts have with constant pitches: `height` rows of `length` contiguous elements. All fields are in elements.
struct Block {
  long to, from, to_pitch, from_pitch, length, height;
};
/// Blocks that cover all elements; if both layouts are equal, one block that includes the padding.
std::vector<Block> blocks(const Layout& to, const Layout& from);

}  // namespace moec
