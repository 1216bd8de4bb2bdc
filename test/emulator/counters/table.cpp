#include "table.hpp"

namespace emu::count {

static const char* const names[] = {"lds", "sts", "ldg", "stg", "atoms", "atomg", "cp.async shared", "cp.async global", "ldmatrix", "wgmma", "bulk"};
const char* name_of(Kind kind) { return names[int(kind)]; }
bool on_shared(Kind kind) {
  switch (kind) {
    case Kind::LoadShared:
    case Kind::StoreShared:
    case Kind::AtomicShared:
    case Kind::CopyShared:
    case Kind::Ldmatrix:
    case Kind::Wgmma: return true;
    default: return false;
  }
}

static Cost total(const Table& t, bool shared) {
  Cost all;
  for (auto& [site, e] : t.sites)
    if (on_shared(site.kind) == shared) all.real += e.cost.real, all.ideal += e.cost.ideal;
  return all;
}
static double ratio(const Cost& c) { return c.ideal ? double(c.real) / double(c.ideal) : 1; }
/// By source line, without branches of the emulator.
static std::map<std::string, u64> divergent_lines(const Table& t) {
  std::map<std::string, u64> lines;
  for (auto& [at, n] : t.divergent) {
    const std::string line = where(at);
    if (line.find(".hpp:") == std::string::npos && line.rfind("0x", 0) != 0) lines[line] += n;
  }
  return lines;
}
static u64 sum(const std::map<std::string, u64>& lines) {
  u64 all = 0;
  for (auto& [line, n] : lines) all += n;
  return all;
}
static double barriers_per_thread(const Table& t, const Launch& l) { return double(t.barriers) / (double(l.threads()) * l.blocks()); }

Totals Table::totals() const {
  std::vector<Position> all;
  for (auto& [site, e] : sites) all.push_back(site.position);
  for (auto& [at, n] : divergent) all.push_back(at);
  find_lines(all);
  return {total(*this, true), total(*this, false), loaded, stored, sum(divergent_lines(*this))};
}
void Table::print(const Launch& l, FILE* out) const {
  const Cost waves = total(*this, true), sectors = total(*this, false);
  const auto lines = divergent_lines(*this);
  fprintf(out, "%s: %u blocks of %u threads; wavefronts %llu (%.2f of ideal), sectors %llu (%.2f of ideal), %llu bytes loaded, %llu stored, %.1f barriers a thread, %llu divergent branches\n",
          l.kernel->name, l.blocks(), l.threads(), waves.real, ratio(waves), sectors.real, ratio(sectors), loaded, stored, barriers_per_thread(*this, l), sum(lines));
  for (auto& [site, e] : sites)
    if (e.cost.real > (on_shared(site.kind) ? e.cost.ideal : e.cost.ideal * 5 / 4))
      fprintf(out, "  %-16s %8llu requests, %.2f of ideal  %s\n", name_of(site.kind), e.requests, ratio(e.cost), where(site.position).c_str());
  for (auto& [line, n] : lines) fprintf(out, "  divergent        %8llu times  %s\n", n, line.c_str());
}
void Table::write_json(const Launch& l, FILE* out) const {
  const Cost waves = total(*this, true), sectors = total(*this, false);
  const auto lines = divergent_lines(*this);
  fprintf(out, "{\"kernel\":\"%s\",\"blocks\":%u,\"threads\":%u,\"wavefronts\":[%llu,%llu],\"sectors\":[%llu,%llu],", l.kernel->name, l.blocks(), l.threads(),
          waves.real, waves.ideal, sectors.real, sectors.ideal);
  fprintf(out, "\"loaded\":%llu,\"stored\":%llu,\"barriers\":%.3f,\"divergent\":%llu,\"lines\":[", loaded, stored, barriers_per_thread(*this, l), sum(lines));
  const char* comma = "";
  for (auto& [site, e] : sites) {
    fprintf(out, "%s{\"kind\":\"%s\",\"line\":\"%s\",\"requests\":%llu,\"bytes\":%llu,\"cost\":[%llu,%llu]}", comma, name_of(site.kind), where(site.position).c_str(), e.requests, e.bytes, e.cost.real, e.cost.ideal);
    comma = ",";
  }
  fprintf(out, "]}\n");
}
}  // namespace emu::count
