// One block of zeroed memory, on huge pages where the system has them.
#pragma once
#include <cstddef>

namespace moec {

class Arena {
 public:
  /// Throws std::runtime_error if the system does not have that much.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* mapped_ = nullptr;
  size_t mapped_bytes_ = 0;
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace moec
