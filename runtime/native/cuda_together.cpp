#include "cuda_together.hpp"

#include "routes.hpp"

namespace moec::cuda {

Together::Together(const TogetherSpec& spec, std::vector<Arg> args, const Driver& driver) : spec_(spec), args_(std::move(args)) {
  const int workers = Mpi::current().size();
  if (spec.workers != 0 && spec.workers != workers)
    throw std::runtime_error("this plan is for " + std::to_string(spec.workers) + " workers, and there are " + std::to_string(workers));
  if (spec.name == "exchange") offsets_ = pinned(driver, args_.at(1).bytes);
}
void Together::run(Communicator& all, Stream& stream) {
  if (spec_.name == "all_gather") return all.gather(args_.at(0).at, args_.at(1).at, args_.at(0).bytes, stream);
  if (spec_.name == "all_to_all") return toAll(all, stream);
  if (spec_.name == "exchange") return exchange(all, stream);
  throw std::runtime_error("GPUs do not know " + spec_.name);
}

/// Row r goes to worker r, where it is the row of the one that it is from.
void Together::toAll(Communicator& all, Stream& stream) {
  const size_t row = args_.at(0).bytes / size_t(all.size());
  const auto part = [&](int worker, size_t arg) { return Communicator::Part{worker, args_.at(arg).at + size_t(worker) * row, row}; };
  if (row == 0) return;
  stream.move(part(all.rank(), 1).at, part(all.rank(), 0).at, row);
  std::vector<Communicator::Part> sent, received;
  for (const int other : Mpi::current().others()) {
    sent.push_back(part(other, 0));
    received.push_back(part(other, 1));
  }
  all.trade(sent, received, stream);
}
/// Blocks of what NCCL is told, or of a worker's own rows, are in the same order on both sides.
void Together::exchange(Communicator& all, Stream& stream) {
  const size_t width = args_.at(0).bytes / size_t(spec_.rows);
  stream.move(reinterpret_cast<Address>(offsets_.get()), args_.at(1).at, args_.at(1).bytes);
  all.wait(stream, "before an exchange");
  const Routes routes(spec_, static_cast<const int32_t*>(offsets_.get()), args_[1].bytes / sizeof(int32_t), all.size(), all.rank());
  std::vector<Communicator::Part> sent, received;
  const auto add = [&](std::vector<Communicator::Part>& parts, int worker, size_t arg, const Routes::Blocks& blocks) {
    for (const auto& [first, count] : blocks) parts.push_back({worker, args_.at(arg).at + size_t(first) * width, size_t(count) * width});
  };
  for (const int other : Mpi::current().others()) {
    add(sent, other, 0, routes.sent(other));
    add(received, other, 2, routes.received(other));
  }
  std::vector<Communicator::Part> from, to;
  add(from, all.rank(), 0, routes.sent(all.rank()));
  add(to, all.rank(), 2, routes.received(all.rank()));
  for (size_t i = 0; i < from.size(); i++) stream.move(to[i].at, from[i].at, from[i].bytes);
  all.trade(sent, received, stream);
}

}  // namespace moec::cuda
