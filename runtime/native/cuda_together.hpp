// What all workers do together, on their GPUs: steps of a plan that data crosses processes in. compiler/ops/together.ts defines them.
#pragma once
#include "moves.hpp"
#include "nccl.hpp"

namespace moec::cuda {

/// One such step: `args` are what it reads, then what it writes, each without gaps; it may do several at once, as on the host. Sums are no step: kernels make them of what was moved.
class Together {
 public:
  struct Arg {
    Address at;
    size_t bytes;
  };
  /// Throws where there are not as many workers as the plan is for.
  Together(const TogetherSpec& spec, std::vector<Arg> args, const Driver& driver);
  const std::string& name() const { return spec_.name; }
  /// Whether the host must know what is moved, and waits for the stream: such a step is in no graph.
  bool waits() const { return spec_.name == "exchange"; }
  void run(Communicator& all, Stream& stream);

 private:
  void gather(Communicator& all, Stream& stream);
  void exchange(Communicator& all, Stream& stream);
  void trade(const Moves<Arg>& moves, Communicator& all, Stream& stream);

  TogetherSpec spec_;
  Group group_;
  std::vector<Arg> read_, written_;
  /// Of an exchange: where its offsets come to on the host.
  Owned<void*> offsets_;
};

}  // namespace moec::cuda
