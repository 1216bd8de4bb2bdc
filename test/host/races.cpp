// races LIB THREADS ARENA < steps: runs the launches of a plan in its one arena, all threads their share of each, whoever else would have taken it;
// built with ThreadSanitizer, it ends with status 66 where tasks of a launch meet. A line: NAME TASKS SCRATCH OFFSET...
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>
#include <dlfcn.h>
typedef void (*Kernel)(void* const*, long, long, float*);
static char* aligned(size_t bytes) { return (char*)aligned_alloc(64, (bytes + 127) / 64 * 64); }
int main(int, char** argv) {
  void* lib = dlopen(argv[1], RTLD_NOW);
  if (!lib) { puts(dlerror()); return 2; }
  const long threads = atoi(argv[2]);
  std::ifstream file(argv[3], std::ios::binary);
  const std::string held((std::istreambuf_iterator<char>(file)), {});
  char* arena = aligned(held.size());
  held.copy(arena, held.size());
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::string name; long tasks; size_t scratch;
    in >> name >> tasks >> scratch;
    const Kernel kernel = (Kernel)dlsym(lib, name.c_str());
    if (!kernel) { printf("no kernel %s\n", name.c_str()); return 2; }
    std::vector<void*> args; for (size_t at; in >> at;) args.push_back(arena + at);
    std::vector<std::thread> pool;
    for (long i = 0; i < threads; i++)
      pool.emplace_back([&, i] {
        char* own = aligned(4 * scratch);
        kernel(args.data(), tasks * i / threads, tasks * (i + 1) / threads, (float*)own);
        free(own);
      });
    for (std::thread& t : pool) t.join();
  }
}
