// Streams, events and graphs. An operation is done when it is asked for, or (config.lazy) as late as somebody waits for it.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "api.hpp"

namespace emu::driver {
typedef std::function<void()> Operation;
struct Graph {
  std::vector<Operation> nodes;
};
struct Stream {
  /// Does not wait for the default stream, nor that for it.
  bool independent = false;
  std::deque<Operation> queue;
  unsigned long asked = 0, done = 0;
  /// Into which operations go instead.
  Graph* capture = nullptr;
  bool began_capture = false;
  /// A kernel whose name ends in _endless was launched: who asks whether it is done hears no.
  bool endless = false;
};
struct Event {
  Stream* stream = nullptr;
  /// How many operations of the stream come before it.
  unsigned long after = 0;
  /// When it was reached; 0 is not yet.
  double seconds = 0;
  Graph* capture = nullptr;
};
Stream& stream_of(void* handle);
bool capturing();
/// Adds an operation to the stream, or to the graph that it captures.
Result enqueue(Stream&, Operation);
/// Does what the stream was asked for. Gives the error that this makes sticky.
Result finish(Stream&);
/// What an operation that the host waits for waits for itself: the default stream, and those that it waits for.
Result finish_default();
Result finish_all();
}  // namespace emu::driver
