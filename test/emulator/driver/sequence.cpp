// sequence < plan: runs launches through the driver, each buffer a separate allocation, so that overruns are found. Lines:
// "module FILE"; then for each sequence "sequence NAME", which is printed, "buffer BYTES FILE|-" (nobody wrote what FILE lacks), "copy FROM TO",
// "launch NAME GRID THREADS SHARED BUFFER[+BYTES]... [map ...]", "dump BUFFER FILE". What goes wrong is printed, and the rest of the sequence left out.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
typedef unsigned long long CUdeviceptr;
int cuInit(unsigned);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuFuncSetAttribute(void*, int, int);
int cuMemAlloc_v2(CUdeviceptr*, size_t);
int cuMemcpyHtoD_v2(CUdeviceptr, const void*, size_t);
int cuMemcpyDtoH_v2(void*, CUdeviceptr, size_t);
int cuMemcpyDtoD_v2(CUdeviceptr, CUdeviceptr, size_t);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cuMemFree_v2(CUdeviceptr);
int cuTensorMapEncodeTiled(void*, int, unsigned, void*, const unsigned long long*, const unsigned long long*, const unsigned*, const unsigned*, int, int, int, int);
int cuDevicePrimaryCtxRetain(void**, int);
int cuCtxSetCurrent(void*);
int cuCtxSynchronize();
int cuDevicePrimaryCtxReset_v2(int);
}
static void right(int result, const std::string& what) {
  if (result != 0) throw std::runtime_error(what + ": error " + std::to_string(result));
}
static std::vector<char> contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
struct Buffer {
  CUdeviceptr at = 0;
  size_t bytes = 0;
};
class Runner {
 public:
  void line(std::istringstream& in) {
    std::string what;
    in >> what;
    if (what == "module") load(in);
    else if (what == "sequence") begin(in);
    else if (what == "buffer") allocate(in);
    else if (what == "copy") copy(in);
    else if (what == "launch") launch(in);
    else if (what == "dump") dump(in);
  }

 private:
  void begin(std::istringstream& in) {
    for (Buffer& b : buffers_) right(cuMemFree_v2(b.at), "cuMemFree");
    buffers_.clear();
    std::string name;
    std::getline(in, name);
    printf("sequence%s\n", name.c_str());
  }
  void load(std::istringstream& in) {
    std::string path;
    in >> path;
    void* module;
    right(cuModuleLoadData(&module, contents(path).data()), path);
    modules_.push_back(module);
  }
  void allocate(std::istringstream& in) {
    Buffer b;
    std::string file;
    in >> b.bytes >> file;
    if (b.bytes > 0) right(cuMemAlloc_v2(&b.at, b.bytes), "cuMemAlloc");
    const std::vector<char> given = file == "-" ? std::vector<char>() : contents(file);
    if (!given.empty()) right(cuMemcpyHtoD_v2(b.at, given.data(), given.size()), "cuMemcpyHtoD");
    buffers_.push_back(b);
  }
  void copy(std::istringstream& in) {
    size_t from, to;
    in >> from >> to;
    if (buffers_[to].bytes > 0) right(cuMemcpyDtoD_v2(buffers_[to].at, buffers_[from].at, buffers_[to].bytes), "cuMemcpyDtoD");
  }
  void launch(std::istringstream& in) {
    std::string name;
    unsigned grid, threads, shared;
    in >> name >> grid >> threads >> shared;
    void* kernel = nullptr;
    for (void* module : modules_)
      if (!kernel && cuModuleGetFunction(&kernel, module, name.c_str()) != 0) kernel = nullptr;
    right(kernel ? 0 : 500, name);
    std::vector<void*> args;
    std::list<Map> maps;
    std::list<CUdeviceptr> places;
    for (std::string word; in >> word;) args.push_back(word == "map" ? (void*)&maps.emplace_back(map(in)) : &places.emplace_back(place(word)));
    if (shared > 48 << 10) right(cuFuncSetAttribute(kernel, 8, int(shared)), name);
    right(cuLaunchKernel(kernel, grid, 1, 1, threads, 1, 1, shared, nullptr, args.data(), nullptr), name);
    right(cuCtxSynchronize(), name);
  }
  struct alignas(64) Map { char opaque[128]; };
  /// "BUFFER", or "BUFFER+BYTES".
  CUdeviceptr place(const std::string& word) {
    size_t end;
    const CUdeviceptr from = buffers_.at(std::stoul(word, &end)).at;
    return end < word.size() ? from + std::stoul(word.substr(end + 1)) : from;
  }
  /// Of bf16: "map BUFFER[+BYTES] RANK DIM... STRIDE... BOX...", the innermost axis first.
  Map map(std::istringstream& in) {
    std::string at;
    size_t rank;
    in >> at >> rank;
    unsigned long long dims[5], strides[5];
    unsigned box[5], steps[5] = {1, 1, 1, 1, 1};
    for (size_t d = 0; d < rank; d++) in >> dims[d];
    for (size_t d = 1; d < rank; d++) in >> strides[d - 1];
    for (size_t d = 0; d < rank; d++) in >> box[d];
    Map made;
    right(cuTensorMapEncodeTiled(&made, 9, unsigned(rank), (void*)place(at), dims, strides, box, steps, 0, 3, 0, 0), "cuTensorMapEncodeTiled");
    return made;
  }
  void dump(std::istringstream& in) {
    size_t b;
    std::string file;
    in >> b >> file;
    std::vector<char> all(buffers_[b].bytes);
    if (!all.empty()) right(cuMemcpyDtoH_v2(all.data(), buffers_[b].at, all.size()), "cuMemcpyDtoH");
    std::ofstream(file, std::ios::binary).write(all.data(), std::streamsize(all.size()));
  }
  std::vector<void*> modules_;
  std::vector<Buffer> buffers_;
};
int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  dup2(1, 2);  // findings of the emulator appear in order with the output
  right(cuInit(0), "cuInit");
  void* context;
  right(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
  right(cuCtxSetCurrent(context), "cuCtxSetCurrent");
  Runner runner;
  bool left_out = false;
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream in(text);
    if (text.rfind("sequence", 0) == 0) left_out = false;
    if (left_out) continue;
    try {
      runner.line(in);
    } catch (const std::exception& error) {
      printf("%s\n", error.what());
      cuDevicePrimaryCtxReset_v2(0);
      left_out = true;
    }
  }
}
