// The collectives of a plan on GPUs, over NCCL. compiler/ops/collectives.ts defines what each computes.
#pragma once
#include "../moves.hpp"
#include "../nccl.hpp"

namespace moec::cuda {

/// One collective step. `args` are the buffers it reads, then those it writes, each contiguous; several may be joined, as on the host. It only moves
/// bytes: on GPUs sums are made by kernels.
class Collective {
 public:
  struct Arg {
    Address at;
    size_t bytes;
  };
  /// Throws if the number of workers is not that which the plan was made for.
  Collective(const CollectiveSpec& spec, std::vector<Arg> args, const Driver& driver);
  const std::string& name() const { return spec_.name; }
  /// Whether the host must wait for the stream to learn what is to be moved; such a step cannot be captured in a CUDA graph.
  bool waits() const { return spec_.name == "exchange"; }
  void run(Communicator& communicator, Stream& stream);

 private:
  void allGather(Communicator& communicator, Stream& stream);
  void exchange(Communicator& communicator, Stream& stream);
  void sendReceive(const Moves<Arg>& moves, Communicator& communicator, Stream& stream);

  CollectiveSpec spec_;
  Group group_;
  std::vector<Arg> read_, written_;
  /// Of an exchange only: host memory for its offsets.
  Owned<void*> offsets_;
};

}  // namespace moec::cuda
