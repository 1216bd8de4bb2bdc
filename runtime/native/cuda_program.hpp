// A plan made ready to run on a GPU: its arena on the device, its kernels loaded, graphs for each entry.
#pragma once
#include <optional>

#include "cuda_agreement.hpp"
#include "cuda_together.hpp"

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
  /// NCCL's library, for one of several workers; empty for one that is alone.
  std::string nccl;
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
  /// A launch of `choice`, or, where it is null, what all workers do together, or a copy of blocks of elements of `width` bytes.
  struct Step {
    Choice* choice;
    std::vector<Address> args;
    long tasks;
    std::vector<TensorMap> maps;
    std::vector<Trial::Result> results;
    std::vector<Block> copied;
    size_t width;
    std::unique_ptr<Together> together;
    bool open() const { return choice && choice->verdict == Verdict::open; }
    std::string name() const { return choice ? "kernel " + choice->kernel.name : together ? together->name() : "a copy"; }
  };
  /// Steps that one graph holds, once they have run; or one that waits for the host.
  struct Segment {
    size_t begin, end;
    bool waits;
    Owned<Handle> graph;
  };
  struct Entry {
    std::vector<Step> steps;
    std::vector<Segment> segments;
  };
  Owned<Address> allocate(size_t bytes) const;
  Kernel load(const KernelSpec& spec) const;
  void prepare(Choice& choice, const std::function<void()>& work);
  void add(Entry& entry, const CudaStepSpec& spec);
  Step step(const CudaStepSpec& spec);
  std::unique_ptr<Together> together(const StepSpec& spec) const;
  TensorMap map(const MapSpec& spec, Address base) const;
  void join();
  void wait(const std::string& what);
  void enqueue(Step& step);
  void launch(const Step& step, const Kernel& kernel, bool maps);
  void judge(Step& step);
  bool inGraphs(Entry& entry);
  bool oneByOne(Entry& entry);
  bool timed(Entry& entry, std::vector<StepTime>& times);

  const Driver& driver_;
  Context context_;
  int device_;
  bool graphs_;
  std::string nccl_;
  Agreement agreement_;
  /// Where there are other workers, once any entry has run.
  std::shared_ptr<Communicator> all_;
  Owned<Address> arena_;
  Stream stream_;
  Staging staging_;
  std::vector<Choice> kernels_;
  std::vector<Entry> entries_;
  std::vector<Owned<Handle>> events_;
};

}  // namespace moec::cuda
