#include "engine.hpp"

#include <stdexcept>

namespace moec {

Engine::Engine(std::vector<BufferSpec> buffers, size_t bytes) : buffers_(std::move(buffers)), bytes_(bytes) {
  for (const BufferSpec& b : buffers_) {
    const bool holds = size_t(b.layout.footprint() * b.layout.width) <= b.bytes;
    if (!holds || b.offset + b.bytes > bytes_) throw std::runtime_error("a buffer does not fit the arena");
  }
}
void Engine::requireWithin(size_t offset, size_t bytes) const {
  if (offset + bytes > bytes_) throw std::runtime_error("cannot fill past the arena");
}

}  // namespace moec
