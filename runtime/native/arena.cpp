#include "arena.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace moec {

static constexpr size_t huge_page = size_t(2) << 20;

Arena::Arena(size_t bytes) : mapped_bytes_(bytes + huge_page), bytes_(bytes) {
  mapped_ = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped_ == MAP_FAILED) {
    throw std::runtime_error("cannot get " + std::to_string(bytes) + " bytes of memory: " + std::strerror(errno));
  }
  const auto start = (reinterpret_cast<uintptr_t>(mapped_) + huge_page - 1) & ~(huge_page - 1);
  data_ = reinterpret_cast<char*>(start);
#ifdef MADV_HUGEPAGE
  madvise(data_, bytes_, MADV_HUGEPAGE);  // only advice: without huge pages the plan runs slower
#endif
}

Arena::~Arena() { munmap(mapped_, mapped_bytes_); }

}  // namespace moec
