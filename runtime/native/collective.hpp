// The collectives of a plan on the host, over MPI. compiler/ops/collectives.ts defines what each computes.
#pragma once
#include <string>
#include <vector>

#include "engine.hpp"
#include "moves.hpp"
#include "mpi.hpp"

namespace moec {

/// One collective step. `args` are the buffers it reads, then those it writes, each contiguous. Several collectives of a kind may be joined in one step
/// (and message); then `args` are all operands, the offsets of an exchange, all results.
class Collective {
 public:
  using Arg = Bytes;
  /// Throws if the number of workers is not that which the plan was made for.
  Collective(const CollectiveSpec& spec, std::vector<Arg> args);
  void run();

 private:
  void allReduce();
  void reduceRound(size_t begin, size_t bytes);
  void reduceSmall(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, size_t bytes);
  void fold(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, char* others, size_t stride);
  void allGather();
  void exchange();
  void sendReceive(const Moves<Bytes>& moves);
  /// Gathers `bytes` from each member of the group, in the order of members.
  void allGather(char* own, char* all, size_t bytes);

  Mpi& mpi_;
  CollectiveSpec spec_;
  Group group_;
  std::vector<Arg> read_, written_;
  std::vector<char> scratch_;
};

}  // namespace moec
