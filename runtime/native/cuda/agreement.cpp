#include "agreement.hpp"

#include <algorithm>

namespace moec::cuda {

std::vector<char> Agreement::allGather(const std::vector<char>& own) const {
  if (mpi_ == nullptr || own.empty()) return own;
  std::vector<char> all(own.size() * size_t(mpi_->size()));
  mpi_->allGather(own.data(), all.data(), own.size());
  return all;
}
Trial::Outcome Agreement::common(const Trial::Outcome& own) const {
  const auto refuses = [](Verdict v) { return v != Verdict::agrees && v != Verdict::undecided; };
  const std::vector<char> all = allGather({char(own.verdict)});
  const auto first = [&](auto is) { return size_t(std::find_if(all.begin(), all.end(), [&](char v) { return is(Verdict(v)); }) - all.begin()); };
  const size_t no = first(refuses), yes = first([](Verdict v) { return v == Verdict::agrees; });
  if (no < all.size()) return refuses(own.verdict) ? own : Trial::Outcome{Verdict::differs, "it does not serve worker " + std::to_string(no)};
  if (yes == all.size() || own.verdict == Verdict::agrees) return own;
  return {Verdict::agrees, "it agrees on worker " + std::to_string(yes)};
}
bool Agreement::onAll(bool own) const { return common({own ? Verdict::agrees : Verdict::unused, ""}).verdict == Verdict::agrees; }
std::vector<int> Agreement::firstUnusable(const std::vector<char>& usable) const {
  const std::vector<char> all = allGather(usable);
  const size_t n = usable.size(), workers = n == 0 ? 0 : all.size() / n;
  std::vector<int> first(n, int(workers));
  for (size_t i = n * workers; i-- > 0;)
    if (!all[i]) first[i % n] = int(i / n);
  return first;
}

}  // namespace moec::cuda
