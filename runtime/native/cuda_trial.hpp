// Whether two kernels do the same: both run on what an entry gives them, and their results are compared.
#pragma once
#include "cuda_stream.hpp"

namespace moec::cuda {

/// open: not known yet. endless: it took more than a second and ten times as long as its kernel.
enum class Verdict { none, open, agrees, differs, endless };
/// An argument that a kernel writes; `width`: bytes of a float of it, or 0.
struct Written {
  size_t arg, width;
};

class Trial {
 public:
  struct Result {
    Address at;
    size_t bytes, width;
  };
  /// `spare`: memory for results twice.
  Trial(Stream& stream, const std::vector<Result>& results, Address spare) : stream_(stream), results_(results), spare_(spare) {}
  static size_t bytes(const std::vector<Result>& results);

  struct Outcome {
    Verdict verdict;
    std::string text;
  };
  /// What is made of what was seen here: others may have seen more.
  using Judge = std::function<Outcome(const Outcome&)>;
  /// Runs both on the same memory. What they leave is the variant's where it agrees, so that every run has the same bits, the one that it was
  /// tried in too; else `kernel`'s. Nothing but zeros decides nothing. `variant` says whether it could be launched; `name`: its own.
  Outcome run(const std::function<void()>& kernel, const std::function<bool()>& variant, const Judge& judge, const std::string& name);

 private:
  Outcome compare(bool launched);
  /// Between the results and copies of them, copy 0 or 1.
  void save(size_t copy);
  void restore(size_t copy);

  Stream& stream_;
  const std::vector<Result>& results_;
  Address spare_;
};

}  // namespace moec::cuda
