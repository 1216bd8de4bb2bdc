// driver LIB THREADS [REPEAT] < plan: runs the launches of sequences on buffers with NaN before them, which must stay, and a guard page after, and
// writes those asked for.
// Lines: "buffer BYTES FILE|-", "copy FROM TO", "launch NAME TASKS SCRATCH BUFFER[+BYTES]...", "dump BUFFER FILE"; "end" frees a
// sequence's buffers. Buffers begin as all bits set: NaN, -1.
// REPEAT: prints the best time of each launch, of processors, not of the clock: others may use them too.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <time.h>
#include <vector>
#include <dlfcn.h>
#include <sys/mman.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes)
#endif
typedef void (*Kernel)(void* const*, long, long, float*);
struct Buffer { char* p; size_t bytes; };
static constexpr size_t page = 4096;
static size_t room_of(size_t bytes) { return (bytes + page - 1) / page * page; }
static Buffer make(size_t bytes) {
  const size_t room = room_of(bytes);
  char* base = (char*)mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(base + room, page, PROT_NONE);
  char* p = base + room - bytes;
  memset(base, 0xff, room);
  ASAN_POISON_MEMORY_REGION(base, room - bytes);
  return {p, bytes};
}
/// Of each thread, `floats` at a multiple of 64 bytes, as in runtime/native/pool.cpp.
static Buffer make_scratch(size_t floats) {
  const Buffer b = make((floats * 4 + 63) / 64 * 64);
  ASAN_POISON_MEMORY_REGION(b.p + floats * 4, b.bytes - floats * 4);
  return b;
}
static std::string running;
static void release(const Buffer& b) {
  if (!b.p) return;
  const size_t room = room_of(b.bytes);
  char* base = b.p + b.bytes - room;
  ASAN_UNPOISON_MEMORY_REGION(base, room);
  for (char* p = base; p < b.p; p++)
    if (*p != char(0xff)) {
      fprintf(stderr, "written %td bytes before a buffer, by kernel %s or one before it\n", b.p - p, running.c_str());
      _Exit(3);
    }
  munmap(base, room + page);
}
static void on_fault(int signal) {
  fprintf(stderr, "a fault in kernel %s\n", running.c_str());
  _Exit(128 + signal);
}
static double seconds() { timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
/** Tile registers, where there are any: runtime/native/program.cpp. */
static void ask_for_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  syscall(SYS_arch_prctl, 0x1023, 18);
#endif
}
int main(int argc, char** argv) {
  ask_for_tiles();
  for (int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) signal(fault, on_fault);
  void* lib = dlopen(argv[1], RTLD_NOW);
  if (!lib) { puts(dlerror()); return 2; }
  const int threads = atoi(argv[2]), repeat = argc > 3 ? atoi(argv[3]) : 0;
  std::vector<Buffer> buffers;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line); std::string what; in >> what;
    if (what == "buffer") {
      size_t bytes; std::string file; in >> bytes >> file;
      buffers.push_back(make(bytes));
      if (file != "-") { std::ifstream f(file, std::ios::binary); f.read(buffers.back().p, bytes); }
    } else if (what == "copy") {
      size_t from, to; in >> from >> to; memcpy(buffers[to].p, buffers[from].p, buffers[to].bytes);
    } else if (what == "end") {
      for (Buffer& b : buffers) release(b), b = {};
    } else if (what == "dump") {
      size_t b; std::string file; in >> b >> file; std::ofstream(file, std::ios::binary).write(buffers[b].p, buffers[b].bytes);
    } else if (what == "launch") {
      long tasks, scratch; in >> running >> tasks >> scratch;
      Kernel k = (Kernel)dlsym(lib, running.c_str());
      if (!k) { printf("no kernel %s\n", running.c_str()); return 2; }
      std::vector<void*> args;
      for (size_t a; in >> a;) {
        size_t at = 0; if (in.peek() == '+') in.get(), in >> at;
        args.push_back(buffers[a].p + at);
      }
      std::atomic<long> next{0};
      const long chunk = threads == 1 ? tasks : 3;  // tasks of one call may share what they pack
      auto work = [&] {
        const Buffer s = make_scratch(scratch);
        for (long t; (t = next.fetch_add(chunk)) < tasks;) k(args.data(), t, std::min(t + chunk, tasks), (float*)s.p);
        release(s);
      };
      double best = 1e9;
      for (int r = 0; r <= repeat; r++) {
        next = 0;
        const double start = seconds();
        std::vector<std::thread> pool; for (int i = 1; i < threads; i++) pool.emplace_back(work);
        work(); for (auto& t : pool) t.join();
        best = std::min(best, (seconds() - start) / threads);
      }
      if (repeat) printf("%.3f %s\n", best * 1e3, running.c_str());
    }
  }
}
