// Messages between the processes that stand for workers with a GPU each: for each pair of them a socket for each way, on which word comes back of what
// was taken.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace emu::driver {
/// What one process sends to another, or takes from it.
struct Post {
  enum Kind : uint32_t { message, gathered };
  bool sends;
  int peer;
  Kind kind;
  /// `bytes` of data and, where `marked`, a byte for each that says whether anybody wrote it.
  std::vector<char> data;
  size_t bytes;
  bool marked = false;
};

/// Errors are Failure, in words.
class Wire {
 public:
  /// Returns when all `size` processes that were given the same private folder are connected; then it is gone.
  Wire(const std::string& folder, int rank, int size, int device);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  /// All together; between two processes in their order. What is sent is over when it was taken.
  void trade(std::vector<Post>& posts);

 private:
  struct Peer {
    /// From this process, and to it.
    int out = -1, in = -1;
    int device = -1;
  };
  struct Progress;
  void connect(const std::string& folder);
  void accept(int listening);
  void requireOthers() const;
  bool write(Progress& p) const;
  bool read(Progress& p) const;

  int rank_, device_;
  std::vector<Peer> peers_;
};
}  // namespace emu::driver
