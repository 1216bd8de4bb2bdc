// What each request of a warp costs: wavefronts of shared memory (1 + bank conflicts), sectors of 32 bytes of global memory, and where
// lanes part ways; by source line. All functions do nothing unless config.count.
#pragma once
#include <string>

#include "../runtime/block.hpp"
#include "../runtime/report.hpp"
#include "pricing.hpp"

namespace emu::count {
/// An ordinary access, at `position`.
void access(Thread&, const void*, size_t bytes, bool store);
void atomic(Thread&, const void*, size_t bytes);
/// cp.async: what it writes to shared memory, and what it reads.
void copy(Thread&, uint32_t shared, unsigned bytes, const void* global, unsigned read);
/// Rows of 16 bytes that are fetched together: of an ldmatrix, or a core matrix of wgmma. `first`: a new request begins.
enum class Matrix { Ldmatrix, Wgmma };
void rows(Matrix, const u64* addresses, unsigned n, bool first);
/// A bulk copy of rows of `inner` bytes.
void bulk(size_t bytes, size_t inner, bool store);
void barrier();
void basic_block(Thread&, Position);

void end_block(Block&);
/// Writes the table, and begins a new one. config.counts names a file; empty: the error output; `-`: nowhere.
void end_launch(const Launch&);
/// Of the last launch.
struct Totals {
  Cost shared, global;
  u64 loaded = 0, stored = 0, divergent = 0;
};
const Totals& last();
}  // namespace emu::count
