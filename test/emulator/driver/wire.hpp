// Messages between processes (workers with one GPU each): for each pair a socket per direction, on which
// acknowledgements come back.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace emu::driver {
/// A message that this process sends or receives.
struct Post {
  enum Kind : uint32_t { message, gathered };
  bool sends;
  int peer;
  Kind kind;
  /// `bytes` of data and, if `marked`, for each a byte that says whether it was initialised.
  std::vector<char> data;
  size_t bytes;
  bool marked = false;
};

/// Errors are thrown as Failure.
class Wire {
 public:
  /// Returns when all `size` processes with the same private folder are connected; the folder is then deleted.
  Wire(const std::string& folder, int rank, int size, int device);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  /// Transfers all messages at once; between two processes in order. A send completes when it is acknowledged.
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
