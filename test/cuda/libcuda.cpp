// A driver for tests of what calls it: device memory is the host's, an image is the name of a function below. Each call is a line of the
// file MOEC_FAKE_LOG; one that MOEC_FAKE_FAIL names ("cuMemAlloc_v2 2 cuLaunchKernel 719") gives that error instead.
#include <sys/mman.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

using Handle = void*;
using Address = uint64_t;
using Work = std::function<void()>;
struct Graph {
  std::vector<Work> work;
};
struct Stream {
  bool capturing = false;
  Graph graph;
};
struct Place {
  size_t x, y;
  unsigned type;
  void* host;
  Address address;
  void* array;
  size_t pitch;
};
struct Copy2D {
  Place from, to;
  size_t width, height;
};
using Kernel = void (*)(float** args);

static void twice(float** a) { for (int i = 0; i < 37 * 16; i++) a[1][i] = 2 * a[0][i]; }
static void twice_sm90(float** a) { for (int i = 0; i < 37 * 16; i++) a[1][i] = a[0][i] + a[0][i]; }
static void twice_wrong(float** a) { twice(a); a[1][37 * 16 - 1] += 3; }
static void twice_near(float** a) { twice(a); a[1][1] *= 1 + 1.0f / 128; }
static void total(float** a) { a[1][0] = 0; for (int i = 0; i < 37 * 16; i++) a[1][0] += a[0][i]; }
static void grow(float** a) { a[2][0] = a[0][0] + a[1][0]; }
static const std::map<std::string, Kernel> kernels = {{"twice", twice}, {"twice_sm90", twice_sm90}, {"twice_wrong", twice_wrong}, {"twice_near", twice_near}, {"total", total}, {"grow", grow}};
static const std::map<int, const char*> names = {
    {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {100, "CUDA_ERROR_NO_DEVICE"}, {200, "CUDA_ERROR_INVALID_IMAGE"},
    {500, "CUDA_ERROR_NOT_FOUND"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"}, {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}};
static std::map<Address, size_t> allocated;

static int called(const char* name, const char* more = "", ...) {
  if (const char* path = getenv("MOEC_FAKE_LOG")) {
    FILE* file = fopen(path, "a");
    va_list args;
    va_start(args, more);
    fprintf(file, "%s", name);
    vfprintf(file, more, args);
    fprintf(file, "\n");
    va_end(args);
    fclose(file);
  }
  const char* failing = getenv("MOEC_FAKE_FAIL");
  std::istringstream in(failing ? failing : "");
  std::string which;
  for (int code; in >> which >> code;)
    if (which == name) return code;
  return 0;
}
#define CALL(...) if (const int error = called(__func__, ##__VA_ARGS__)) return error
#define API extern "C" __attribute__((visibility("default"))) int

static int give(Handle stream, Work work) {
  auto* s = static_cast<Stream*>(stream);
  if (s->capturing) s->graph.work.push_back(work);
  else work();
  return 0;
}

API cuInit(unsigned) { CALL(); return 0; }
API cuDriverGetVersion(int* version) { return *version = 12040, 0; }
API cuGetErrorName(int error, const char** name) { return *name = names.count(error) ? names.at(error) : nullptr, 0; }
API cuGetErrorString(int, const char** text) { return *text = "it went wrong", 0; }
API cuDeviceGetCount(int* count) { return *count = getenv("MOEC_FAKE_NO_DEVICE") ? 0 : 1, 0; }
API cuDeviceGet(int* device, int index) { return *device = index, 0; }
API cuDeviceGetName(char* name, int size, int) { return snprintf(name, size_t(size), "a fake"), 0; }
API cuDeviceGetUuid_v2(char* uuid, int device) { return memset(uuid, device, 16), 0; }
API cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = size_t(16) << 30, 0; }
API cuDeviceGetAttribute(int* value, int which, int) {
  return *value = which == 11 ? INT32_MAX : which == 16 ? 4 : which == 75 ? 8 : which == 76 ? 6 : 0, 0;
}
API cuDevicePrimaryCtxRetain(Handle* context, int) { CALL(); return *context = Handle(1), 0; }
API cuDevicePrimaryCtxRelease_v2(int) { CALL(); return 0; }
API cuCtxSetCurrent(Handle) { return 0; }
API cuMemGetInfo_v2(size_t* free, size_t* total) { return *free = size_t(12) << 30, *total = size_t(16) << 30, 0; }
API cuMemAlloc_v2(Address* memory, size_t bytes) {
  CALL(" %zu", bytes);
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes < size_t(1) << 24) memset(mapped, 0xab, bytes);
  allocated[*memory = Address(mapped)] = bytes;
  return 0;
}
API cuMemFree_v2(Address memory) { CALL(); return munmap((void*)memory, allocated.at(memory)); }
API cuMemHostAlloc(void** memory, size_t bytes, unsigned) { CALL(); return *memory = malloc(bytes), 0; }
API cuMemFreeHost(void* memory) { CALL(); return free(memory), 0; }
API cuMemcpyAsync(Address to, Address from, size_t bytes, Handle stream) {
  CALL(" %zu", bytes);
  return give(stream, [=] { memcpy((void*)to, (void*)from, bytes); });
}
API cuMemcpy2DAsync_v2(const Copy2D* copy, Handle stream) {
  CALL(" %zu x %zu", copy->height, copy->width);
  if (copy->from.type != 4 || copy->to.type != 4 || copy->from.pitch < copy->width || copy->to.pitch < copy->width) return 1;
  return give(stream, [c = *copy] {
    for (size_t i = 0; i < c.height; i++)
      memcpy((char*)c.to.address + i * c.to.pitch, (char*)c.from.address + i * c.from.pitch, c.width);
  });
}
API cuMemsetD8Async(Address to, unsigned char byte, size_t bytes, Handle stream) {
  CALL(" %zu", bytes);
  return give(stream, [=] { memset((void*)to, byte, bytes); });
}
API cuModuleLoadData(Handle* module, const void* image) { CALL(); return *module = strdup((const char*)image), 0; }
API cuModuleUnload(Handle module) { CALL(); return free(module), 0; }
API cuModuleGetFunction(Handle* function, Handle module, const char* name) {
  if (strcmp((char*)module, name) != 0 || kernels.count(name) == 0) return 500;
  return *function = Handle(kernels.at(name)), 0;
}
API cuFuncSetAttribute(Handle, int, int bytes) { return bytes > 100000 ? 1 : 0; }
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Handle, int threads, size_t) { return *blocks = threads > 1024 ? 0 : 2, 0; }
API cuStreamCreate(Handle* stream, unsigned) { CALL(); return *stream = new Stream, 0; }
API cuStreamDestroy_v2(Handle stream) { CALL(); return delete static_cast<Stream*>(stream), 0; }
API cuStreamSynchronize(Handle) { CALL(); return 0; }
API cuStreamQuery(Handle) { CALL(); return 0; }
API cuStreamWaitEvent(Handle, Handle, unsigned) { CALL(); return 0; }
API cuStreamBeginCapture_v2(Handle stream, int) {
  CALL();
  auto* s = static_cast<Stream*>(stream);
  s->graph = {};
  return s->capturing = true, 0;
}
API cuStreamEndCapture(Handle stream, Handle* graph) {
  CALL();
  auto* s = static_cast<Stream*>(stream);
  return s->capturing = false, *graph = new Graph(s->graph), 0;
}
API cuGraphInstantiateWithFlags(Handle* made, Handle graph, unsigned long long) { CALL(); return *made = new Graph(*static_cast<Graph*>(graph)), 0; }
API cuGraphLaunch(Handle graph, Handle) {
  CALL();
  for (const Work& work : static_cast<Graph*>(graph)->work) work();
  return 0;
}
API cuGraphDestroy(Handle graph) { CALL(); return delete static_cast<Graph*>(graph), 0; }
API cuGraphExecDestroy(Handle graph) { CALL(); return delete static_cast<Graph*>(graph), 0; }
API cuLaunchKernel(Handle function, unsigned x, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned shared, Handle stream, void** params, void**) {
  CALL(" %u %u %u", x, threads, shared);
  const auto kernel = Kernel(function);
  std::vector<float*> args;
  for (int i = 0; i < (kernel == grow ? 3 : 2); i++) args.push_back(*static_cast<float**>(params[i]));
  return give(stream, [=]() mutable { kernel(args.data()); });
}
API cuEventCreate(Handle* event, unsigned) { CALL(); return *event = Handle(1), 0; }
API cuEventRecord(Handle, Handle) { CALL(); return 0; }
API cuEventSynchronize(Handle) { return 0; }
API cuEventElapsedTime(float* milliseconds, Handle, Handle) { return *milliseconds = 0.25f, 0; }
API cuEventDestroy_v2(Handle) { CALL(); return 0; }
API cuTensorMapEncodeTiled(void*, int, unsigned, Address, const uint64_t*, const uint64_t*, const unsigned*, const unsigned*, int, int, int, int) { CALL(); return 0; }

/// An NCCL that is asked for nothing but to be there.
struct UniqueId {
  char internal[128];
};
API ncclGetVersion(int* version) { return *version = 22807, 0; }
API ncclGetUniqueId(UniqueId* id) { return memset(id, 0, sizeof *id), 0; }
API ncclCommInitRank(Handle* comm, int, UniqueId, int) { CALL(); return *comm = Handle(1), 0; }
API ncclCommDestroy(Handle) { CALL(); return 0; }
API ncclCommAbort(Handle) { CALL(); return 0; }
API ncclCommGetAsyncError(Handle, int* error) { return *error = 0, 0; }
API ncclGroupStart() { return 0; }
API ncclGroupEnd() { return 0; }
API ncclSend(const void*, size_t, int, int, Handle, Handle) { return 4; }
API ncclRecv(void*, size_t, int, int, Handle, Handle) { return 4; }
API ncclAllGather(const void*, void*, size_t, int, Handle, Handle) { return 4; }
extern "C" __attribute__((visibility("default"))) const char* ncclGetErrorString(int) { return "it went wrong"; }
extern "C" __attribute__((visibility("default"))) const char* ncclGetLastError(Handle) { return "in NCCL"; }
