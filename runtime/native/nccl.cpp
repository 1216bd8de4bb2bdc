#include "nccl.hpp"

namespace moec::cuda {

static constexpr int in_progress = 7, bytes_type = 0;  // ncclInProgress, ncclInt8
static const char* const names[] = {"SUCCESS",       "UNHANDLED_CUDA_ERROR", "SYSTEM_ERROR", "INTERNAL_ERROR", "INVALID_ARGUMENT",
                                    "INVALID_USAGE", "REMOTE_ERROR",         "IN_PROGRESS",  "TIMEOUT"};

int Communicator::version(const std::string& path) {
  int version = 0;
  const auto get = SharedLibrary("NCCL", path).function<int (*)(int*)>("ncclGetVersion");
  if (const int result = get(&version)) throw Failure("OLD_NCCL", path + ": ncclGetVersion fails with error " + std::to_string(result));
  return version;
}

/// Deliberately not destroyed at the process' end: NCCL would wait for workers that are gone.
static auto& communicator = *new std::shared_ptr<Communicator>;
std::shared_ptr<Communicator> Communicator::shared(const std::string& path, const Driver& driver, int device) {
  if (!communicator) communicator.reset(new Communicator(path, driver, device));
  return communicator;
}
void Communicator::end() {
  if (communicator.use_count() == 1) communicator.reset();
}
/// Worker 0 creates NCCL's id, and MPI hands it to all.
Communicator::Communicator(const std::string& path, const Driver& driver, int device) : mpi_(Mpi::current()), context_(driver, device) {
  const SharedLibrary library("NCCL", path);
#define F(type, name, ...) name = library.function<type (*)(__VA_ARGS__)>(#name);
  MOEC_NCCL_FUNCTIONS(F)
#undef F
  context_.enter();
  UniqueId own{};
  if (rank() == 0) check(ncclGetUniqueId(&own), "ncclGetUniqueId");
  std::vector<UniqueId> all(size_t(mpi_.size()));
  mpi_.allGather(own.internal, all[0].internal, sizeof own);
  check(ncclCommInitRank(&handle_, size(), all[0], rank()), "ncclCommInitRank");
}
Communicator::~Communicator() {
  context_.makeCurrent();
  if (handle_ != nullptr) ncclCommDestroy(handle_);
}

void Communicator::check(int result, const std::string& what) const {
  if (result == 0 || result == in_progress) return;
  const bool known = result > 0 && size_t(result) < sizeof names / sizeof *names;
  const std::string last = ncclGetLastError(handle_);
  throw Failure(std::string("NCCL_") + (known ? names[result] : "ERROR"),
                ncclGetErrorString(result) + (last.empty() ? "" : ": " + last) + " (" + what + ")");
}
/// Aborts the communicator after an error, since work on the stream that waits for other workers would never end.
void Communicator::requireSuccess(int result, const std::string& what) {
  try {
    check(result, what);
  } catch (const Failure&) {
    if (handle_ != nullptr) ncclCommAbort(handle_);
    handle_ = nullptr;
    throw;
  }
}
void Communicator::requireNoAsyncError() {
  int failed = 0;
  check(ncclCommGetAsyncError(handle_, &failed), "ncclCommGetAsyncError");
  requireSuccess(failed, "between workers");
}
void Communicator::inGroup(const std::string& what, const std::function<int()>& call) {
  check(ncclGroupStart(), "ncclGroupStart");
  const int result = call();
  const int ended = ncclGroupEnd();  // even after an error, or later calls would belong to this group
  requireSuccess(result, what);
  requireSuccess(ended, "ncclGroupEnd");
}
void Communicator::allGather(const std::vector<GatherBuffers>& all, const Stream& stream) {
  inGroup("ncclAllGather", [&] {
    int result = 0;
    for (const auto& [from, to, bytes] : all)
      if (result == 0)
        result = ncclAllGather(reinterpret_cast<const void*>(from), reinterpret_cast<void*>(to), bytes, bytes_type, handle_, stream.handle());
    return result;
  });
}
void Communicator::sendReceive(const std::vector<Transfer>& sent, const std::vector<Transfer>& received, const Stream& stream) {
  inGroup("ncclSend and ncclRecv", [&] {
    int result = 0;
    for (const Transfer& p : sent)
      if (result == 0) result = ncclSend(reinterpret_cast<const void*>(p.at), p.bytes, bytes_type, p.worker, handle_, stream.handle());
    for (const Transfer& p : received)
      if (result == 0) result = ncclRecv(reinterpret_cast<void*>(p.at), p.bytes, bytes_type, p.worker, handle_, stream.handle());
    return result;
  });
}
void Communicator::wait(Stream& stream, const std::string& what) {
  while (!stream.waitFor(0.01, what)) requireNoAsyncError();
}

}  // namespace moec::cuda
