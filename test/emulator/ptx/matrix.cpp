// mma.sync, ldmatrix, stmatrix, executed for a whole warp. Fragment layouts: PTX ISA 9.7.14.
#include <algorithm>
#include <cstring>

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "../runtime/memory.hpp"
#include "modifiers.hpp"
#include "numbers.hpp"

namespace emu {

/// D = A B + C of 16 x 8 and depth `k`. A lane holds element pairs (16 bits) or single elements (32) of A and B, four of C.
struct Mma {
  Small type;
  int k;
  int per_register() const { return 4 / bytes_of(type); }
  int a_registers() const { return 2 * b_registers(); }
  int b_registers() const { return k / (4 * per_register()); }
};
struct Tiles {
  float a[16][16], b[16][8], c[16][8];
};
static void gather(const Mma& m, const Instruction& i, Frame& f, int lane, Tiles& t) {
  const int group = lane >> 2, first = (lane & 3) * m.per_register(), step = 4 * m.per_register();
  size_t operand = 4;
  for (int r = 0; r < m.a_registers(); r++) {
    const uint32_t word = i.word(f, operand++);
    for (int e = 0; e < m.per_register(); e++) t.a[group + (r & 1) * 8][first + e + (r >> 1) * step] = element(m.type, word, e);
  }
  for (int r = 0; r < m.b_registers(); r++) {
    const uint32_t word = i.word(f, operand++);
    for (int e = 0; e < m.per_register(); e++) t.b[first + e + r * step][group] = element(m.type, word, e);
  }
  for (int r = 0; r < 4; r++) t.c[group + (r >> 1) * 8][(lane & 3) * 2 + (r & 1)] = i.real(f, operand++);
}
static void multiply(Tiles& t, int depth) {
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < depth; k++)
      for (int col = 0; col < 8; col++) t.c[row][col] += t.a[row][k] * t.b[k][col];
}
static void mma_together(const Mma& m, const Instruction& i, void** frames) {
  Tiles t;
  for (int lane = 0; lane < 32; lane++) gather(m, i, *(Frame*)frames[lane], lane, t);
  multiply(t, m.k);
  for (int lane = 0; lane < 32; lane++)
    for (int r = 0; r < 4; r++) i.set_real(*(Frame*)frames[lane], size_t(r), t.c[(lane >> 2) + (r >> 1) * 8][(lane & 3) * 2 + (r & 1)]);
}

/// Runs `together` once, for the whole warp.
template <class F> static Action for_warp(F together) {
  return [together](const Instruction& i, Frame& f) {
    struct Call {
      const F& run;
      const Instruction& instruction;
    } call{together, i};
    auto run = [](void** frames, unsigned, void* user) { ((Call*)user)->run(((Call*)user)->instruction, frames); };
    collective(~0u, &i, &f, run, &call, f.line);
  };
}
static void need_aligned(Modifiers& m) {
  m.need("sync");
  m.need("aligned");
}
Action bind_mma(Modifiers& m) {
  need_aligned(m);
  const std::string shape = m.need_any({"m16n8k16", "m16n8k8", "m16n8k4"});
  m.need("row");
  m.need("col");
  m.need("f32");
  m.need("f32");
  const std::string type = m.need_any({"bf16", "f16", "tf32"});
  m.need(type);
  const Mma mma{type == "bf16" ? Small::Bf16 : type == "f16" ? Small::F16 : Small::Tf32, std::stoi(shape.substr(6))};
  if (mma.k == (mma.type == Small::Tf32 ? 16 : 4)) throw std::invalid_argument("its shape with this type");
  return for_warp([mma](const Instruction& i, void** frames) { mma_together(mma, i, frames); });
}

/// 8 x 8 matrices of b16; lane 8 m + r has the address of row r of matrix m.
struct Matrices {
  int count;
  bool transposed;
};
typedef uint16_t Rows[8][8];
static Matrices bind_matrices(Modifiers& m) {
  need_aligned(m);
  m.need("m8n8");
  const std::string count = m.need_any({"x1", "x2", "x4"});
  const bool transposed = m.take("trans");
  m.need_any({"shared", "shared::cta"});
  m.need("b16");
  return {std::stoi(count.substr(1)), transposed};
}
static void count_rows(const Instruction& i, void** frames, int matrix, size_t address) {
  u64 rows[8];
  for (int r = 0; r < 8; r++) rows[r] = i.word(*(Frame*)frames[matrix * 8 + r], address);
  count::rows(count::Matrix::Ldmatrix, rows, 8, matrix == 0);
}
static char* row_at(const Instruction& i, void** frames, int lane, size_t address, check::Kind kind, const char* what) {
  Frame& f = *(Frame*)frames[lane];
  char* p = shared_at(f.thread, i.word(f, address), 16, 16, what);
  check::access(f.thread, p, 16, kind);
  return p;
}
Action bind_ldmatrix(Modifiers& modifiers) {
  const Matrices m = bind_matrices(modifiers);
  return for_warp([m](const Instruction& i, void** frames) {
    const size_t address = size_t(m.count);
    for (int matrix = 0; matrix < m.count; matrix++) {
      Rows rows;
      count_rows(i, frames, matrix, address);
      for (int r = 0; r < 8; r++) memcpy(rows[r], row_at(i, frames, matrix * 8 + r, address, check::Kind::Read, "ldmatrix"), 16);
      for (int lane = 0; lane < 32; lane++) {
        const int r = lane >> 2, c = (lane & 3) * 2;
        const uint16_t low = m.transposed ? rows[c][r] : rows[r][c], high = m.transposed ? rows[c + 1][r] : rows[r][c + 1];
        i.set(*(Frame*)frames[lane], size_t(matrix), low | u64(high) << 16);
      }
    }
  });
}
Action bind_stmatrix(Modifiers& modifiers) {
  const Matrices m = bind_matrices(modifiers);
  return for_warp([m](const Instruction& i, void** frames) {
    for (int matrix = 0; matrix < m.count; matrix++) {
      Rows rows;
      count_rows(i, frames, matrix, 0);
      for (int lane = 0; lane < 32; lane++) {
        const int r = lane >> 2, c = (lane & 3) * 2;
        const uint32_t word = i.word(*(Frame*)frames[lane], size_t(1 + matrix));
        (m.transposed ? rows[c][r] : rows[r][c]) = uint16_t(word);
        (m.transposed ? rows[c + 1][r] : rows[r][c + 1]) = uint16_t(word >> 16);
      }
      for (int r = 0; r < 8; r++) memcpy(row_at(i, frames, matrix * 8 + r, 0, check::Kind::Write, "stmatrix"), rows[r], 16);
    }
  });
}
}  // namespace emu
