#include "cuda_together.hpp"

namespace moec::cuda {

Together::Together(const TogetherSpec& spec, std::vector<Arg> args, const Driver& driver)
    : spec_(spec), group_(spec, Mpi::current().size(), Mpi::current().rank()) {
  const size_t several = args.size() / 2;
  read_.assign(args.begin(), args.end() - long(several));
  written_.assign(args.end() - long(several), args.end());
  if (spec.name == "exchange") offsets_ = pinned(driver, read_.back().bytes);
}
void Together::run(Communicator& all, Stream& stream) {
  if (spec_.name == "all_gather") return gather(all, stream);
  if (spec_.name == "all_to_all") return trade({read_, written_, group_.workers(), false}, all, stream);
  if (spec_.name == "exchange") return exchange(all, stream);
  throw std::runtime_error("GPUs do not know " + spec_.name);
}

void Together::gather(Communicator& all, Stream& stream) {
  if (group_.workers() != all.size()) return trade({read_, written_, group_.workers(), true}, all, stream);
  std::vector<Communicator::Gathered> parts;
  for (size_t i = 0; i < read_.size(); i++)
    if (read_[i].bytes > 0) parts.push_back({read_[i].at, written_.at(i).at, read_[i].bytes});
  all.gather(parts, stream);
}
void Together::exchange(Communicator& all, Stream& stream) {
  const auto& [offsets, bytes] = read_.back();
  stream.move(reinterpret_cast<Address>(offsets_.get()), offsets, bytes);
  all.wait(stream, "before an exchange");
  const Routes routes(spec_, static_cast<const int32_t*>(offsets_.get()), bytes / sizeof(int32_t), group_, all.size());
  trade({read_, written_, routes, spec_.rows}, all, stream);
}
void Together::trade(const Moves<Arg>& moves, Communicator& all, Stream& stream) {
  const std::vector<Arg> from = moves.sent(group_.own()), to = moves.received(group_.own());
  for (size_t i = 0; i < from.size(); i++) stream.move(to.at(i).at, from[i].at, from[i].bytes);
  std::vector<Communicator::Part> out, in;
  for (const int other : group_.others()) {
    for (const auto& [at, bytes] : moves.sent(other)) out.push_back({group_.rank(other), at, bytes});
    for (const auto& [at, bytes] : moves.received(other)) in.push_back({group_.rank(other), at, bytes});
  }
  all.trade(out, in, stream);
}

}  // namespace moec::cuda
