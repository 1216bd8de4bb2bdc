#include "mpi.hpp"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "shared_library.hpp"

namespace moec {

static constexpr size_t max_block_bytes = size_t(1) << 30;  // the most bytes in one block, since MPI counts with ints
static constexpr int serialized = 2;                        // MPI_THREAD_SERIALIZED
static constexpr size_t max_text = 16384;                    // the most characters in any text that MPI returns

static constexpr size_t large_block = size_t(16) << 10;  // a block of so many bytes is sent by itself: libraries pack and unpack derived types piece by piece
static constexpr int spin_limit = 1000;                   // so often a wait asks before it yields its core
static constexpr long first_nap = 20'000, last_nap = 200'000;  // nanoseconds that a thread sleeps until it asks again: each time longer
static constexpr size_t status_bytes = 64;                // bytes, no less than an MPI_Status has in any library

/// A message as MPI is given it: each large block by itself, all small ones together. Sender and receiver see the same sizes, so they divide alike.
static std::vector<std::vector<Bytes>> mpiBuffers(const Message& m) {
  std::vector<std::vector<Bytes>> all;
  std::vector<Bytes> rest;
  for (const Bytes& block : m.blocks) {
    if (block.bytes < large_block) {
      rest.push_back(block);
      continue;
    }
    for (size_t at = 0; at < block.bytes; at += max_block_bytes) all.push_back({{block.data + at, std::min(max_block_bytes, block.bytes - at)}});
  }
  if (!rest.empty()) all.push_back(rest);
  return all;
}
/// RTLD_GLOBAL, since Open MPI's plugins look up its symbols globally.
static SharedLibrary openLibrary(const std::string& path) { return {"MPI", path, RTLD_GLOBAL}; }

/// Open MPI: handles are addresses of exported symbols. Its waits yield the core, as runtime/workers/mpi.ts asks it to.
struct OpenMpi {
  using Handle = void*;
  static constexpr bool yields = true;
  static Handle world(const SharedLibrary& l) { return l.symbol("ompi_mpi_comm_world"); }
  static Handle byte(const SharedLibrary& l) { return l.symbol("ompi_mpi_byte"); }
  static Handle errors_return(const SharedLibrary& l) { return l.symbol("ompi_mpi_errors_return"); }
};
/// The MPICH ABI: handles are integers, the same in all libraries. Its waits may spin and never yield (Debian's MPICH 4.0): with more workers than
/// cores each would then cost whole time slices of the scheduler.
struct Mpich {
  using Handle = int;
  static constexpr bool yields = false;
  static Handle world(const SharedLibrary&) { return 0x44000000; }
  static Handle byte(const SharedLibrary&) { return 0x4c00010d; }
  static Handle errors_return(const SharedLibrary&) { return 0x54000001; }
};

template <class Abi>
class LoadedMpi : public Mpi {
 public:
  explicit LoadedMpi(const SharedLibrary& l) : library_(l), world_(Abi::world(l)), byte_(Abi::byte(l)) {
    int begun = 0, provided = 0;
    check("MPI_Initialized", l.function<int (*)(int*)>("MPI_Initialized")(&begun));
    if (begun != 0) throw std::runtime_error("MPI_Initialized: MPI was begun by something else in this process");
    check("MPI_Init_thread", l.function<int (*)(int*, char***, int, int*)>("MPI_Init_thread")(nullptr, nullptr, serialized, &provided));
    if (provided < serialized) throw std::runtime_error("MPI_Init_thread: this MPI can only be called by one thread; MPI_THREAD_SERIALIZED is needed");
    check("MPI_Comm_set_errhandler", l.function<int (*)(Handle, Handle)>("MPI_Comm_set_errhandler")(world_, Abi::errors_return(l)));
    check("MPI_Comm_rank", l.function<int (*)(Handle, int*)>("MPI_Comm_rank")(world_, &rank_));
    check("MPI_Comm_size", l.function<int (*)(Handle, int*)>("MPI_Comm_size")(world_, &size_));
  }
  void sendReceive(const std::vector<Message>& sent, const std::vector<Message>& received) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<Handle> requests;
    std::vector<std::unique_ptr<TypedBuffer>> buffers;
    const auto post = [&](const char* name, const auto& call, const std::vector<Message>& all) {
      for (const Message& m : all)
        for (const auto& blocks : mpiBuffers(m)) {
          const TypedBuffer& buffer = *buffers.emplace_back(std::make_unique<TypedBuffer>(*this, blocks));
          check(name, call(buffer.data, buffer.count, buffer.type, m.worker, 0, world_, &requests.emplace_back()));
        }
    };
    post("MPI_Irecv", irecv_, received);
    post("MPI_Isend", isend_, sent);
    for (const Message& m : sent)
      for (const Bytes& block : m.blocks) sent_ += block.bytes;
    complete(requests);
  }
  void abort(int code) override { library_.function<int (*)(Handle, int)>("MPI_Abort")(world_, code); }
  void finalize() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    ended_ = true;
    check("MPI_Finalize", library_.function<int (*)()>("MPI_Finalize")());
  }

 protected:
  void allGatherSmall(const char* own, char* all, int bytes) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    sent_ += size_t(bytes) * size_t(size_ - 1);
    if (Abi::yields && !hurried) return check("MPI_Allgather", allgather_(own, bytes, byte_, all, bytes, byte_, world_));
    std::vector<Handle> request(1);
    check("MPI_Iallgather", iallgather_(own, bytes, byte_, all, bytes, byte_, world_, request.data()));
    complete(request);
  }

 private:
  using Handle = typename Abi::Handle;
  template <class... Args>
  using Call = int (*)(Args...);
  /// Blocks as an MPI buffer: bytes if it is a single block, else a derived type with their offsets from the first.
  struct TypedBuffer {
    TypedBuffer(const LoadedMpi& of, const std::vector<Bytes>& blocks) : mpi(of), data(blocks[0].data), type(of.byte_) {
      if (blocks.size() == 1) {
        count = int(blocks[0].bytes);
        return;
      }
      std::vector<int> lengths;
      std::vector<intptr_t> places;
      for (const auto& block : blocks) {
        places.push_back(block.data - data);
        lengths.push_back(int(block.bytes));
      }
      mpi.check("MPI_Type_create_hindexed", mpi.hindexed_(int(lengths.size()), lengths.data(), places.data(), mpi.byte_, &type));
      mpi.check("MPI_Type_commit", mpi.commit_(&type));
      count = 1;
      made = true;
    }
    ~TypedBuffer() {
      if (made) mpi.free_(&type);
    }
    TypedBuffer(const TypedBuffer&) = delete;
    TypedBuffer& operator=(const TypedBuffer&) = delete;
    const LoadedMpi& mpi;
    char* data;
    int count = 0;
    Handle type;
    bool made = false;
  };
  /// Waits for all requests; where the library does not yield, or the thread is to sleep, by asking it again and again.
  void complete(std::vector<Handle>& requests) {
    std::vector<char> statuses(requests.size() * status_bytes);
    const int n = int(requests.size());
    if (Abi::yields && !hurried) return check("MPI_Waitall", waitall_(n, requests.data(), statuses.data()));
    long nap = first_nap;
    for (int done = 0, asked = 0;; asked++) {
      check("MPI_Testall", testall_(n, requests.data(), &done, statuses.data()));
      if (done != 0) return;
      if (hurried && !*hurried) {
        const timespec time{0, nap};
        nanosleep(&time, nullptr);
        nap = std::min(2 * nap, last_nap);
      } else if (hurried || asked > spin_limit) sched_yield();
    }
  }
  void check(const char* call, int code) const {
    if (code == 0) return;
    char text[max_text] = "";
    int length = 0;
    library_.function<int (*)(int, char*, int*)>("MPI_Error_string")(code, text, &length);
    throw std::runtime_error(std::string(call) + ": " + (length > 0 ? text : "error " + std::to_string(code)));
  }

  SharedLibrary library_;
  Handle world_, byte_;
  bool ended_ = false;
  Call<void*, int, Handle, int, int, Handle, Handle*> irecv_ = library_.function<decltype(irecv_)>("MPI_Irecv");
  Call<const void*, int, Handle, int, int, Handle, Handle*> isend_ = library_.function<decltype(isend_)>("MPI_Isend");
  Call<int, Handle*, void*> waitall_ = library_.function<decltype(waitall_)>("MPI_Waitall");
  Call<int, Handle*, int*, void*> testall_ = library_.function<decltype(testall_)>("MPI_Testall");
  Call<const void*, int, Handle, void*, int, Handle, Handle, Handle*> iallgather_ = library_.function<decltype(iallgather_)>("MPI_Iallgather");
  Call<const void*, int, Handle, void*, int, Handle, Handle> allgather_ = library_.function<decltype(allgather_)>("MPI_Allgather");
  Call<int, const int*, const intptr_t*, Handle, Handle*> hindexed_ = library_.function<decltype(hindexed_)>("MPI_Type_create_hindexed");
  Call<Handle*> commit_ = library_.function<decltype(commit_)>("MPI_Type_commit");
  Call<Handle*> free_ = library_.function<decltype(free_)>("MPI_Type_free");
};

static std::string versionOf(const SharedLibrary& library) {
  char text[max_text] = "";
  int length = 0;
  library.function<int (*)(char*, int*)>("MPI_Get_library_version")(text, &length);
  return text;
}
std::string Mpi::version(const std::string& library) { return versionOf(openLibrary(library)); }

thread_local const std::atomic<bool>* Mpi::hurried = nullptr;
static std::unique_ptr<Mpi> instance;
Mpi& Mpi::init(const std::string& path) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  if (instance) return *instance;
  const SharedLibrary library = openLibrary(path);
  if (library.has("ompi_mpi_comm_world")) {
    instance = std::make_unique<LoadedMpi<OpenMpi>>(library);
  } else if (versionOf(library).find("MPICH") != std::string::npos || versionOf(library).find("Intel") != std::string::npos) {
    instance = std::make_unique<LoadedMpi<Mpich>>(library);
  } else {
    throw std::runtime_error("this MPI is neither Open MPI nor of MPICH's ABI: " + versionOf(library));
  }
  return *instance;
}
Mpi& Mpi::current() {
  if (!instance) throw std::runtime_error("workers do steps of this plan together, and this process is none of them");
  return *instance;
}
void Mpi::allGather(const char* own, char* all, size_t bytes) {
  if (bytes * size_t(size_) <= max_block_bytes) return allGatherSmall(own, all, int(bytes));
  std::memcpy(all + size_t(rank_) * bytes, own, bytes);
  std::vector<Message> sent, received;
  for (int i = 1; i < size_; i++) {
    const int other = (rank_ + i) % size_;  // so that workers do not all send to the same one first
    sent.push_back({other, {{const_cast<char*>(own), bytes}}});
    received.push_back({other, {{all + size_t(other) * bytes, bytes}}});
  }
  sendReceive(sent, received);
}

}  // namespace moec
