#include "stream.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <thread>

namespace moec::cuda {

Context::Context(const Driver& driver, int index) : driver(driver) {
  driver.check(driver.cuDeviceGet(&device, index), "cuDeviceGet");
  driver.check(driver.cuDevicePrimaryCtxRetain(&handle_, device), "cuDevicePrimaryCtxRetain");
}
Context::~Context() { driver.cuDevicePrimaryCtxRelease_v2(device); }

static Owned<Handle> newStream(const Driver& driver) {
  Handle stream;
  driver.check(driver.cuStreamCreate(&stream, non_blocking), "cuStreamCreate");
  return {stream, driver.cuStreamDestroy_v2};
}
Stream::Stream(const Context& context)
    : driver_(context.driver),
      max_pitch_(size_t(context.driver.attribute(max_pitch, context.device))),
      stream_(newStream(context.driver)) {}

void Stream::copy(Address to, Address from, const Block& b, size_t width) {
  to += size_t(b.to) * width;
  from += size_t(b.from) * width;
  const size_t bytes = size_t(b.length) * width, to_pitch = size_t(b.to_pitch) * width, from_pitch = size_t(b.from_pitch) * width;
  if (b.height > 1 && std::max(to_pitch, from_pitch) <= max_pitch_) {
    Copy2D all;
    all.from.address = from;
    all.from.pitch = from_pitch;
    all.to.address = to;
    all.to.pitch = to_pitch;
    all.width = bytes;
    all.height = size_t(b.height);
    return driver_.check(driver_.cuMemcpy2DAsync_v2(&all, stream_.get()), "cuMemcpy2DAsync");
  }
  for (size_t row = 0; row < size_t(b.height); row++)
    driver_.check(driver_.cuMemcpyAsync(to + row * to_pitch, from + row * from_pitch, bytes, stream_.get()), "cuMemcpyAsync");
}
void Stream::move(Address to, Address from, size_t bytes) {
  driver_.check(driver_.cuMemcpyAsync(to, from, bytes, stream_.get()), "cuMemcpyAsync");
}
void Stream::fill(Address to, size_t bytes, int byte) {
  if (bytes > 0) driver_.check(driver_.cuMemsetD8Async(to, static_cast<unsigned char>(byte), bytes, stream_.get()), "cuMemsetD8Async");
}
void Stream::launch(Handle function, unsigned blocks, unsigned threads, unsigned shared, void** args, const std::string& name) {
  driver_.check(driver_.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream_.get(), args, nullptr), "kernel " + name);
}
void Stream::record(Handle event) { driver_.check(driver_.cuEventRecord(event, stream_.get()), "cuEventRecord"); }
void Stream::await(Handle event) { driver_.check(driver_.cuStreamWaitEvent(stream_.get(), event, 0), "cuStreamWaitEvent"); }
Owned<Handle> Stream::event(bool untimed) const {
  Handle event;
  driver_.check(driver_.cuEventCreate(&event, untimed ? disable_timing : 0), "cuEventCreate");
  return {event, driver_.cuEventDestroy_v2};
}
void Stream::wait(const std::string& what) { driver_.check(driver_.cuStreamSynchronize(stream_.get()), what); }
bool Stream::waitFor(double seconds, const std::string& what) {
  using namespace std::chrono;
  const auto last = steady_clock::now() + duration<double>(seconds);
  Result result;
  while ((result = driver_.cuStreamQuery(stream_.get())) == not_ready) {
    if (steady_clock::now() > last) return false;
    std::this_thread::sleep_for(microseconds(50)); // it may take seconds, and nothing waits for the microseconds
  }
  driver_.check(result, what);
  return true;
}

Owned<Handle> Stream::capture(const std::function<void()>& work) {
  driver_.check(driver_.cuStreamBeginCapture_v2(stream_.get(), this_thread), "cuStreamBeginCapture");
  std::exception_ptr failed;
  try {
    work();
  } catch (...) {
    failed = std::current_exception();
  }
  Handle handle = nullptr, made = nullptr;
  const Result ended = driver_.cuStreamEndCapture(stream_.get(), &handle);
  const Owned<Handle> graph(handle, ended == 0 ? driver_.cuGraphDestroy : nullptr);
  if (failed) std::rethrow_exception(failed);
  driver_.check(ended, "cuStreamEndCapture");
  driver_.check(driver_.cuGraphInstantiateWithFlags(&made, handle, 0), "cuGraphInstantiate");
  return {made, driver_.cuGraphExecDestroy};
}
void Stream::replay(Handle graph) { driver_.check(driver_.cuGraphLaunch(graph, stream_.get()), "cuGraphLaunch"); }

static constexpr size_t half_bytes = size_t(4) << 20;

Owned<void*> pinned(const Driver& driver, size_t bytes) {
  void* memory;
  driver.check(driver.cuMemHostAlloc(&memory, bytes, 0), "cuMemHostAlloc");
  return {memory, driver.cuMemFreeHost};
}
Staging::Staging(const Context& context, Stream& stream)
    : driver_(context.driver),
      stream_(stream),
      memory_(pinned(context.driver, 2 * half_bytes)),
      halves_{{static_cast<char*>(memory_.get()), stream.event()}, {static_cast<char*>(memory_.get()) + half_bytes, stream.event()}} {}

/// The half that was used less recently, once its copy is done.
Staging::Half& Staging::next() {
  Half& half = halves_[next_];
  next_ = 1 - next_;
  driver_.check(driver_.cuEventSynchronize(half.copied.get()), "cuEventSynchronize");
  return half;
}
/// Calls `piece` for parts of the blocks, each of at most `half_bytes`.
template <class F>
static void pieces(const std::vector<Block>& blocks, size_t width, F piece) {
  const long most = long(half_bytes / width);
  for (const Block& b : blocks) {
    const long columns = std::min(b.length, most), rows = std::max(1L, most / columns);
    for (long row = 0; row < b.height; row += rows) {
      for (long col = 0; col < b.length; col += columns) {
        piece(Block{b.to + row * b.to_pitch + col, b.from + row * b.from_pitch + col, b.to_pitch, b.from_pitch,
                    std::min(columns, b.length - col), std::min(rows, b.height - row)});
      }
    }
  }
}
static void copyRows(char* to, long to_pitch, const char* from, long from_pitch, const Block& b, size_t width) {
  for (long row = 0; row < b.height; row++)
    std::memcpy(to + size_t(row * to_pitch) * width, from + size_t(row * from_pitch) * width, size_t(b.length) * width);
}

void Staging::upload(Address to, const Layout& layout, const char* row_major) {
  const auto width = size_t(layout.width);
  pieces(blocks(layout, layout.rowMajor()), width, [&](const Block& b) {
    Half& half = next();
    copyRows(half.memory, b.length, row_major + size_t(b.from) * width, b.from_pitch, b, width);
    stream_.copy(to, reinterpret_cast<Address>(half.memory), {b.to, 0, b.to_pitch, b.length, b.length, b.height}, width);
    stream_.record(half.copied.get());
  });
}
void Staging::download(char* row_major, Address from, const Layout& layout) {
  const auto width = size_t(layout.width);
  std::function<void()> last = [] {};
  pieces(blocks(layout.rowMajor(), layout), width, [&](const Block& b) {
    Half& half = next();
    stream_.copy(reinterpret_cast<Address>(half.memory), from, {0, b.from, b.length, b.from_pitch, b.length, b.height}, width);
    stream_.record(half.copied.get());
    last();
    last = [this, &half, b, row_major, width] {
      driver_.check(driver_.cuEventSynchronize(half.copied.get()), "cuEventSynchronize");
      copyRows(row_major + size_t(b.to) * width, b.to_pitch, half.memory, b.length, b, width);
    };
  });
  last();
}

}  // namespace moec::cuda
