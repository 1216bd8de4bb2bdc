// What workers make of variants: all do the same with one, or what all have would differ by the rounding of their sums.
#pragma once
#include "cuda_trial.hpp"
#include "mpi.hpp"

namespace moec::cuda {

class Agreement {
 public:
  /// Null: of one that is alone, who does as it finds.
  explicit Agreement(Mpi* mpi) : mpi_(mpi) {}
  /// One that says no decides; else one that agrees; else it stays open. Called by all.
  Trial::Outcome on(const Trial::Outcome& own) const;
  /// Whether it is so on all.
  bool everywhere(bool own) const;
  /// For each kernel the first worker that has no use for a variant of it; the number of workers if all have.
  std::vector<int> without(const std::vector<char>& usable) const;

 private:
  std::vector<char> gathered(const std::vector<char>& own) const;
  Mpi* mpi_;
};

}  // namespace moec::cuda
