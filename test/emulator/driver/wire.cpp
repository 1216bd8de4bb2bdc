#include "wire.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>

#include "../dialect/interface.hpp"
#include "../runtime/config.hpp"
#include "../runtime/report.hpp"

namespace emu::driver {
using Clock = std::chrono::steady_clock;
static bool over(Clock::time_point since) { return Clock::now() - since > std::chrono::duration<double>(config.wait); }
static const char* words(Post::Kind kind) { return kind == Post::gathered ? "a gather" : "a message"; }

struct Hello {
  int rank, device;
};
struct Header {
  uint32_t kind, marked;
  uint64_t bytes;
};
/// A message in transfer: bytes moved of its header, its data, and the acknowledgement.
struct Wire::Progress {
  Post* post;
  Header header;
  size_t at = 0;
  size_t total() const { return sizeof header + post->data.size(); }
};

static sockaddr_un address(const std::string& folder, int rank) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  const std::string path = folder + "/" + std::to_string(rank);
  if (path.size() >= sizeof a.sun_path) fail("the path %s is too long for a socket: set TMPDIR to a shorter one", path.c_str());
  memcpy(a.sun_path, path.c_str(), path.size());
  return a;
}
static int opened() {
  const int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s < 0) fail("no socket: %s", strerror(errno));
  return s;
}

Wire::Wire(const std::string& folder, int rank, int size, int device) : rank_(rank), device_(device), peers_(size_t(size)) {
  const sockaddr_un own = address(folder, rank);
  const int listening = opened();
  const bool bound = bind(listening, (const sockaddr*)&own, sizeof own) == 0 && listen(listening, size) == 0;
  try {
    if (!bound) fail("worker %d cannot be reached in %s: %s", rank, folder.c_str(), strerror(errno));
    connect(folder);
    accept(listening);
    requireOthers();
  } catch (...) {
    close(listening);
    unlink(own.sun_path);
    rmdir(folder.c_str());
    for (const Peer& p : peers_) close(p.out), close(p.in);
    throw;
  }
  close(listening);
  unlink(own.sun_path);
  rmdir(folder.c_str());  // only the last process succeeds
}
Wire::~Wire() {
  for (const Peer& p : peers_) close(p.out), close(p.in);
}
void Wire::connect(const std::string& folder) {
  for (int other = 0; other < int(peers_.size()); other++) {
    if (other == rank_) continue;
    const sockaddr_un a = address(folder, other);
    int& s = peers_[size_t(other)].out;
    s = opened();
    for (const auto since = Clock::now(); ::connect(s, (const sockaddr*)&a, sizeof a) != 0; usleep(2000))
      if (over(since)) fail("worker %d did not come", other);
    const Hello hello{rank_, device_};
    if (send(s, &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello) fail("worker %d has gone", other);
    fcntl(s, F_SETFL, O_NONBLOCK);
  }
}
void Wire::accept(int listening) {
  for (size_t i = 1; i < peers_.size(); i++) {
    pollfd waiting{listening, POLLIN, 0};
    if (poll(&waiting, 1, int(config.wait * 1000)) <= 0) fail("only %zu of %zu workers came", i, peers_.size());
    const int s = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    Hello hello;
    if (s < 0 || recv(s, &hello, sizeof hello, MSG_WAITALL) != sizeof hello) fail("a worker has gone");
    fcntl(s, F_SETFL, O_NONBLOCK);
    Peer& peer = peers_.at(size_t(hello.rank));
    if (peer.in >= 0 || hello.rank == rank_) fail("two workers say that they are worker %d", hello.rank);
    peer.in = s;
    peer.device = hello.device;
  }
}
void Wire::requireOthers() const {
  for (size_t i = 0; i < peers_.size(); i++)
    if (int(i) != rank_ && peers_[i].device == device_) fail("Duplicate GPU detected : rank %d and rank %zu both on CUDA device %d", rank_, i, device_);
}

/// Moves as much as possible of `data`, which begins at byte `before` of the message; returns whether anything was moved.
template <class F>
static bool moved(size_t& at, size_t before, char* data, size_t bytes, int peer, F call) {
  bool some = false;
  while (at >= before && at < before + bytes) {
    const ssize_t n = call(data + (at - before), before + bytes - at);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) fail("worker %d has ended", peer);
    if (n < 0) return some;
    at += size_t(n);
    some = true;
  }
  return some;
}
/// Returns whether anything was moved. The acknowledgement comes last.
bool Wire::write(Progress& p) const {
  const int peer = p.post->peer, s = peers_[size_t(peer)].out;
  const auto put = [&](char* data, size_t n) { return send(s, data, n, MSG_NOSIGNAL); };
  bool some = moved(p.at, 0, (char*)&p.header, sizeof p.header, peer, put);
  some |= moved(p.at, sizeof p.header, p.post->data.data(), p.post->data.size(), peer, put);
  char word = 0;
  if (moved(p.at, p.total(), &word, 1, peer, [&](char* data, size_t n) { return recv(s, data, n, 0); })) {
    if (word != 'y') fail("worker %d takes other than %s of %zu bytes of worker %d", peer, words(p.post->kind), p.post->bytes, rank_);
    some = true;
  }
  return some;
}
bool Wire::read(Progress& p) const {
  Post& post = *p.post;
  const int s = peers_[size_t(post.peer)].in;
  const auto get = [&](char* data, size_t n) { return recv(s, data, n, 0); };
  bool some = moved(p.at, 0, (char*)&p.header, sizeof p.header, post.peer, get);
  if (p.at < sizeof p.header) return some;
  const Header& h = p.header;
  post.marked = h.marked != 0;
  post.data.resize(h.bytes * (post.marked ? 2 : 1));
  some |= moved(p.at, sizeof h, post.data.data(), post.data.size(), post.peer, get);
  const bool fits = h.kind == post.kind && h.bytes == post.bytes;
  char word = fits ? 'y' : 'n';
  if (!moved(p.at, p.total(), &word, 1, post.peer, [&](char* data, size_t n) { return send(s, data, n, MSG_NOSIGNAL); })) return some;
  if (fits) return true;
  fail("worker %d sends %s of %zu bytes where worker %d takes %s of %zu", post.peer, words(Post::Kind(h.kind)), size_t(h.bytes), rank_, words(post.kind), post.bytes);
}
void Wire::trade(std::vector<Post>& posts) {
  std::vector<std::deque<Progress>> out(peers_.size()), in(peers_.size());
  for (Post& p : posts) (p.sends ? out : in)[size_t(p.peer)].push_back({&p, {p.kind, p.marked, p.bytes}});
  const auto advanced = [](std::deque<Progress>& queue, auto move) {
    if (queue.empty() || !move(queue.front())) return false;
    if (queue.front().at > queue.front().total()) queue.pop_front();
    return true;
  };
  for (auto since = Clock::now();;) {
    std::vector<pollfd> waiting;
    bool some = false;
    for (size_t i = 0; i < peers_.size(); i++) {
      some |= advanced(out[i], [&](Progress& p) { return write(p); });
      some |= advanced(in[i], [&](Progress& p) { return read(p); });
      if (!in[i].empty()) waiting.push_back({peers_[i].in, POLLIN, 0});
      if (!out[i].empty()) waiting.push_back({peers_[i].out, short(out[i].front().at < out[i].front().total() ? POLLOUT : POLLIN), 0});
      if (!some && over(since)) {
        if (!out[i].empty()) fail("worker %zu does not take what worker %d sends: %s of %zu bytes", i, rank_, words(out[i].front().post->kind), out[i].front().post->bytes);
        if (!in[i].empty()) fail("worker %zu does not send what worker %d waits for: %s of %zu bytes", i, rank_, words(in[i].front().post->kind), in[i].front().post->bytes);
      }
    }
    if (waiting.empty()) return;
    if (some) since = Clock::now();
    else poll(waiting.data(), waiting.size(), 100);
  }
}
}  // namespace emu::driver
