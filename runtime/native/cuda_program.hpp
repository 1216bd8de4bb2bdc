// A plan made ready to run on a GPU: its arena on the device, its kernels loaded, a graph for each entry.
#pragma once
#include <optional>

#include "cuda_stream.hpp"
#include "cuda_trial.hpp"
#include "engine.hpp"

namespace moec::cuda {

/// `image`: machine code that the driver loads. `shared`: bytes of dynamic shared memory of a block. `each`: a block for each task. `variant`: one
/// at most.
struct KernelSpec {
  std::string name;
  std::string image;
  unsigned threads, shared;
  bool each;
  std::vector<KernelSpec> variant;
};
/// A tensor of bf16 in an argument's buffer, the innermost axis first, strides in bytes of all others; `box`: what one copy takes of it.
struct MapSpec {
  size_t arg;
  std::vector<uint64_t> dims, strides;
  std::vector<uint32_t> box;
};
/// For a variant: its tensor maps, and the arguments that it writes, with the bytes of a float in them (0: they are not compared).
struct CudaStepSpec : StepSpec {
  std::vector<MapSpec> maps;
  std::vector<Written> writes;
};
struct Spec {
  std::string driver;
  int device;
  size_t bytes;
  /// Whether an entry is captured at its first run and replayed; else each launch is waited for, so that an error names its kernel.
  bool graphs;
  std::vector<BufferSpec> buffers;
  std::vector<KernelSpec> kernels;
  std::vector<std::vector<CudaStepSpec>> entries;
};

class Program : public Engine {
 public:
  explicit Program(const Spec& spec);
  ~Program() override;

  void write(size_t buffer, const char* plain) override;
  void read(size_t buffer, char* plain) override;
  void fill(size_t offset, size_t bytes, int byte) override;
  size_t steps(size_t entry) const override { return entries_.at(entry).steps.size(); }
  bool run(size_t entry, std::vector<StepTime>& times) override;

 private:
  struct Kernel {
    std::string name;
    Owned<Handle> module;
    Handle function;
    unsigned threads, shared;
    /// At most: that the device runs at once, or as many as there are tasks.
    int blocks;
  };
  /// A kernel, and its variant, which is used once it has agreed with it on what an entry gives both.
  struct Choice {
    Kernel kernel;
    std::optional<Kernel> variant;
    Verdict verdict;
    size_t number;
    /// Trials that decided nothing.
    int idle = 0;
  };
  /// A launch of `choice`, or, where it is null, a copy of blocks of elements of `width` bytes.
  struct Step {
    Choice* choice;
    std::vector<Address> args;
    long tasks;
    std::vector<TensorMap> maps;
    std::vector<Trial::Result> results;
    std::vector<Block> copied;
    size_t width;
    bool open() const { return choice && choice->verdict == Verdict::open; }
  };
  struct Entry {
    std::vector<Step> steps;
    /// Once it has run.
    Owned<Handle> graph;
  };
  Owned<Address> allocate(size_t bytes) const;
  Kernel load(const KernelSpec& spec) const;
  void prepare(Choice& choice, const std::function<void()>& work);
  Step step(const CudaStepSpec& spec);
  TensorMap map(const MapSpec& spec, Address base) const;
  void enqueue(Step& step);
  void launch(const Step& step, const Kernel& kernel, bool maps);
  void judge(Step& step);
  bool oneByOne(Entry& entry);
  bool timed(Entry& entry, std::vector<StepTime>& times);

  const Driver& driver_;
  Context context_;
  bool graphs_;
  Owned<Address> arena_;
  Stream stream_;
  Staging staging_;
  std::vector<Choice> kernels_;
  std::vector<Entry> entries_;
  std::vector<Owned<Handle>> events_;
};

}  // namespace moec::cuda
