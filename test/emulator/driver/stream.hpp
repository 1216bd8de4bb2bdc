// Streams, events and graphs. An operation is executed when it is enqueued or (config.lazy) when it is waited for; with config.ahead what streams other than
// the first are asked for is executed at once, before all of the first that they do not wait for.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "api.hpp"

namespace emu::driver {
typedef std::function<void()> Operation;
struct Stream;
/// An operation of a captured stream, or (`from`) its wait for the first `after` nodes of another.
struct Node {
  Stream* stream;
  Operation operation;
  Stream* from = nullptr;
  unsigned long after = 0;
};
struct Graph {
  /// False once something was asked for that is not allowed while it is captured.
  bool valid = true;
  /// Of its capture, since a later graph may have the address of an earlier one.
  unsigned long number = 0;
  std::vector<Node> nodes;
};
struct Stream {
  /// Does not synchronise with the default stream (non-blocking).
  bool independent = false;
  std::deque<Operation> queue;
  unsigned long asked = 0, done = 0;
  /// The graph that captures its operations.
  Graph* capture = nullptr;
  bool began_capture = false;
  /// A kernel named *_endless was launched: queries return not ready.
  bool endless = false;
};
struct Event {
  Stream* stream = nullptr;
  /// The number of operations of the stream (of its nodes in `capture`) before it.
  unsigned long after = 0;
  /// When it was reached; 0 is not yet.
  double seconds = 0;
  Graph* capture = nullptr;
  /// The number of `capture`.
  unsigned long number = 0;
};
Stream& stream_of(void* handle);
/// Whether a stream captures; then what is asked for is not allowed, and the capture is invalid.
bool spoils_capture();
/// Adds an operation to the stream, or to the graph of its capture.
Result enqueue(Stream&, Operation);
/// Executes the stream's operations. Returns the sticky error of a failed kernel.
Result finish(Stream&);
/// Executes what a synchronous operation depends on: the default stream and blocking streams.
Result finish_default();
Result finish_all();
}  // namespace emu::driver
