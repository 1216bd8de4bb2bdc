// pair LIBRARY: two processes, NCCL clients with one device each. Prints their results, and the error codes of calls that fail.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void* library;
static int rank, to_other, from_other;
typedef int (*Call)(...);
#define DO(name) ((Call)dlsym(library, #name))
#define RIGHT(call) right(#call, call)
static void right(const char* what, int result) {
  if (result) printf("%s: error %d\n", what, result), exit(3);
}
static const char* said(void* comm) { return ((const char* (*)(void*))dlsym(library, "ncclGetLastError"))(comm); }
typedef struct {
  char text[128];
} Id;
/// The first process creates the id and sends it to the other.
static Id common(void) {
  Id id;
  if (rank == 0) {
    RIGHT(DO(ncclGetUniqueId)(&id));
    if (write(to_other, &id, sizeof id) != sizeof id) exit(4);
  } else if (read(from_other, &id, sizeof id) != sizeof id) exit(4);
  return id;
}
static int joined(void** comm, int as) { return ((int (*)(void**, int, Id, int))dlsym(library, "ncclCommInitRank"))(comm, 2, common(), as); }
static void met(void) {
  char word = 0;
  if (write(to_other, &word, 1) != 1 || read(from_other, &word, 1) != 1) exit(4);
}

static void* context(int number) {
  void* made;
  RIGHT(DO(cuDevicePrimaryCtxRetain)(&made, number));
  return RIGHT(DO(cuCtxSetCurrent)(made)), made;
}
/// The asynchronous error of the communicator.
static void failure(const char* what, void* comm, void* stream) {
  int failed;
  RIGHT(DO(ncclCommGetAsyncError)(comm, &failed));
  printf("%s: %d %d, %s\n", what, failed, DO(cuStreamQuery)(stream), said(comm));
  RIGHT(DO(ncclCommAbort)(comm));
}

enum { n = 100000 };
/// Gathers, and sends both ways, what the worker gathered of its own.
static void trade(unsigned long long own, unsigned long long all, unsigned long long taken, void* comm, void* stream) {
  RIGHT(DO(ncclAllGather)(own, all, sizeof(int) * n, 0, comm, stream));
  RIGHT(DO(ncclGroupStart)());
  for (int half = 0; half < 2; half++) {
    const size_t at = sizeof(int) * (n / 2) * half;
    RIGHT(DO(ncclSend)(all + sizeof(int) * n * rank + at, sizeof(int) * (n / 2), 0, 1 - rank, comm, stream));
    RIGHT(DO(ncclRecv)(taken + at, sizeof(int) * (n / 2), 1, 1 - rank, comm, stream));
  }
  RIGHT(DO(ncclGroupEnd)());
}

static void run(void) {
  void *comm, *stream, *graph, *executable;
  unsigned long long own, all, taken;
  RIGHT(DO(cuInit)(0));
  printf("without a context: %d\n", joined(&comm, rank));
  context(0);
  printf("both on one device: %d\n", joined(&comm, rank));
  context(rank);
  RIGHT(joined(&comm, rank));
  int* host = (int*)malloc(sizeof(int) * 2 * n);
  RIGHT(DO(cuMemAlloc_v2)(&own, sizeof(int) * n));
  RIGHT(DO(cuMemAlloc_v2)(&all, sizeof(int) * 2 * n));
  RIGHT(DO(cuMemAlloc_v2)(&taken, sizeof(int) * n));
  RIGHT(DO(cuStreamCreate)(&stream, 1));
  printf("memory of the host: %d\n", DO(ncclSend)(host, (size_t)4, 0, 1 - rank, comm, stream));
  printf("to itself: %d\n", DO(ncclSend)(own, (size_t)4, 0, rank, comm, stream));

  RIGHT(DO(cuStreamBeginCapture_v2)(stream, 1));
  printf("captured unconnected: %d\n", DO(ncclAllGather)(own, all, sizeof(int) * n, 0, comm, stream));
  RIGHT(DO(cuStreamEndCapture)(stream, &graph));
  RIGHT(DO(cuGraphDestroy)(graph));
  trade(own, all, taken, comm, stream);
  RIGHT(DO(cuStreamBeginCapture_v2)(stream, 1));
  trade(own, all, taken, comm, stream);
  RIGHT(DO(cuStreamEndCapture)(stream, &graph));
  RIGHT(DO(cuGraphInstantiateWithFlags)(&executable, graph, 0ull));
  for (int time = 0; time < 2; time++) {
    for (int i = 0; i < n; i++) host[i] = 1000000 * (rank + 1 + time) + i;
    RIGHT(DO(cuMemcpyHtoD_v2)(own, host, sizeof(int) * n));
    RIGHT(DO(cuGraphLaunch)(executable, stream));
    RIGHT(DO(cuStreamSynchronize)(stream));
    RIGHT(DO(cuMemcpyDtoH_v2)(host, all, sizeof(int) * 2 * n));
    printf("gathered: %d %d %d\n", host[0], host[n - 1], host[2 * n - 1]);
    RIGHT(DO(cuMemcpyDtoH_v2)(host, taken, sizeof(int) * n));
    printf("sent both ways: %d %d\n", host[0], host[n - 1]);
  }
  printf("destroyed with a graph: %d\n", DO(ncclCommDestroy)(comm));
  RIGHT(DO(cuGraphDestroy)(graph));
  RIGHT(DO(cuGraphExecDestroy)(executable));
  if (rank == 0) RIGHT(DO(ncclSend)(own, (size_t)40, 0, 1, comm, stream));
  else RIGHT(DO(ncclRecv)(own, (size_t)36, 0, 0, comm, stream));
  failure("other sizes", comm, stream);

  RIGHT(DO(cuStreamCreate)(&stream, 1));
  RIGHT(joined(&comm, rank));
  if (rank == 0) {
    RIGHT(DO(ncclSend)(own, (size_t)40, 0, 1, comm, stream));
    failure("nobody takes it", comm, stream);
    met();
  } else met(), RIGHT(DO(ncclCommDestroy)(comm));
}

int main(int count, char** args) {
  int a[2], b[2];
  if (count < 2 || pipe(a) || pipe(b)) return 2;
  const int other = fork();
  rank = other == 0;
  to_other = rank ? b[1] : a[1];
  from_other = rank ? a[0] : b[0];
  close(rank ? b[0] : b[1]);
  close(rank ? a[1] : a[0]);
  if (!(library = dlopen(args[1], RTLD_NOW | RTLD_LOCAL))) return puts(dlerror()), 2;
  static char text[1 << 14];  // output is buffered and printed in the order of ranks
  setvbuf(stdout, text, _IOFBF, sizeof text);
  printf("worker %d\n", rank);
  run();
  int status = 0;
  if (rank == 0) fflush(stdout), met(), waitpid(other, &status, 0);
  else met();
  return status;
}
