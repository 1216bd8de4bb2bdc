#include "layout.hpp"

#include <algorithm>
#include <cstring>

namespace moec {

static long panels_of(const Layout& l) { return (l.cols + l.pitch - 1) / l.pitch; }

long Layout::footprint() const {
  if (elements() == 0) return 0;
  return panels ? outer * panels_of(*this) * rows * pitch : (outer * rows - 1) * pitch + cols;
}

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

void convert(char* to, const Layout& to_layout, const char* from, const Layout& from_layout, long begin, long end) {
  const long width = to_layout.width;
  for (long row = begin; row < end; row++) {
    for (long col = 0; col < to_layout.cols;) {
      const ContiguousRun target = contiguousRun(to_layout, row, col), source = contiguousRun(from_layout, row, col);
      const long length = std::min(target.length, source.length);
      std::memcpy(to + target.at * width, from + source.at * width, size_t(length * width));
      col += length;
    }
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
