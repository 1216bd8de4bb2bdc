// An engine on the host: a plan's arena, its kernels' libraries, and its entries as steps with resolved addresses.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "arena.hpp"
#include "engine.hpp"
#include "pool.hpp"
#include "second_queue.hpp"

namespace moec {

struct KernelSpec {
  std::string name;
  size_t library;
};
struct Spec {
  size_t bytes, scratch;
  int threads;
  std::vector<BufferSpec> buffers;
  std::vector<std::string> libraries;
  std::vector<KernelSpec> kernels;
  std::vector<std::vector<StepSpec>> entries;
};

class Library {
 public:
  explicit Library(const std::string& path);
  ~Library();
  Library(Library&& other) noexcept : handle_(other.handle_) { other.handle_ = nullptr; }
  Kernel kernel(const std::string& name) const;

 private:
  void* handle_;
};

class Program : public Engine {
 public:
  explicit Program(const Spec& spec);
  ~Program() override;

  void fill(size_t offset, size_t bytes, int byte) override;
  size_t memory() const override { return bytes_ + pool_.memory(); }
  size_t steps(size_t entry) const override { return entries_.at(entry).size(); }
  bool run(size_t entry, std::vector<StepTime>& times) override;
  std::vector<int32_t> repeat(const Repeat& repeat) override;

 protected:
  void upload(const BufferSpec& to, const char* row_major) override;
  void download(char* row_major, const BufferSpec& from) override;

 private:
  struct Copy;
  struct CollectiveStep;
  struct WaitStep;
  Step makeStep(const std::vector<StepSpec>& entry, size_t at, const std::vector<Kernel>& kernels);
  Step launch(const StepSpec& spec, const std::vector<Kernel>& kernels);
  Step copy(const StepSpec& spec);
  Step collective(const StepSpec& spec);
  Step wait(const std::vector<StepSpec>& entry, size_t at);
  void runCopy(const Copy& copy);
  bool finish(bool finished);
  char* address(size_t buffer) const { return arena_.data() + buffers_.at(buffer).offset; }

  Arena arena_;
  std::vector<Library> libraries_;
  std::vector<std::unique_ptr<Copy>> copies_;
  std::vector<std::unique_ptr<CollectiveStep>> collectives_;
  std::vector<std::unique_ptr<WaitStep>> waits_;
  /// Whether a collective of this run failed, and its error.
  std::atomic<bool> hasFailed_{false};
  std::string failure_;
  std::vector<std::vector<Step>> entries_;
#ifdef __SANITIZE_ADDRESS__
  std::vector<std::vector<StepSpec>> specs_;
#endif
  Pool pool_;
  /// For collectives beside; null if there are none.
  std::unique_ptr<SecondQueue> second_;
};

}  // namespace moec
