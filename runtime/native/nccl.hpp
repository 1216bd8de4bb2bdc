// NCCL, known only by dlopen: bytes that go between the GPUs of workers.
#pragma once
#include <memory>

#include "cuda_stream.hpp"
#include "mpi.hpp"

namespace moec::cuda {

/// ncclUniqueId.
struct UniqueId {
  char internal[128];
};
/// All that is called, as nccl.h declares it since 2.13; handles are of communicators and streams.
#define MOEC_NCCL_FUNCTIONS(F)                                         \
  F(int, ncclGetVersion, int*)                                         \
  F(int, ncclGetUniqueId, UniqueId*)                                   \
  F(int, ncclCommInitRank, Handle*, int, UniqueId, int)                \
  F(int, ncclCommDestroy, Handle)                                      \
  F(int, ncclCommAbort, Handle)                                        \
  F(int, ncclCommGetAsyncError, Handle, int*)                          \
  F(int, ncclGroupStart)                                               \
  F(int, ncclGroupEnd)                                                 \
  F(int, ncclSend, const void*, size_t, int, int, Handle, Handle)      \
  F(int, ncclRecv, void*, size_t, int, int, Handle, Handle)            \
  F(int, ncclAllGather, const void*, void*, size_t, int, Handle, Handle) \
  F(const char*, ncclGetErrorString, int)                              \
  F(const char*, ncclGetLastError, Handle)

/// The GPU of this worker among those of all, each of which asks for the same in the same order. What is asked for is done in a stream, in its turn,
/// and may be captured. Errors are `Failure`s: NO_NCCL, OLD_NCCL, or NCCL_ and what ncclResult_t calls them.
class Communicator {
 public:
  /// Of the library at `path`: 22807 is 2.28.7, and before 2.9 a number has four digits.
  static int version(const std::string& path);
  /// Made once in a process, when all workers ask for it.
  static std::shared_ptr<Communicator> made(const std::string& path, const Driver& driver, int device);
  /// Ends it before MPI ends, unless a program that may hold graphs of it is still there: NCCL would wait for these.
  static void end();
  ~Communicator();

  int rank() const { return mpi_.rank(); }
  int size() const { return mpi_.size(); }
  struct Gathered {
    Address from, to;
    size_t bytes;
  };
  /// `bytes` of each worker, in their order, of all of these at once.
  void gather(const std::vector<Gathered>& all, const Stream& stream);
  struct Part {
    int worker;
    Address at;
    size_t bytes;
  };
  /// To and from others, all at once; between two workers in the order of both.
  void trade(const std::vector<Part>& sent, const std::vector<Part>& received, const Stream& stream);
  /// Until all in the stream is done. Throws what went wrong there, or elsewhere, after which the communicator is of no use.
  void wait(Stream& stream, const std::string& what);

 private:
  Communicator(const std::string& path, const Driver& driver, int device);
  void check(int result, const std::string& what) const;
  /// What `call` asks for, as one.
  void grouped(const std::string& what, const std::function<int()>& call) const;
  void requireWell();

  Mpi& mpi_;
  Context context_;
  Handle handle_ = nullptr;
#define F(type, name, ...) type (*name)(__VA_ARGS__) = nullptr;
  MOEC_NCCL_FUNCTIONS(F)
#undef F
};

}  // namespace moec::cuda
