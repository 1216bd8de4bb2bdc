// A plan made ready to run on a GPU: its arena on the device, its kernels loaded, a graph for each entry.
#pragma once
#include "cuda_stream.hpp"
#include "engine.hpp"

namespace moec::cuda {

/// `image`: machine code that the driver loads. `shared`: bytes of dynamic shared memory of a block.
struct KernelSpec {
  std::string name;
  std::string image;
  unsigned threads, shared;
};
struct Spec {
  std::string driver;
  int device;
  size_t bytes;
  /// Whether an entry is captured at its first run and replayed; else each launch is waited for, so that an error names its kernel.
  bool graphs;
  std::vector<BufferSpec> buffers;
  std::vector<KernelSpec> kernels;
  std::vector<std::vector<StepSpec>> entries;
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
    /// That the device runs at once.
    int blocks;
  };
  /// A launch of `kernel`, or, where it is null, a copy of blocks of elements of `width` bytes.
  struct Step {
    const Kernel* kernel;
    std::vector<Address> args;
    unsigned blocks;
    std::vector<Block> copied;
    size_t width;
  };
  struct Entry {
    std::vector<Step> steps;
    /// Once it has run.
    Owned<Handle> graph;
  };
  Owned<Address> allocate(size_t bytes) const;
  Kernel load(const KernelSpec& spec) const;
  Step step(const StepSpec& spec) const;
  void enqueue(Step& step);
  bool oneByOne(Entry& entry);
  bool timed(Entry& entry, std::vector<StepTime>& times);

  const Driver& driver_;
  Context context_;
  bool graphs_;
  Owned<Address> arena_;
  Stream stream_;
  Staging staging_;
  std::vector<Kernel> kernels_;
  std::vector<Entry> entries_;
  std::vector<Owned<Handle>> events_;
};

}  // namespace moec::cuda
