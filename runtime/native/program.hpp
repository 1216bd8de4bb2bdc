// A plan made ready to run: its arena, its kernels' code, and its entries as steps with addresses.
#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "arena.hpp"
#include "layout.hpp"
#include "pool.hpp"

namespace moec {

struct BufferSpec {
  size_t offset, bytes;
  Layout layout;
};
struct KernelSpec {
  std::string name;
  size_t library;
};
/// A launch of `kernel` on the buffers `args`, or, where kernel is `copy`, a copy of args[0] to args[1].
struct StepSpec {
  static constexpr long copy = -1;
  long kernel;
  std::vector<size_t> args;
  long tasks;
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

/// Errors are std::exception with a message. One run at a time, and no read or write while it lasts: the addon sees to it.
class Program {
 public:
  explicit Program(const Spec& spec);
  ~Program();

  const Layout& layout(size_t buffer) const { return buffers_.at(buffer).layout; }
  /// From and to plain rows. Padding becomes zero.
  void write(size_t buffer, const char* plain);
  void read(size_t buffer, char* plain) const;
  void fill(size_t offset, size_t bytes, int byte);

  size_t steps(size_t entry) const { return entries_.at(entry).size(); }
  /// False if it was cancelled. Before each run, `cancel(false)`.
  bool run(size_t entry, std::vector<StepTime>& times) { return pool_.run(entries_.at(entry), cancel_, times); }
  void cancel(bool wanted) { cancel_ = wanted; }

 private:
  struct Copy;
  void check(const BufferSpec& buffer) const;
  Step launch(const StepSpec& spec, const std::vector<Kernel>& kernels);
  Step copy(const StepSpec& spec);
  char* address(size_t buffer) const { return arena_.data() + buffers_.at(buffer).offset; }

  Arena arena_;
  std::vector<BufferSpec> buffers_;
  std::vector<Library> libraries_;
  std::vector<std::unique_ptr<Copy>> copies_;
  std::vector<std::vector<Step>> entries_;
  std::atomic<bool> cancel_{false};
  Pool pool_;
};

}  // namespace moec
