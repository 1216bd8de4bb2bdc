#include "cuda_together.hpp"

#include "routes.hpp"

namespace moec::cuda {

Together::Together(const TogetherSpec& spec, std::vector<Arg> args, const Driver& driver) : spec_(spec) {
  const int workers = Mpi::current().size();
  if (spec.workers != 0 && spec.workers != workers)
    throw std::runtime_error("this plan is for " + std::to_string(spec.workers) + " workers, and there are " + std::to_string(workers));
  const size_t several = args.size() / 2;
  read_.assign(args.begin(), args.end() - long(several));
  written_.assign(args.end() - long(several), args.end());
  if (spec.name == "exchange") offsets_ = pinned(driver, read_.back().bytes);
}
void Together::run(Communicator& all, Stream& stream) {
  if (spec_.name == "all_gather") return gather(all, stream);
  if (spec_.name == "all_to_all") return toAll(all, stream);
  if (spec_.name == "exchange") return exchange(all, stream);
  throw std::runtime_error("GPUs do not know " + spec_.name);
}

void Together::gather(Communicator& all, Stream& stream) {
  std::vector<Communicator::Gathered> parts;
  for (size_t i = 0; i < read_.size(); i++)
    if (read_[i].bytes > 0) parts.push_back({read_[i].at, written_.at(i).at, read_[i].bytes});
  all.gather(parts, stream);
}
/// Row r goes to worker r, where it is the row of the one that it is from.
void Together::toAll(Communicator& all, Stream& stream) {
  const auto rows = [&](const std::vector<Arg>& of, int worker) {
    std::vector<Arg> parts;
    for (const auto& [at, bytes] : of) {
      const size_t row = bytes / size_t(all.size());
      if (row > 0) parts.push_back({at + size_t(worker) * row, row});
    }
    return parts;
  };
  trade(all, stream, [&](int to) { return rows(read_, to); }, [&](int from) { return rows(written_, from); });
}
void Together::exchange(Communicator& all, Stream& stream) {
  const auto& [offsets, bytes] = read_.back();
  stream.move(reinterpret_cast<Address>(offsets_.get()), offsets, bytes);
  all.wait(stream, "before an exchange");
  const Routes routes(spec_, static_cast<const int32_t*>(offsets_.get()), bytes / sizeof(int32_t), all.size(), all.rank());
  const auto rows = [&](const std::vector<Arg>& of, const Routes::Blocks& blocks) {
    std::vector<Arg> parts;
    for (size_t i = 0; i < written_.size(); i++) {
      const size_t width = read_[i].bytes / size_t(spec_.rows);
      for (const auto& [first, count] : blocks) parts.push_back({of[i].at + size_t(first) * width, size_t(count) * width});
    }
    return parts;
  };
  trade(all, stream, [&](int to) { return rows(read_, routes.sent(to)); }, [&](int from) { return rows(written_, routes.received(from)); });
}
/// What this worker sends to each, and to itself, and where it goes: as many parts, of as many bytes each.
template <class Sent, class Received>
void Together::trade(Communicator& all, Stream& stream, Sent sent, Received received) {
  const std::vector<Arg> from = sent(all.rank()), to = received(all.rank());
  for (size_t i = 0; i < from.size(); i++) stream.move(to.at(i).at, from[i].at, from[i].bytes);
  std::vector<Communicator::Part> out, in;
  for (const int other : Mpi::current().others()) {
    for (const auto& [at, bytes] : sent(other)) out.push_back({other, at, bytes});
    for (const auto& [at, bytes] : received(other)) in.push_back({other, at, bytes});
  }
  all.trade(out, in, stream);
}

}  // namespace moec::cuda
