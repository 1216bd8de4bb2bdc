// What all workers do together: steps of a plan that data crosses processes in. compiler/ops/together.ts defines them.
#pragma once
#include <string>
#include <vector>

#include "engine.hpp"
#include "mpi.hpp"

namespace moec {

/// One such step: `args` are what it reads, then what it writes, each without gaps.
class Together {
 public:
  struct Arg {
    char* data;
    size_t bytes;
  };
  /// Throws where there are not as many workers as the plan is for.
  Together(const TogetherSpec& spec, std::vector<Arg> args);
  void run();

 private:
  void reduce();
  void round(char* own, char* sums, long n, size_t width);
  void allToAll();
  void exchange();

  Mpi& mpi_;
  TogetherSpec spec_;
  std::vector<Arg> args_;
  std::vector<char> scratch_;
};

}  // namespace moec
