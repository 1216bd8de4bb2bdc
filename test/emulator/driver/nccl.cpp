// NCCL between processes of one machine; calls are stream operations, and can be captured in graphs, like kernels.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include "../checker/shadow.hpp"
#include "../runtime/config.hpp"
#include "../runtime/memory.hpp"
#include "stream.hpp"
#include "wire.hpp"

namespace emu::driver {
int current_device();

/// Values of ncclResult_t.
enum Outcome { fine = 0, cuda_error = 1, system_error = 2, invalid_argument = 4, invalid_usage = 5, remote_error = 6 };
struct UniqueId {
  char text[128];
};
struct Comm {
  Wire wire;
  int rank, size;
  int failed = fine;
  /// Workers with which messages were exchanged; -1: all, in a collective.
  std::set<int> connected = {};
};
typedef std::shared_ptr<Comm> Shared;
/// A queued call; `from` or `to` is null if it only receives or sends.
struct Call {
  Shared comm;
  Post::Kind kind;
  const char* from;
  char* to;
  size_t bytes;
  int peer;
  Stream* stream;
};
static std::map<void*, Shared> comms;
static std::string last;
static thread_local int depth = 0;
static thread_local std::vector<Call> group;

static int wrong(int outcome, const std::string& why) { return last = why, outcome; }
/// Runs the body of an API function under the lock; exceptions become result codes.
template <class F> static int called(F body) {
  int outcome = fine;
  try {
    const Result result = in_context([&] { return outcome = body(), success; });
    if (result == invalid_context) return wrong(cuda_error, "the calling thread has no context");
    return result == success ? outcome : wrong(cuda_error, "the context's error " + std::to_string(result));
  } catch (const std::exception& error) {
    return wrong(system_error, error.what());
  }
}
static Shared of(void* comm) {
  const auto found = comms.find(comm);
  return found == comms.end() ? nullptr : found->second;
}

static bool on_gpu(const void* p, size_t bytes) {
  const Region* r = region_of(p, bytes);
  return bytes == 0 || (r && !r->host);
}
/// Copies keep the initialised state of each byte.
static Post sent(const char* from, size_t bytes, int peer, Post::Kind kind) {
  require_device(from, bytes, "what is sent");
  Post post{true, peer, kind, std::vector<char>(from, from + bytes), bytes, config.check};
  if (!config.check || bytes == 0) return post;
  const Region& r = *region_of(from, bytes);
  for (size_t i = 0; i < bytes; i++) post.data.push_back(!r.shadow || (r.shadow[uintptr_t(from) - r.low + i].flags & check::Initialised) != 0);
  return post;
}
static void take(char* to, const Post& post) {
  require_device(to, post.bytes, "what is received");
  memcpy(to, post.data.data(), post.bytes);
  if (!post.marked) return host_wrote(to, post.bytes);
  const Region& r = *region_of(to, std::max<size_t>(post.bytes, 1));
  for (size_t i = 0; i < post.bytes && r.shadow; i++)
    if (post.data[post.bytes + i]) r.shadow[uintptr_t(to) - r.low + i].flags |= check::Initialised;
}
/// Each message, with its destination if it is received.
static std::vector<std::pair<Post, char*>> posts(const Call& c) {
  if (c.kind == Post::message) {
    if (c.from) return {{sent(c.from, c.bytes, c.peer, c.kind), nullptr}};
    return {{Post{false, c.peer, c.kind, {}, c.bytes}, c.to}};
  }
  std::vector<std::pair<Post, char*>> all;
  for (int i = 0; i < c.comm->size; i++) {
    const auto place = [&](int worker) { return c.to + size_t(worker) * c.bytes; };
    if (i == c.comm->rank) {
      take(place(i), sent(c.from, c.bytes, i, c.kind));
      continue;
    }
    all.emplace_back(sent(c.from, c.bytes, i, c.kind), nullptr);
    all.emplace_back(Post{false, i, c.kind, {}, c.bytes}, place(i));
  }
  return all;
}
/// Executed in stream order. After an error the stream never completes, as on a GPU, and the communicator reports why.
static void perform(const std::vector<Call>& calls) {
  Comm& comm = *calls[0].comm;
  if (comm.failed) return;
  try {
    std::vector<Post> all;
    std::vector<char*> places;
    for (const Call& c : calls)
      for (auto& [post, place] : posts(c)) all.push_back(std::move(post)), places.push_back(place);
    comm.wire.trade(all);
    for (size_t i = 0; i < all.size(); i++)
      if (!all[i].sends) take(places[i], all[i]);
  } catch (const Failure& failure) {
    comm.failed = wrong(remote_error, failure.what());
    calls[0].stream->endless = true;
  }
}
/// The calls of one stream start together.
static int start(const std::vector<Call>& calls) {
  std::map<Stream*, std::vector<Call>> by;
  for (const Call& c : calls) by[c.stream].push_back(c);
  for (auto& [stream, own] : by) {
    const Result result = enqueue(*stream, [own = own] { perform(own); });
    if (result != success) return wrong(cuda_error, "the stream takes nothing");
  }
  return fine;
}
/// `type`: 0 and 1 are bytes, the only ones that moec sends.
static int asked(void* handle, Post::Kind kind, const void* from, void* to, size_t bytes, size_t places, int type, int peer, void* stream) {
  return called([&]() -> int {
    const Shared comm = of(handle);
    if (!comm) return wrong(invalid_argument, "no such communicator");
    if (type > 1) return wrong(invalid_argument, "the stand-in sends bytes only");
    if (peer < 0 || peer >= comm->size || (kind == Post::message && peer == comm->rank)) return wrong(invalid_argument, "no worker " + std::to_string(peer) + " to send to");
    if ((from && !on_gpu(from, bytes)) || (to && !on_gpu(to, bytes * places))) return wrong(invalid_argument, "what is sent or received is not all in the device's memory");
    const int other = kind == Post::message ? peer : -1;
    if (stream_of(stream).capture && !comm->connected.count(other)) return wrong(cuda_error, "a connection is made while the stream is captured, which not every network allows");
    comm->connected.insert(other);
    group.push_back({comm, kind, (const char*)from, (char*)to, bytes, peer, &stream_of(stream)});
    if (depth > 0) return fine;
    const int result = start(group);
    group.clear();
    return result;
  });
}
static std::string private_folder() {
  const char* root = getenv("TMPDIR");
  std::string path = std::string(root ? root : "/tmp") + "/moec-nccl-XXXXXX";
  return mkdtemp(path.data()) ? path : "";
}
}  // namespace emu::driver
using namespace emu::driver;
#define NCCL extern "C" __attribute__((visibility("default"))) int

NCCL ncclGetVersion(int* version) { return *version = 22703, fine; }
extern "C" __attribute__((visibility("default"))) const char* ncclGetErrorString(int result) {
  const std::map<int, const char*> texts = {{fine, "no error"}, {cuda_error, "unhandled cuda error"}, {system_error, "unhandled system error"},
    {invalid_argument, "invalid argument"}, {invalid_usage, "invalid usage"}, {remote_error, "remote process exited or there was a network error"}};
  const auto found = texts.find(result);
  return found == texts.end() ? "unknown result code" : found->second;
}
extern "C" __attribute__((visibility("default"))) const char* ncclGetLastError(void*) { return last.c_str(); }

NCCL ncclGetUniqueId(UniqueId* id) {
  const std::string path = private_folder();
  if (path.empty() || path.size() >= sizeof id->text) return wrong(system_error, "no folder for sockets: set TMPDIR to a short path");
  memset(id->text, 0, sizeof id->text);
  memcpy(id->text, path.c_str(), path.size());
  return fine;
}
NCCL ncclCommInitRank(void** made, int size, UniqueId id, int rank) {
  return called([&]() -> int {
    if (rank < 0 || rank >= size) return wrong(invalid_argument, "rank " + std::to_string(rank) + " of " + std::to_string(size));
    try {
      const Shared comm(new Comm{{id.text, rank, size, current_device()}, rank, size});
      comms[*made = comm.get()] = comm;
      return fine;
    } catch (const emu::Failure& failure) {
      return wrong(strncmp(failure.what(), "Duplicate", 9) == 0 ? invalid_usage : system_error, failure.what());
    }
  });
}
NCCL ncclCommAbort(void* comm) {
  const Shared c = of(comm);
  if (!c) return wrong(invalid_argument, "no such communicator");
  comms.erase(comm);
  return fine;
}
/// NCCL would wait for the graphs forever.
NCCL ncclCommDestroy(void* comm) {
  const Shared c = of(comm);
  if (c && c.use_count() > 2) return wrong(invalid_usage, "graphs or streams still hold calls of this communicator");
  return ncclCommAbort(comm);
}
NCCL ncclCommGetAsyncError(void* comm, int* result) {
  const Shared c = of(comm);
  if (!c) return wrong(invalid_argument, "no such communicator");
  return *result = c->failed, fine;
}

NCCL ncclGroupStart() { return depth++, fine; }
NCCL ncclGroupEnd() {
  if (depth == 0) return wrong(invalid_usage, "a group ends that did not begin");
  if (--depth > 0) return fine;
  const std::vector<Call> calls = std::move(group);
  group.clear();
  return called([&] { return start(calls); });
}
NCCL ncclSend(const void* from, size_t count, int type, int peer, void* comm, void* stream) {
  return asked(comm, Post::message, from, nullptr, count, 1, type, peer, stream);
}
NCCL ncclRecv(void* to, size_t count, int type, int peer, void* comm, void* stream) {
  return asked(comm, Post::message, nullptr, to, count, 1, type, peer, stream);
}
NCCL ncclAllGather(const void* from, void* to, size_t count, int type, void* comm, void* stream) {
  const Shared c = of(comm);
  return asked(comm, Post::gathered, from, to, count, c ? size_t(c->size) : 1, type, 0, stream);
}
