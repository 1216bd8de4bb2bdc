// What all workers do together: steps of a plan that data crosses processes in. compiler/ops/together.ts defines them.
#pragma once
#include <string>
#include <vector>

#include "engine.hpp"
#include "moves.hpp"
#include "mpi.hpp"

namespace moec {

/// One such step: `args` are what it reads, then what it writes, each without gaps. It may do several at once, which are then
/// one message: what they read, the offsets of an exchange, what they write.
class Together {
 public:
  using Arg = Bytes;
  /// Throws where there are not as many workers as the plan is for.
  Together(const TogetherSpec& spec, std::vector<Arg> args);
  void run();

 private:
  void reduce();
  void round(size_t begin, size_t bytes);
  void few(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, size_t bytes);
  void fold(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, char* others, size_t stride);
  void gather();
  void exchange();
  void trade(const Moves<Bytes>& moves);
  /// `bytes` of each member, in their order.
  void gather(char* own, char* all, size_t bytes);

  Mpi& mpi_;
  TogetherSpec spec_;
  Group group_;
  std::vector<Arg> read_, written_;
  std::vector<char> scratch_;
};

}  // namespace moec
