#include "collective.hpp"

namespace moec::cuda {

Collective::Collective(const CollectiveSpec& spec, std::vector<Arg> args, const Driver& driver)
    : spec_(spec), group_(spec, Mpi::current().size(), Mpi::current().rank()) {
  const size_t results = args.size() / 2;
  read_.assign(args.begin(), args.end() - long(results));
  written_.assign(args.end() - long(results), args.end());
  if (spec.name == "exchange") offsets_ = pinned(driver, read_.back().bytes);
}
void Collective::run(Communicator& communicator, Stream& stream) {
  if (spec_.name == "all_gather") return allGather(communicator, stream);
  if (spec_.name == "all_to_all") return sendReceive({read_, written_, group_.workers(), false}, communicator, stream);
  if (spec_.name == "exchange") return exchange(communicator, stream);
  throw std::runtime_error("GPUs do not know " + spec_.name);
}

void Collective::allGather(Communicator& communicator, Stream& stream) {
  if (group_.workers() != communicator.size()) return sendReceive({read_, written_, group_.workers(), true}, communicator, stream);
  std::vector<Communicator::GatherBuffers> parts;
  for (size_t i = 0; i < read_.size(); i++)
    if (read_[i].bytes > 0) parts.push_back({read_[i].at, written_.at(i).at, read_[i].bytes});
  communicator.allGather(parts, stream);
}
void Collective::exchange(Communicator& communicator, Stream& stream) {
  const auto& [offsets, bytes] = read_.back();
  stream.move(reinterpret_cast<Address>(offsets_.get()), offsets, bytes);
  communicator.wait(stream, "before an exchange");
  const Routes routes(spec_, static_cast<const int32_t*>(offsets_.get()), bytes / sizeof(int32_t), group_, communicator.size());
  sendReceive({read_, written_, routes, spec_.rows}, communicator, stream);
}
void Collective::sendReceive(const Moves<Arg>& moves, Communicator& communicator, Stream& stream) {
  const std::vector<Arg> from = moves.sent(group_.member()), to = moves.received(group_.member());
  for (size_t i = 0; i < from.size(); i++) stream.move(to.at(i).at, from[i].at, from[i].bytes);
  std::vector<Communicator::Transfer> out, in;
  for (const int other : group_.others()) {
    for (const auto& [at, bytes] : moves.sent(other)) out.push_back({group_.rank(other), at, bytes});
    for (const auto& [at, bytes] : moves.received(other)) in.push_back({group_.rank(other), at, bytes});
  }
  communicator.sendReceive(out, in, stream);
}

}  // namespace moec::cuda
