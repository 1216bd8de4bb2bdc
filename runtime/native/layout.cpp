#include "layout.hpp"

#include <algorithm>
#include <cstring>

namespace moec {

static long panels_of(const Layout& l) { return (l.cols + l.pitch - 1) / l.pitch; }

long Layout::footprint() const {
  if (elements() == 0) return 0;
  return panels ? outer * matrixPitch() : (outer * rows - 1) * pitch + cols;
}
long Layout::matrixPitch() const { return (panels ? panels_of(*this) : 1) * rows * pitch; }

/// The position of column `col` of row `row` (rows are counted over all matrices), and how many columns follow contiguously.
struct ContiguousRun {
  long at, length;
};
static ContiguousRun contiguousRun(const Layout& l, long row, long col) {
  if (!l.panels) return {row * l.pitch + col, l.cols - col};
  const long panel = row / l.rows * panels_of(l) + col / l.pitch;
  const long in_panel = col % l.pitch;
  return {(panel * l.rows + row % l.rows) * l.pitch + in_panel, std::min(l.pitch - in_panel, l.cols - col)};
}

/// Goes by so many rows at a time that the lines of one side stay in the cache, where each of its rows goes to many panels of the other.
static constexpr long rows_at_a_time = 32;
void convert(char* to, const Layout& to_layout, const char* from, const Layout& from_layout, long begin, long end) {
  const size_t width = size_t(to_layout.width), to_step = size_t(to_layout.pitch) * width, from_step = size_t(from_layout.pitch) * width;
  for (long row = begin; row < end;) {
    const long height = std::min({rows_at_a_time, end - row, to_layout.rows - row % to_layout.rows});
    for (long col = 0; col < to_layout.cols;) {
      const ContiguousRun target = contiguousRun(to_layout, row, col), source = contiguousRun(from_layout, row, col);
      const long length = std::min(target.length, source.length);
      char* t = to + size_t(target.at) * width;
      const char* f = from + size_t(source.at) * width;
      for (long i = 0; i < height; i++, t += to_step, f += from_step) std::memcpy(t, f, size_t(length) * width);
      col += length;
    }
    row += height;
  }
}

std::vector<Block> blocks(const Layout& to, const Layout& from) {
  const long rows = to.outer * to.rows, whole = to.footprint();
  if (to.elements() == 0) return {};
  const bool plain = !to.panels && !from.panels, alike = to.panels == from.panels && to.pitch == from.pitch;
  if (alike || (plain && rows == 1)) return {{0, 0, whole, whole, whole, 1}};
  if (plain) return {{0, 0, to.pitch, from.pitch, to.cols, rows}};
  std::vector<Block> all;
  for (long row = 0; row < rows; row += to.rows) {
    for (long col = 0; col < to.cols; col += all.back().length) {
      const ContiguousRun target = contiguousRun(to, row, col), source = contiguousRun(from, row, col);
      all.push_back({target.at, source.at, to.pitch, from.pitch, std::min(target.length, source.length), to.rows});
    }
  }
  return all;
}

}  // namespace moec
