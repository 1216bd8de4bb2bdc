// Decides whether a kernel's variant computes the same: runs both on the same memory, in a real run of an entry, and compares their results.
#pragma once
#include "stream.hpp"

namespace moec::cuda {

/// unused: the variant is not used. undecided: no trial has decided yet. endless: the variant ran for more than a second plus ten times its kernel's time.
enum class Verdict { unused, undecided, agrees, differs, endless };
/// An argument that a kernel writes; `width`: the size in bytes of its floats, or 0 if it does not hold floats.
struct Written {
  size_t arg, width;
};

class Trial {
 public:
  struct Result {
    Address at;
    size_t bytes, width;
  };
  /// `workspace`: memory for two copies of the results.
  Trial(Stream& stream, const std::vector<Result>& results, Address workspace) : stream_(stream), results_(results), workspace_(workspace) {}
  static size_t bytes(const std::vector<Result>& results);

  struct Outcome {
    Verdict verdict;
    std::string text;
  };
  /// Turns this process's outcome into the common one of all workers.
  using Judge = std::function<Outcome(const Outcome&)>;
  /// Runs both on the same memory. If they agree, the variant's results are kept, in this run too, so that all runs have the same bits; else the
  /// kernel's. Results of only zeros do not decide. `variant` returns whether it could be launched; `name` is the variant's.
  Outcome run(const std::function<void()>& kernel, const std::function<bool()>& variant, const Judge& judge, const std::string& name);

 private:
  Outcome compare(bool launched);
  /// Copy the results to, and back from, copy 0 or 1 in the workspace.
  void save(size_t copy);
  void restore(size_t copy);

  Stream& stream_;
  const std::vector<Result>& results_;
  Address workspace_;
};

}  // namespace moec::cuda
