// NCCL, loaded with dlopen: it moves bytes between the GPUs of workers.
#pragma once
#include <memory>

#include "cuda/stream.hpp"
#include "mpi.hpp"

namespace moec::cuda {

/// ncclUniqueId.
struct UniqueId {
  char internal[128];
};
/// The functions that are called, as nccl.h declares them since 2.13. Handles are ncclComm_t and cudaStream_t.
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

/// The communicator of all workers' GPUs; all make the same calls in the same order. Operations are enqueued in a stream, and may be captured in a graph.
/// Errors are `Failure`s: NO_NCCL, OLD_NCCL, or NCCL_ and the name in ncclResult_t.
class Communicator {
 public:
  /// The version of the library at `path`: 22807 is 2.28.7; before 2.9 it has four digits.
  static int version(const std::string& path);
  /// The process' communicator, created at the first call, which all workers make together.
  static std::shared_ptr<Communicator> shared(const std::string& path, const Driver& driver, int device);
  /// Destroys it, before MPI ends, unless a program still holds it: its graphs may use it, and NCCL would wait for them.
  static void end();
  ~Communicator();

  int rank() const { return mpi_.rank(); }
  int size() const { return mpi_.size(); }
  struct GatherBuffers {
    Address from, to;
    size_t bytes;
  };
  /// All-gathers, by rank, each buffer of `all`, in one NCCL group.
  void allGather(const std::vector<GatherBuffers>& all, const Stream& stream);
  struct Transfer {
    int worker;
    Address at;
    size_t bytes;
  };
  /// Sends and receives in one NCCL group. Between two workers, parts match in the order of both lists.
  void sendReceive(const std::vector<Transfer>& sent, const std::vector<Transfer>& received, const Stream& stream);
  /// Waits until the stream is done. Throws if something failed there or on another worker; then the communicator is unusable.
  void wait(Stream& stream, const std::string& what);

 private:
  Communicator(const std::string& path, const Driver& driver, int device);
  void check(int result, const std::string& what) const;
  /// Runs `call` between ncclGroupStart and ncclGroupEnd.
  void inGroup(const std::string& what, const std::function<int()>& call);
  void requireSuccess(int result, const std::string& what);
  void requireNoAsyncError();

  Mpi& mpi_;
  Context context_;
  Handle handle_ = nullptr;
#define F(type, name, ...) type (*name)(__VA_ARGS__) = nullptr;
  MOEC_NCCL_FUNCTIONS(F)
#undef F
};

}  // namespace moec::cuda
