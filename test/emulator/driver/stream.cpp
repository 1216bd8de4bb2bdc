#include "stream.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "../runtime/config.hpp"

namespace emu::driver {
static Stream standard;
static std::set<Stream*> streams = {&standard};
/// The stream that was created first, of those that exist; and the graphs that are being captured.
static Stream* first = nullptr;
static std::set<Graph*> captured;
static unsigned long captures = 0;

/// 0, 1 and 2 are handles of the default stream.
Stream& stream_of(void* handle) {
  if (uintptr_t(handle) <= 2) return standard;
  if (!streams.count((Stream*)handle)) fail("no stream %p", handle);
  return *(Stream*)handle;
}
bool spoils_capture() {
  bool any = false;
  for (const Stream* s : streams)
    if (s->capture) any = true, s->capture->valid = false;
  return any;
}
static void advance(Stream& s, unsigned long to) {
  while (s.done < to && !s.queue.empty() && sticky == success && !s.endless) {
    const Operation next = std::move(s.queue.front());
    s.queue.pop_front();
    s.done++;
    next();
  }
}
Result finish(Stream& s) {
  advance(s, s.asked);
  return sticky;
}
Result finish_default() {
  for (Stream* s : std::set<Stream*>(streams))
    if (!s->independent) finish(*s);
  return sticky;
}
Result finish_all() {
  if (spoils_capture()) return capture_unsupported;
  for (Stream* s : std::set<Stream*>(streams)) finish(*s);
  return sticky;
}
Result enqueue(Stream& s, Operation operation) {
  if (s.capture) {
    if (!s.capture->valid) return capture_invalidated;
    s.capture->nodes.push_back({&s, std::move(operation)});
    return success;
  }
  if (&s == &standard) finish_default();
  else if (!s.independent) finish(standard);
  s.queue.push_back(std::move(operation));
  s.asked++;
  if (!config.lazy || (config.ahead && s.independent && &s != first)) finish(s);
  return success;
}
/// Waits until a stream has done so much. What waits for a stream that does not end does not either.
static void await(Stream& s, Stream* from, unsigned long after) {
  if (!streams.count(from)) return;
  advance(*from, after);
  s.endless |= from->endless;
}

static unsigned long nodes_of(const Graph& g, const Stream* s) {
  return (unsigned long)std::count_if(g.nodes.begin(), g.nodes.end(), [&](const Node& n) { return n.stream == s; });
}
/// Whether `origin` waits for the last node of each other stream.
static bool is_joined(const Graph& g, const Stream* origin) {
  std::map<const Stream*, unsigned long> awaited;
  for (const Node& n : g.nodes)
    if (n.stream == origin && n.from) awaited[n.from] = std::max(awaited[n.from], n.after);
  return std::all_of(g.nodes.begin(), g.nodes.end(), [&](const Node& n) { return n.stream == origin || awaited[n.stream] == nodes_of(g, n.stream); });
}
/// A launch of a graph: its streams' nodes, each stream's in order.
class Replay {
 public:
  explicit Replay(const Graph& graph) {
    for (const Node& n : graph.nodes) {
      if (!lanes_.count(n.stream)) order_.push_back(n.stream);
      lanes_[n.stream].nodes.push_back(&n);
    }
    if (!config.lazy) for (const Node& n : graph.nodes) to(n.stream, lanes_[n.stream].done + 1);
    for (size_t i = 1; config.ahead && i < order_.size(); i++) whole(order_[i]);
    for (Stream* s : order_) whole(s);
  }
  bool endless() const { return endless_; }

 private:
  struct Lane {
    std::vector<const Node*> nodes;
    size_t done = 0;
  };
  void whole(Stream* s) { to(s, lanes_[s].nodes.size()); }
  void to(Stream* s, size_t end) {
    Lane& lane = lanes_[s];
    while (lane.done < end && sticky == success && !endless_) {
      const Node& n = *lane.nodes[lane.done++];
      if (n.from) to(n.from, n.after);
      else n.operation();
      endless_ |= s->endless;
    }
  }
  std::map<Stream*, Lane> lanes_;
  std::vector<Stream*> order_;
  bool endless_ = false;
};
static double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
}  // namespace emu::driver
using namespace emu::driver;

API cuStreamCreate(void** made, unsigned flags) {
  return in_context([&] {
    auto* s = new Stream;
    s->independent = flags & 1;
    streams.insert(s);
    if (!first) first = s;
    return *made = s, success;
  });
}
API cuStreamCreateWithPriority(void** made, unsigned flags, int) { return cuStreamCreate(made, flags); }
API cuStreamDestroy_v2(void* handle) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    const Result result = finish(s);
    if (&s == first) first = nullptr;
    if (&s != &standard && streams.erase(&s)) delete &s;
    return result;
  });
}
API cuStreamSynchronize(void* handle) {
  return in_context([&] { return spoils_capture() ? capture_unsupported : finish(stream_of(handle)); });
}
API cuStreamQuery(void* handle) {
  return in_context([&] { return stream_of(handle).endless ? not_ready : finish(stream_of(handle)); });
}
API cuStreamWaitEvent(void* handle, Event* e, unsigned) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    if (e->capture) {
      if (!captured.count(e->capture) || e->capture->number != e->number) return captured_event;
      if (s.capture && s.capture != e->capture) return capture_isolation;
      s.capture = e->capture;  // it joins the capture
      return s.capture->nodes.push_back({&s, {}, e->stream, e->after}), success;
    }
    if (!e->stream) return success;
    if (s.capture) return s.capture->valid = false, capture_isolation;
    return enqueue(s, [&s, from = e->stream, after = e->after] { await(s, from, after); });
  });
}
API cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
  return in_context([&] { return enqueue(stream_of(handle), [=] { function(data); }); });
}

API cuEventCreate(Event** made, unsigned) {
  return in_context([&] { return *made = new Event, success; });
}
API cuEventDestroy_v2(Event* e) {
  return in_context([&] {
    if (e->stream && streams.count(e->stream)) finish(*e->stream);  // its record may be pending
    delete e;
    return success;
  });
}
API cuEventRecord(Event* e, void* handle) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    e->capture = s.capture;
    e->number = s.capture ? s.capture->number : 0;
    e->stream = &s;
    e->after = (s.capture ? nodes_of(*s.capture, &s) : s.asked) + 1;
    e->seconds = 0;
    return enqueue(s, [e] { e->seconds = now(); });
  });
}
API cuEventRecordWithFlags(Event* e, void* handle, unsigned) { return cuEventRecord(e, handle); }
API cuEventQuery(Event* e) {
  return in_context([&] { return !e->stream || e->stream->done >= e->after ? success : not_ready; });
}
API cuEventSynchronize(Event* e) {
  return in_context([&] {
    if (e->capture) return captured_event;
    if (e->stream && streams.count(e->stream)) advance(*e->stream, e->after);
    return sticky;
  });
}
API cuEventElapsedTime(float* milliseconds, Event* from, Event* to) {
  return in_context([&] {
    if (from->seconds == 0 || to->seconds == 0) return not_ready;
    return *milliseconds = float((to->seconds - from->seconds) * 1e3), success;
  });
}
API cuEventElapsedTime_v2(float* milliseconds, Event* from, Event* to) { return cuEventElapsedTime(milliseconds, from, to); }

API cuStreamBeginCapture_v2(void* handle, int) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    if (&s == &standard || s.capture) return capture_unsupported;
    captured.insert(s.capture = new Graph);
    s.capture->number = ++captures;
    s.began_capture = true;
    return success;
  });
}
API cuStreamEndCapture(void* handle, Graph** made) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    if (!s.capture || !s.began_capture) return capture_unmatched;
    *made = s.capture;
    captured.erase(*made);
    s.began_capture = false;
    const bool joined = is_joined(**made, &s);
    for (Stream* other : streams)
      if (other->capture == *made) other->capture = nullptr;
    if ((*made)->valid && joined) return success;
    const Result why = (*made)->valid ? capture_unjoined : capture_invalidated;
    delete *made;
    return *made = nullptr, why;
  });
}
API cuStreamIsCapturing(void* handle, int* status) {
  return in_context([&] { return *status = stream_of(handle).capture ? 1 : 0, success; });
}
API cuGraphGetNodes(Graph* g, void** nodes, size_t* n) {
  return in_context([&] {
    for (size_t i = 0; nodes && i < *n && i < g->nodes.size(); i++) nodes[i] = &g->nodes[i];
    return *n = g->nodes.size(), success;
  });
}
/// An executable graph is a copy.
API cuGraphInstantiateWithFlags(Graph** made, Graph* g, unsigned long long) {
  return in_context([&] { return *made = new Graph(*g), success; });
}
API cuGraphLaunch(Graph* g, void* handle) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    return enqueue(s, [&s, graph = *g] { s.endless |= Replay(graph).endless(); });
  });
}
API cuGraphUpload(Graph*, void*) { return success; }
API cuGraphDestroy(Graph* g) {
  return in_context([&] { return delete g, success; });
}
API cuGraphExecDestroy(Graph* g) { return cuGraphDestroy(g); }
