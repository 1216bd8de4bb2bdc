// client LIBCUDA LIBNVRTC TEXT: a client of the driver in C. Compiles the text, runs its kernels in a stream, in order with copies
// and events, then as a graph; prints the results, and the error codes of calls that fail.
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void* cuda;
static void* rtc;
static void* of(void* library, const char* name) {
  void* f = dlsym(library, name);
  if (!f) printf("no %s\n", name), exit(2);
  return f;
}
typedef int (*Call)(...);
#define CU(name) ((Call)of(cuda, #name))
#define RTC(name) ((Call)of(rtc, #name))
static void right(const char* what, int result) {
  if (result) printf("%s: error %d\n", what, result), exit(3);
}
#define RIGHT(call) right(#call, call)

static void* compiled(const char* path) {
  static char text[1 << 16];
  FILE* f = fopen(path, "r");
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  void *program, *module;
  const char* options[] = {"--gpu-architecture=sm_90a", "--std=c++17", "--fmad=false", "-DSCALE=3"};
  RIGHT(RTC(nvrtcCreateProgram)(&program, text, "client.cu", 0, NULL, NULL));
  const int result = RTC(nvrtcCompileProgram)(program, 4, options);
  size_t n;
  RIGHT(RTC(nvrtcGetProgramLogSize)(program, &n));
  char* log = (char*)malloc(n);
  RIGHT(RTC(nvrtcGetProgramLog)(program, log));
  if (result) printf("compile: %d\n%s", result, log), exit(4);
  RIGHT(RTC(nvrtcGetCUBINSize)(program, &n));
  char* cubin = (char*)malloc(n);
  RIGHT(RTC(nvrtcGetCUBIN)(program, cubin));
  RIGHT(RTC(nvrtcDestroyProgram)(&program));
  printf("junk: %d\n", CU(cuModuleLoadData)(&module, "this is no module, but it is long enough to be looked at: 0123456789"));
  RIGHT(CU(cuModuleLoadData)(&module, cubin));
  memset(cubin, 0, n);  // the driver has its own copy
  free(cubin);
  return module;
}
static void* function(void* module, const char* name) {
  void* f;
  RIGHT(CU(cuModuleGetFunction)(&f, module, name));
  return f;
}

int main(int count, char** args) {
  if (count < 4 || !(cuda = dlopen(args[1], RTLD_NOW | RTLD_LOCAL))) return puts(dlerror()), 2;
  enum { n = 1000 };
  int device, number;
  void *context, *stream, *other, *event, *graph, *executable, *f;
  printf("before cuInit: %d\n", CU(cuDeviceGetCount)(&device));
  RIGHT(CU(cuInit)(0));
  if (!(rtc = dlopen(args[2], RTLD_NOW | RTLD_LOCAL))) return puts(dlerror()), 2;
  RIGHT(CU(cuDeviceGet)(&device, 0));
  RIGHT(CU(cuDevicePrimaryCtxRetain)(&context, device));
  unsigned long long a, b, none;
  printf("without a context: %d\n", CU(cuMemAlloc_v2)(&none, (size_t)16));
  RIGHT(CU(cuCtxSetCurrent)(context));
  RIGHT(CU(cuDeviceGetAttribute)(&number, 75, device));
  printf("compute capability %d\n", number);
  char words[256];
  snprintf(words, sizeof words, "%s devices=3", getenv("MOEC_EMULATOR"));
  setenv("MOEC_EMULATOR", words, 1);  // NVRTC reads it at each call, the driver once
  void* module = compiled(args[3]);
  RIGHT(CU(cuDeviceGetCount)(&number));
  printf("devices: %d\n", number);
  printf("no such kernel: %d\n", CU(cuModuleGetFunction)(&f, module, "nothing"));
  void *add = function(module, "add"), *scale = function(module, "scale"), *wrong = function(module, "wrong"), *roomy = function(module, "roomy");

  float *host, *back, factor = 0.5f;
  int length = n;
  RIGHT(CU(cuMemAlloc_v2)(&a, sizeof(float) * n));
  RIGHT(CU(cuMemAlloc_v2)(&b, sizeof(float) * n));
  printf("too much memory: %d\n", CU(cuMemAlloc_v2)(&none, (size_t)1 << 50));
  RIGHT(CU(cuMemHostAlloc)(&host, sizeof(float) * n, 0));
  RIGHT(CU(cuMemAllocHost_v2)(&back, sizeof(float) * n));
  RIGHT(CU(cuStreamCreate)(&stream, 1));
  RIGHT(CU(cuStreamCreate)(&other, 1));
  RIGHT(CU(cuEventCreate)(&event, 0));
  for (int i = 0; i < n; i++) host[i] = (float)i;
  RIGHT(CU(cuMemcpyHtoDAsync_v2)(a, host, sizeof(float) * n, stream));
  RIGHT(CU(cuMemsetD32Async)(b, 0x3f800000, n, stream));
  void* to_add[] = {&b, &a, &length};
  void* to_scale[] = {&b, &factor, &length};
  RIGHT(CU(cuLaunchKernel)(add, 4, 1, 1, 128, 1, 1, 0, stream, to_add, NULL));
  RIGHT(CU(cuEventRecord)(event, stream));
  RIGHT(CU(cuStreamWaitEvent)(other, event, 0));
  RIGHT(CU(cuLaunchKernel)(scale, 2, 1, 1, 256, 1, 1, 0, other, to_scale, NULL));
  factor = 100;  // the launch has its own copy
  RIGHT(CU(cuMemcpyDtoHAsync_v2)(back, b, sizeof(float) * n, other));
  RIGHT(CU(cuStreamSynchronize)(other));
  printf("streams: %g %g\n", back[1], back[n - 1]);  // (i + 1) * 0.5 * SCALE

  const struct {
    size_t x, y;
    unsigned type;
    void* host;
    unsigned long long address;
    void* array;
    size_t pitch;
  } rows = {0, 0, 4, NULL, a, NULL, 16}, to_rows = {0, 0, 4, NULL, b, NULL, 16};
  struct {
    __typeof__(rows) from, to;
    size_t width, height;
  } narrow = {rows, to_rows, 20, 2};
  printf("rows that are wider than the pitch: %d\n", CU(cuMemcpy2DAsync_v2)(&narrow, stream));

  factor = 2;
  for (int allocates = 0; allocates < 2; allocates++) {
    RIGHT(CU(cuStreamBeginCapture_v2)(stream, 1));
    const int refused = allocates ? CU(cuMemAlloc_v2)(&none, (size_t)16) : CU(cuStreamSynchronize)(stream);
    const int after = CU(cuLaunchKernel)(scale, 2, 1, 1, 256, 1, 1, 0, stream, to_scale, NULL);
    printf("%s while it captures: %d, then %d, ended %d\n", allocates ? "allocated" : "synchronized", refused, after, CU(cuStreamEndCapture)(stream, &graph));
  }
  RIGHT(CU(cuStreamBeginCapture_v2)(stream, 0));
  RIGHT(CU(cuLaunchKernel)(scale, 2, 1, 1, 256, 1, 1, 0, stream, to_scale, NULL));
  RIGHT(CU(cuLaunchKernel)(add, 4, 1, 1, 128, 1, 1, 0, stream, to_add, NULL));
  RIGHT(CU(cuStreamEndCapture)(stream, &graph));
  RIGHT(CU(cuGraphInstantiateWithFlags)(&executable, graph, 0ull));
  RIGHT(CU(cuMemcpyHtoD_v2)(b, host, sizeof(float) * n));
  for (int i = 0; i < 2; i++) RIGHT(CU(cuGraphLaunch)(executable, stream));
  RIGHT(CU(cuStreamSynchronize)(stream));
  RIGHT(CU(cuMemcpyDtoH_v2)(back, b, sizeof(float) * n));
  printf("graph: %g %g\n", back[1], back[n - 1]);  // twice i * 6 + i

  printf("more shared memory than asked for: %d\n", CU(cuLaunchKernel)(roomy, 1, 1, 1, 32, 1, 1, 100 << 10, stream, to_add, NULL));
  RIGHT(CU(cuFuncSetAttribute)(roomy, 8, 100 << 10));
  RIGHT(CU(cuLaunchKernel)(roomy, 1, 1, 1, 32, 1, 1, 100 << 10, stream, to_add, NULL));
  RIGHT(CU(cuStreamSynchronize)(stream));
  CU(cuLaunchKernel)(wrong, 1, 1, 1, 32, 1, 1, 0, stream, to_add, NULL);
  const int fault = CU(cuStreamSynchronize)(stream);
  printf("after a fault: %d, then %d\n", fault, CU(cuMemAlloc_v2)(&none, (size_t)16));
  const char* name;
  RIGHT(CU(cuGetErrorName)(719, &name));
  printf("%s\n", name);
  return 0;
}
