// Makes all workers decide alike which variants to use: otherwise sums would be rounded differently, and replicated values would drift apart.
#pragma once
#include "trial.hpp"
#include "../mpi.hpp"

namespace moec::cuda {

class Agreement {
 public:
  /// Null for a single process, which decides alone.
  explicit Agreement(Mpi* mpi) : mpi_(mpi) {}
  /// The common verdict: refused if any worker refuses, else used if any worker's trial agreed, else still open. All workers must call it.
  Trial::Outcome common(const Trial::Outcome& own) const;
  /// Whether `own` is true on all workers. All must call it.
  bool onAll(bool own) const;
  /// For each kernel, the first worker that cannot use its variant; the number of workers if all can. All must call it.
  std::vector<int> firstUnusable(const std::vector<char>& usable) const;

 private:
  std::vector<char> allGather(const std::vector<char>& own) const;
  Mpi* mpi_;
};

}  // namespace moec::cuda
