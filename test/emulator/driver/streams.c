// streams LIBRARY: on two streams, in a capture and not, the second copies a to b once the first has set a, and the first copies b to c once that is
// done; then either wait is left out. Prints c, which was 1, as b was, where a becomes 2; and the error of a capture that is not right.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void* library;
typedef int (*Call)(...);
#define CU(name) ((Call)dlsym(library, #name))
#define RIGHT(call) right(#call, call)
static void right(const char* what, int result) {
  if (result) printf("%s: error %d\n", what, result), exit(3);
}
static unsigned long long a, b, c;
static void *one, *two, *begun, *done;
enum { whole, without_start, without_end };
static void work(int how) {
  RIGHT(CU(cuMemsetD8Async)(a, 2, (size_t)16, one));
  RIGHT(CU(cuEventRecord)(begun, one));
  if (how != without_start) RIGHT(CU(cuStreamWaitEvent)(two, begun, 0));
  RIGHT(CU(cuMemcpyAsync)(b, a, (size_t)16, two));
  RIGHT(CU(cuEventRecord)(done, two));
  if (how == without_end) RIGHT(CU(cuMemcpyAsync)(c, b, (size_t)16, one));
  RIGHT(CU(cuStreamWaitEvent)(one, done, 0));
  if (how != without_end) RIGHT(CU(cuMemcpyAsync)(c, b, (size_t)16, one));
}
static int result(void) {
  char text[16];
  RIGHT(CU(cuStreamSynchronize)(one));
  RIGHT(CU(cuStreamSynchronize)(two));
  RIGHT(CU(cuMemcpyDtoH_v2)(text, c, sizeof text));
  for (unsigned long long at = 0; at < 3; at++) RIGHT(CU(cuMemsetD8Async)(at == 0 ? a : at == 1 ? b : c, 1, (size_t)16, one));
  RIGHT(CU(cuStreamSynchronize)(one));
  return text[7];
}
/// The same, as a graph that is launched.
static int captured(int how) {
  void *graph, *executable;
  RIGHT(CU(cuStreamBeginCapture_v2)(one, 1));
  work(how);
  RIGHT(CU(cuStreamEndCapture)(one, &graph));
  RIGHT(CU(cuGraphInstantiateWithFlags)(&executable, graph, 0ull));
  RIGHT(CU(cuGraphLaunch)(executable, one));
  const int made = result();
  RIGHT(CU(cuGraphExecDestroy)(executable));
  return RIGHT(CU(cuGraphDestroy)(graph)), made;
}
int main(int count, char** args) {
  (void)count;
  void *context, *graph = NULL;
  if (!(library = dlopen(args[1], RTLD_NOW | RTLD_LOCAL))) return puts(dlerror()), 2;
  RIGHT(CU(cuInit)(0));
  RIGHT(CU(cuDevicePrimaryCtxRetain)(&context, 0));
  RIGHT(CU(cuCtxSetCurrent)(context));
  unsigned long long* all[] = {&a, &b, &c};
  for (int i = 0; i < 3; i++) RIGHT(CU(cuMemAlloc_v2)(all[i], (size_t)16));
  RIGHT(CU(cuStreamCreate)(&one, 1));
  RIGHT(CU(cuStreamCreate)(&two, 1));
  RIGHT(CU(cuEventCreate)(&begun, 0));
  RIGHT(CU(cuEventCreate)(&done, 0));
  result();
  work(whole);
  printf("whole: %d", result());
  work(without_start);
  printf(", without the first wait: %d", result());
  work(without_end);
  printf(", without the second: %d\n", result());
  printf("captured: %d", captured(whole));
  printf(", without the second: %d\n", captured(without_end));
  RIGHT(CU(cuStreamBeginCapture_v2)(one, 1));
  printf("an event of an earlier capture: %d\n", CU(cuStreamWaitEvent)(one, done, 0));
  RIGHT(CU(cuStreamEndCapture)(one, &graph));
  RIGHT(CU(cuGraphDestroy)(graph));
  RIGHT(CU(cuEventRecord)(done, two));
  RIGHT(CU(cuStreamBeginCapture_v2)(one, 1));
  printf("an event of before the capture: %d", CU(cuStreamWaitEvent)(one, done, 0));
  printf(", ended %d\n", CU(cuStreamEndCapture)(one, &graph));
  RIGHT(CU(cuStreamBeginCapture_v2)(one, 1));
  RIGHT(CU(cuEventRecord)(begun, one));
  RIGHT(CU(cuStreamWaitEvent)(two, begun, 0));
  RIGHT(CU(cuMemcpyAsync)(b, a, (size_t)16, two));
  printf("a stream that is not joined: %d", CU(cuStreamEndCapture)(one, &graph));
  printf(", its event after that: %d\n", CU(cuStreamWaitEvent)(one, begun, 0));
  return 0;
}
