// MPI, known only by dlopen: the calls that collectives are made of, whichever library it is.
#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace moec {

/// Bytes that lie together.
struct Bytes {
  char* data;
  size_t bytes;
};
/// What goes to a worker, or comes from it: who receives it has as many blocks, of as many bytes each.
struct Message {
  int worker;
  std::vector<Bytes> blocks;
};

/// This process among the workers that were started together. Errors are std::runtime_error that names the call. One call at a time.
class Mpi {
 public:
  /// Begins MPI, once in a process.
  static Mpi& begin(const std::string& library);
  /// What begin() gave. Throws if it was not called.
  static Mpi& current();
  /// What a library says of itself.
  static std::string version(const std::string& library);
  virtual ~Mpi() = default;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// `bytes` of each worker, in their order.
  void gather(const char* own, char* all, size_t bytes);
  /// Sends and receives, no more than one message to and from each other worker, and returns when all are there.
  virtual void trade(const std::vector<Message>& sent, const std::vector<Message>& received) = 0;
  virtual void barrier() = 0;
  virtual void abort(int code) = 0;
  virtual void finalize() = 0;

 protected:
  virtual void gatherSmall(const char* own, char* all, int bytes) = 0;
  int rank_ = 0, size_ = 1;
  std::mutex mutex_;
};

}  // namespace moec
