#include "engine.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

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

/// Matrix `first` of a buffer and those that follow, `bytes` in all without padding.
BufferSpec Engine::part(size_t buffer, size_t bytes, long first) const {
  BufferSpec part = buffers_.at(buffer);
  Layout& l = part.layout;
  const size_t matrix = size_t(l.rows * l.cols * l.width), pitch = size_t(l.matrixPitch() * l.width);
  const long count = matrix == 0 ? 0 : long(bytes / matrix);
  if (size_t(count) * matrix != bytes || first < 0 || first + count > l.outer)
    throw std::runtime_error("a part of " + std::to_string(bytes) + " bytes is not of whole matrices of a buffer");
  l.outer = count;
  part.offset += size_t(first) * pitch;
  part.bytes = std::min(part.bytes - size_t(first) * pitch, size_t(count) * pitch);
  return part;
}

std::vector<int32_t> Engine::integers(size_t buffer) {
  std::vector<int32_t> values(size_t(layout(buffer).elements()));
  read(buffer, reinterpret_cast<char*>(values.data()));
  return values;
}
void Engine::setIntegers(size_t buffer, const std::vector<int32_t>& values) { write(buffer, reinterpret_cast<const char*>(values.data())); }

std::vector<int32_t> Engine::repeat(const Repeat& r) {
  for (const size_t buffer : {r.from, r.to, r.next, r.key})
    if (layout(buffer).width != sizeof(int32_t)) throw std::runtime_error("what is fed back is not of 32 bits");
  const size_t fed = size_t(layout(r.to).elements());
  if (r.times > 1 && (fed * r.parts != size_t(layout(r.from).elements()) || r.part >= r.parts))
    throw std::runtime_error("a result does not fit the input that it is fed back to");
  const auto start = std::chrono::steady_clock::now();
  std::vector<StepTime> untimed;
  std::vector<int32_t> all, result, next = integers(r.next), key = integers(r.key);
  for (long i = 0; i < r.times && (i == 0 || std::chrono::steady_clock::now() - start < r.within); i++) {
    if (i > 0) {
      for (int32_t& n : next) n += n >= 0;
      key.back()++;
      const auto own = result.begin() + long(r.part * fed);
      setIntegers(r.to, {own, own + long(fed)});
      setIntegers(r.next, next);
      setIntegers(r.key, key);
    }
    if (!run(r.entry, untimed)) return {};
    result = integers(r.from);
    all.insert(all.end(), result.begin(), result.end());
  }
  return all;
}

}  // namespace moec
