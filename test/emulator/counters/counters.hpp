// Counts the cost of each request of a warp by source line: wavefronts of shared memory (1 + bank conflicts), 32-byte sectors of global memory, and
// divergent branches. All functions do nothing unless config.count.
#pragma once
#include <string>

#include "../runtime/block.hpp"
#include "../runtime/report.hpp"
#include "pricing.hpp"

namespace emu::count {
/// An ordinary access, at `position`.
void access(Thread&, const void*, size_t bytes, bool store);
void atomic(Thread&, const void*, size_t bytes);
/// cp.async: its shared memory write and its global read.
void copy(Thread&, uint32_t shared, unsigned bytes, const void* global, unsigned read);
/// 16-byte rows that are fetched together, by ldmatrix or as a core matrix of wgmma. `first`: starts a new request.
enum class Matrix { Ldmatrix, Wgmma };
void rows(Matrix, const u64* addresses, unsigned n, bool first);
/// A bulk copy of rows of `inner` bytes.
void bulk(size_t bytes, size_t inner, bool store);
void barrier();
void basic_block(Thread&, Position);

void end_block(Block&);
/// Writes the table and clears it. config.counts: a file; empty: stderr; `-`: nowhere.
void end_launch(const Launch&);
/// Of the last launch.
struct Totals {
  Cost shared, global;
  u64 loaded = 0, stored = 0, divergent = 0;
};
const Totals& last();
}  // namespace emu::count
