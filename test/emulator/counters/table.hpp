// The counts of a launch, by instruction.
#pragma once
#include <cstdio>
#include <map>
#include <tuple>

#include "../runtime/block.hpp"
#include "../runtime/report.hpp"
#include "counters.hpp"

namespace emu::count {
enum class Kind { LoadShared, StoreShared, LoadGlobal, StoreGlobal, AtomicShared, AtomicGlobal, CopyShared, CopyGlobal, Ldmatrix, Wgmma, Bulk };
const char* name_of(Kind);
bool on_shared(Kind);

struct Site {
  Kind kind = Kind::LoadShared;
  Position position = 0;
  bool operator<(const Site& o) const { return std::tie(kind, position) < std::tie(o.kind, o.position); }
};
/// `cost`: wavefronts for shared memory, else sectors.
struct Entry {
  u64 requests = 0, bytes = 0;
  Cost cost;
};
struct Table {
  std::map<Site, Entry> sites;
  /// How often lanes of a warp left a basic block for different successors.
  std::map<Position, u64> divergent;
  u64 loaded = 0, stored = 0, barriers = 0;

  Totals totals() const;
  void print(const Launch&, FILE*) const;
  /// One line: `{"kernel", "wavefronts": [real, ideal], "sectors": [real, ideal], ..., "lines": [{"kind", "line", "requests", "bytes", "cost"}]}`.
  void write_json(const Launch&, FILE*) const;
};
}  // namespace emu::count
