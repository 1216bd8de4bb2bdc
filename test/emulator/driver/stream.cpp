#include "stream.hpp"

#include <chrono>
#include <set>

#include "../runtime/config.hpp"

namespace emu::driver {
static Stream standard;
static std::set<Stream*> streams = {&standard};

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
  while (s.done < to && !s.queue.empty() && sticky == success) {
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
    s.capture->nodes.push_back(std::move(operation));
    return success;
  }
  if (&s == &standard) finish_default();
  else if (!s.independent) finish(standard);
  s.queue.push_back(std::move(operation));
  s.asked++;
  if (!config.lazy) finish(s);
  return success;
}
static double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
}  // namespace emu::driver
using namespace emu::driver;

API cuStreamCreate(void** made, unsigned flags) {
  return in_context([&] {
    auto* s = new Stream;
    s->independent = flags & 1;
    streams.insert(s);
    return *made = s, success;
  });
}
API cuStreamCreateWithPriority(void** made, unsigned flags, int) { return cuStreamCreate(made, flags); }
API cuStreamDestroy_v2(void* handle) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    const Result result = finish(s);
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
    if (e->capture) return s.capture = e->capture, success;  // it joins the capture
    if (!e->stream) return success;
    return enqueue(s, [from = e->stream, after = e->after] {
      if (streams.count(from)) advance(*from, after);
    });
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
    if (!s.capture) e->stream = &s, e->after = s.asked + 1, e->seconds = 0;
    return enqueue(s, [e] { e->seconds = now(); });
  });
}
API cuEventRecordWithFlags(Event* e, void* handle, unsigned) { return cuEventRecord(e, handle); }
API cuEventQuery(Event* e) {
  return in_context([&] { return !e->stream || e->stream->done >= e->after ? success : not_ready; });
}
API cuEventSynchronize(Event* e) {
  return in_context([&] {
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
    s.capture = new Graph;
    s.began_capture = true;
    return success;
  });
}
API cuStreamEndCapture(void* handle, Graph** made) {
  return in_context([&] {
    Stream& s = stream_of(handle);
    if (!s.capture || !s.began_capture) return capture_unmatched;
    *made = s.capture;
    s.began_capture = false;
    for (Stream* other : streams)
      if (other->capture == *made) other->capture = nullptr;
    if ((*made)->valid) return success;
    delete *made;
    return *made = nullptr, capture_invalidated;
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
    return enqueue(stream_of(handle), [nodes = g->nodes] {
      for (const Operation& node : nodes)
        if (sticky == success) node();
    });
  });
}
API cuGraphUpload(Graph*, void*) { return success; }
API cuGraphDestroy(Graph* g) {
  return in_context([&] { return delete g, success; });
}
API cuGraphExecDestroy(Graph* g) { return cuGraphDestroy(g); }
