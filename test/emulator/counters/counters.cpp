#include "counters.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "../runtime/config.hpp"
#include "../runtime/memory.hpp"
#include "pricing.hpp"
#include "table.hpp"

namespace emu::count {

static Table table;

/// A pending access, which the next may extend: the host's compiler splits vector accesses.
struct Part {
  bool any = false, store = false;
  Site site;
  u64 address = 0;
  unsigned bytes = 0;
};
typedef std::pair<Site, uint32_t> Turn;  // an instruction, and how often a lane has executed it
struct Lane {
  std::map<Site, uint32_t> executed;
  Part last;
  Position block = 0;
  std::map<Position, uint32_t> visits;
};
/// Lanes run one after another, so a warp's request is assembled from theirs, and priced when all active lanes have joined, or at the end.
struct WarpRequests {
  std::map<Turn, Request> open;
  /// After the n-th visit of a basic block: the successor of the first lane, and a different one of another lane if there is.
  std::map<std::pair<Position, uint32_t>, std::pair<Position, Position>> next;
  Lane lanes[32];
};
static std::map<std::pair<const Block*, unsigned>, WarpRequests> warps;
static WarpRequests& requests_of(const Thread& t) { return warps[{t.block, t.warp}]; }

static void price(const Site& site, const Request& r) {
  Entry& e = table.sites[site];
  const Cost cost = on_shared(site.kind) ? shared_cost(r) : global_cost(r);
  e.requests++;
  e.bytes += u64(__builtin_popcount(r.mask)) * r.bytes;
  e.cost.real += cost.real;
  e.cost.ideal += cost.ideal;
}
static void join(WarpRequests& w, uint32_t all, unsigned number) {
  Lane& lane = w.lanes[number];
  const Part p = lane.last;
  lane.last.any = false;
  if (!p.any) return;
  if (!on_shared(p.site.kind)) (p.store ? table.stored : table.loaded) += p.bytes;
  const auto at = w.open.emplace(Turn{p.site, lane.executed[p.site]++}, Request()).first;
  Request& r = at->second;
  r.mask |= 1u << number;
  r.address[number] = p.address;
  r.bytes = uint8_t(p.bytes);
  if (r.mask != all) return;
  price(p.site, r);
  w.open.erase(at);
}
static bool widens(const Part& p, Kind kind, u64 address, unsigned bytes) {
  const unsigned room = p.address % 16 == 0 ? 16 : p.address % 8 == 0 ? 8 : 0;
  const bool ordinary = kind != Kind::CopyShared && kind != Kind::CopyGlobal;
  return p.any && ordinary && p.site.kind == kind && address == p.address + p.bytes && p.bytes + bytes <= room && position - p.site.position < 512;
}
static void part(const Thread& t, Kind kind, u64 address, unsigned bytes, bool store) {
  WarpRequests& w = requests_of(t);
  Part& last = w.lanes[t.lane].last;
  if (widens(last, kind, address, bytes)) {
    last.bytes += bytes;
    return;
  }
  const unsigned rest = unsigned(t.block->count) - t.warp * 32;
  join(w, rest >= 32 ? ~0u : (1u << rest) - 1, t.lane);
  last = {true, store, {kind, position}, address, bytes};
}

/// What the host's compiler copies as a whole, a GPU accesses by at most 16 bytes.
static void parts(const Thread& t, Kind kind, u64 address, size_t bytes, bool store) {
  for (size_t at = 0; at < bytes; at += 16) part(t, kind, address + at, unsigned(std::min<size_t>(16, bytes - at)), store);
}
void access(Thread& t, const void* p, size_t bytes, bool store) {
  if (!config.count) return;
  const size_t offset = shared_offset(*t.block, p);
  if (offset < arena_bytes) parts(t, store ? Kind::StoreShared : Kind::LoadShared, offset, bytes, store);
  else if (region_of(p)) parts(t, store ? Kind::StoreGlobal : Kind::LoadGlobal, u64(p), bytes, store);
}
void atomic(Thread& t, const void* p, size_t bytes) {
  if (!config.count) return;
  const size_t offset = shared_offset(*t.block, p);
  const bool shared = offset < arena_bytes;
  part(t, shared ? Kind::AtomicShared : Kind::AtomicGlobal, shared ? offset : u64(p), unsigned(bytes), true);
}
void copy(Thread& t, uint32_t shared, unsigned bytes, const void* global, unsigned read) {
  if (!config.count) return;
  part(t, Kind::CopyShared, shared, bytes, true);
  if (read > 0) part(t, Kind::CopyGlobal, u64(global), read, false);
}
void rows(Matrix matrix, const u64* addresses, unsigned n, bool first) {
  if (!config.count) return;
  Entry& e = table.sites[{matrix == Matrix::Ldmatrix ? Kind::Ldmatrix : Kind::Wgmma, position}];
  e.cost.real += wavefronts(addresses, n, 16);
  e.cost.ideal++;
  e.bytes += u64(16) * n;
  e.requests += first;
}
void bulk(size_t bytes, size_t inner, bool store) {
  if (!config.count) return;
  (store ? table.stored : table.loaded) += bytes;
  Entry& e = table.sites[{Kind::Bulk, position}];
  e.requests++;
  e.bytes += bytes;
  e.cost.real += bytes / inner * ((inner + 31) / 32);
  e.cost.ideal += bytes / 32;
}
void barrier() {
  if (config.count) table.barriers++;
}
void basic_block(Thread& t, Position at) {
  if (!config.count) return;
  WarpRequests& w = requests_of(t);
  Lane& lane = w.lanes[t.lane];
  if (lane.block != 0) {
    auto [next, fresh] = w.next.emplace(std::make_pair(lane.block, lane.visits[lane.block]++), std::make_pair(at, at));
    if (!fresh && next->second.first != at) next->second.second = at;
  }
  lane.block = at;
}

void end_block(Block& b) {
  if (!config.count) return;
  for (unsigned i = 0; i < b.warps.size(); i++) {
    const auto found = warps.find({&b, i});
    if (found == warps.end()) continue;
    WarpRequests& w = found->second;
    for (unsigned lane = 0; lane < 32; lane++) join(w, ~0u, lane);
    for (auto& [turn, request] : w.open) price(turn.first, request);
    for (auto& [visit, next] : w.next)
      if (next.first != next.second) table.divergent[visit.first]++;
    warps.erase(found);
  }
}
static Totals totals;
const Totals& last() { return totals; }
void end_launch(const Launch& launch) {
  if (!config.count) return;
  totals = table.totals();
  if (config.counts == "-") {
  } else if (config.counts.empty()) table.print(launch, stderr);
  else if (FILE* out = fopen(config.counts.c_str(), "a")) {
    table.write_json(launch, out);
    fclose(out);
  }
  table = {};
  warps.clear();
}
}  // namespace emu::count
