// MPI, loaded with dlopen (Open MPI or any library with MPICH's ABI): the few calls that collectives are made of.
#pragma once
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace moec {

/// A contiguous block of memory.
struct Bytes {
  char* data;
  size_t bytes;
};
/// A message to or from a worker. Sender and receiver give the same number of blocks, of the same sizes.
struct Message {
  int worker;
  std::vector<Bytes> blocks;
};

/// This process among the workers that the launcher started. Calls may come from any thread, one at a time. An error is a std::runtime_error that names
/// the MPI call.
class Mpi {
 public:
  /// Initialises MPI from the library at this path; once in a process.
  static Mpi& init(const std::string& library);
  /// What init() returned. Throws if it was not called.
  static Mpi& current();
  /// The version text of the library at this path.
  static std::string version(const std::string& library);
  virtual ~Mpi() = default;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// While this is false, the calling thread sleeps as it waits, instead of asking again and again, since others compute. Default: null, it never sleeps.
  static thread_local const std::atomic<bool>* hurried;
  /// Gathers `bytes` from each worker, by rank.
  void allGather(const char* own, char* all, size_t bytes);
  /// Sends and receives at most one message to and from each other worker; returns when all have arrived.
  virtual void sendReceive(const std::vector<Message>& sent, const std::vector<Message>& received) = 0;
  virtual void abort(int code) = 0;
  virtual void finalize() = 0;
  /// How many bytes of data this process has sent to others so far.
  size_t sent() const { return sent_; }

 protected:
  virtual void allGatherSmall(const char* own, char* all, int bytes) = 0;
  int rank_ = 0, size_ = 1;
  std::atomic<size_t> sent_{0};
  std::mutex mutex_;
};

}  // namespace moec
