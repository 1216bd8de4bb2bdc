#include "cuda_agreement.hpp"

#include <algorithm>

namespace moec::cuda {

std::vector<char> Agreement::gathered(const std::vector<char>& own) const {
  if (mpi_ == nullptr || own.empty()) return own;
  std::vector<char> all(own.size() * size_t(mpi_->size()));
  mpi_->gather(own.data(), all.data(), own.size());
  return all;
}
Trial::Outcome Agreement::on(const Trial::Outcome& own) const {
  const auto refuses = [](Verdict v) { return v != Verdict::agrees && v != Verdict::open; };
  const std::vector<char> all = gathered({char(own.verdict)});
  const auto first = [&](auto is) { return size_t(std::find_if(all.begin(), all.end(), [&](char v) { return is(Verdict(v)); }) - all.begin()); };
  const size_t no = first(refuses), yes = first([](Verdict v) { return v == Verdict::agrees; });
  if (no < all.size()) return refuses(own.verdict) ? own : Trial::Outcome{Verdict::differs, "it does not serve worker " + std::to_string(no)};
  if (yes == all.size() || own.verdict == Verdict::agrees) return own;
  return {Verdict::agrees, "it agrees on worker " + std::to_string(yes)};
}
bool Agreement::everywhere(bool own) const { return on({own ? Verdict::agrees : Verdict::none, ""}).verdict == Verdict::agrees; }
std::vector<int> Agreement::without(const std::vector<char>& usable) const {
  const std::vector<char> all = gathered(usable);
  const size_t n = usable.size(), workers = n == 0 ? 0 : all.size() / n;
  std::vector<int> first(n, int(workers));
  for (size_t i = n * workers; i-- > 0;)
    if (!all[i]) first[i % n] = int(i / n);
  return first;
}

}  // namespace moec::cuda
