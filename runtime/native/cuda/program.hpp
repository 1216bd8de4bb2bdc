// An engine on a GPU: a plan's arena in device memory, its loaded kernels, and CUDA graphs of its entries.
#pragma once
#include <optional>

#include "agreement.hpp"
#include "collective.hpp"

namespace moec::cuda {

/// `image`: machine code that the driver loads. `shared`: dynamic shared memory of a block, in bytes. `each`: one block for each task. `variant`: at
/// most one.
struct KernelSpec {
  std::string name;
  std::string image;
  unsigned threads, shared;
  bool each;
  std::vector<KernelSpec> variant;
};
/// A tensor map of bf16 in an argument's buffer: innermost axis first, strides in bytes of all other axes; `box`: what one copy takes.
struct MapSpec {
  size_t arg;
  std::vector<uint64_t> dims, strides;
  std::vector<uint32_t> box;
};
/// A launch whose kernel has a variant: the variant's tensor maps, and the arguments that it writes, with the size of their floats in bytes (0: not
/// compared).
struct CudaStepSpec : StepSpec {
  std::vector<MapSpec> maps;
  std::vector<Written> writes;
};
struct Spec {
  std::string driver;
  int device;
  size_t bytes;
  /// Whether an entry is captured in a graph at its first run and then replayed; if not, each launch is waited for, so that an error names its
  /// kernel.
  bool graphs;
  /// NCCL's library, if there are several workers; else empty.
  std::string nccl;
  std::vector<BufferSpec> buffers;
  std::vector<KernelSpec> kernels;
  std::vector<std::vector<CudaStepSpec>> entries;
};

class Program : public Engine {
 public:
  explicit Program(const Spec& spec);
  ~Program() override;

  void fill(size_t offset, size_t bytes, int byte) override;
  size_t steps(size_t entry) const override { return entries_.at(entry).steps.size(); }
  bool run(size_t entry, std::vector<StepTime>& times) override;

 protected:
  void upload(const BufferSpec& to, const char* row_major) override;
  void download(char* row_major, const BufferSpec& from) override;

 private:
  struct Kernel {
    std::string name;
    Owned<Handle> module;
    Handle function;
    unsigned threads, shared;
    /// The most blocks of a launch: as many as the device runs at once, or, if each task has its own block, no limit.
    int blocks;
  };
  /// A kernel and its variant. The variant is used once a trial on an entry's own data has given the same results.
  struct KernelChoice {
    Kernel kernel;
    std::optional<Kernel> variant;
    Verdict verdict;
    size_t number;
    /// Trials that did not decide.
    int undecided_trials = 0;
  };
  /// One step of an entry: a launch of `choice`; or, if that is null, a collective (`collective`), a copy of blocks of elements of `width` bytes, or a wait for
  /// the step `awaited`.
  struct Step {
    KernelChoice* choice;
    std::vector<Address> args;
    long tasks;
    std::vector<TensorMap> maps;
    std::vector<Trial::Result> results;
    std::vector<Block> copied;
    size_t width;
    std::unique_ptr<Collective> collective;
    /// It is done on the second stream.
    bool beside = false;
    /// Recorded on the second stream after it, if a step waits for it.
    Owned<Handle> done{};
    Step* awaited = nullptr;
    bool onTrial() const { return choice && choice->verdict == Verdict::undecided; }
    std::string name() const { return choice ? "kernel " + choice->kernel.name : collective ? collective->name() : awaited ? "a wait for " + awaited->name() : "a copy"; }
  };
  /// Consecutive steps that become one graph; or a single step that waits for the host and cannot be captured.
  struct Segment {
    size_t begin, end;
    bool waits;
    Owned<Handle> graph;
  };
  struct Entry {
    std::vector<Step> steps;
    std::vector<Segment> segments;
    bool ran = false;
    bool canBeCaptured() const;
  };
  Owned<Address> allocate(size_t bytes) const;
  Kernel load(const KernelSpec& spec) const;
  void tryPrepare(KernelChoice& choice, const std::function<void()>& work);
  void addStep(Entry& entry, const CudaStepSpec& spec);
  Step step(const CudaStepSpec& spec);
  std::unique_ptr<Collective> collective(const StepSpec& spec) const;
  TensorMap map(const MapSpec& spec, Address base) const;
  void connect();
  void wait(const std::string& what);
  void enqueue(Step& step);
  void work(Step& step, Stream& stream);
  void join();
  void launch(const Step& step, const Kernel& kernel, bool maps, Stream& stream);
  void tryVariant(Step& step);
  bool runGraphs(Entry& entry);
  bool runSteps(Entry& entry);
  bool runTimed(Entry& entry, std::vector<StepTime>& times);

  const Driver& driver_;
  Context context_;
  int device_;
  bool graphs_;
  std::string nccl_;
  Agreement agreement_;
  /// The other workers; null for a single process, and before the first run.
  std::shared_ptr<Communicator> communicator_;
  Owned<Address> arena_;
  Stream stream_;
  /// For what is beside; absent if nothing is. `begun_`: recorded on the first stream before a step beside.
  std::optional<Stream> second_;
  Owned<Handle> begun_;
  Staging staging_;
  std::vector<KernelChoice> kernels_;
  std::vector<Entry> entries_;
  std::vector<Owned<Handle>> events_;
};

}  // namespace moec::cuda
