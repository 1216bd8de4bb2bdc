// Modules and launches. A cubin is a shared library for the host (nvrtc.cpp).
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "../ptx/tensor_map.hpp"
#include "../runtime/config.hpp"
#include "../runtime/launch.hpp"
#include "stream.hpp"

namespace emu::driver {

struct Function {
  const Kernel* kernel;
  /// The most dynamic shared memory that launches may use, in bytes.
  unsigned most_shared = 48 << 10;
};
struct Module {
  void* library;
  int file;
  std::map<std::string, Function> functions;
};
/// The size of an ELF file in memory, from its last table or section; 0 if it is none.
static size_t elf_bytes(const char* image) {
  ElfW(Ehdr) head;
  memcpy(&head, image, sizeof head);
  if (memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_type != ET_DYN) return 0;
  size_t end = head.e_shoff + size_t(head.e_shnum) * head.e_shentsize;
  for (int i = 0; i < head.e_shnum; i++) {
    ElfW(Shdr) section;
    memcpy(&section, image + head.e_shoff + size_t(i) * head.e_shentsize, sizeof section);
    if (section.sh_type != SHT_NOBITS) end = std::max(end, size_t(section.sh_offset + section.sh_size));
  }
  return end;
}
/// A path to an open file that no earlier library had: file descriptors are reused, and dlopen returns a known library for a known path.
static std::string path_of(int file) {
  static std::map<int, int> times;
  std::string path = "/proc/self/fd/";
  for (int i = times[file]++; i > 0; i--) path += "./";
  return path + std::to_string(file);
}
static Result load(Module*& made, const void* image) {
  const size_t bytes = elf_bytes((const char*)image);
  if (bytes == 0) return invalid_image;
  const int file = memfd_create("kernels", MFD_CLOEXEC);
  if (file < 0 || write(file, image, bytes) != ssize_t(bytes)) return out_of_memory;
  void* library = dlopen(path_of(file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "emulator: %s\n", dlerror());
    close(file);
    return invalid_image;
  }
  made = new Module{library, file, {}};
  return success;
}

/// A copy of a launch's parameters: the caller may change them when the call returns.
struct Parameters {
  /// The alignment of a tensor map.
  struct alignas(64) Line {
    char bytes[64];
  };
  std::vector<std::vector<Line>> values;
  Parameters(const Kernel& k, void** from) {
    for (int i = 0; i < k.count; i++) memcpy(values.emplace_back((k.sizes[i] + 63) / 64).data(), from[i], k.sizes[i]);
  }
};
/// The layout of CUlaunchConfig.
struct Configuration {
  unsigned grid[3], block[3], shared;
  void* stream;
  struct Attribute {
    int id, padding;
    char value[64];
  }* attributes;
  unsigned count;
};
static void run(const Kernel& k, dim3 grid, dim3 block, unsigned shared, Parameters& p, bool cooperative) {
  std::vector<void*> pointers;
  for (auto& v : p.values) pointers.push_back(v.data());
  pointers.push_back(nullptr);
  std::vector<std::string> findings;
  try {
    findings = launch(k, grid, block, shared, pointers.data(), cooperative);
  } catch (const Failure& failure) {
    findings = {failure.what()};
  }
  for (const std::string& f : findings) fprintf(stderr, "emulator: %s\n", f.c_str());
  if (!findings.empty()) sticky = launch_failed;
}
static Result start(const Function& f, const Configuration& c, void** params, bool cooperative) {
  const dim3 grid(c.grid[0], c.grid[1], c.grid[2]), block(c.block[0], c.block[1], c.block[2]);
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads == 0 || threads > 1024 || !grid.x || !grid.y || !grid.z || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535 || c.shared > f.most_shared) return invalid_value;
  const std::string name = f.kernel->name, never = "_endless";
  if (name.size() > never.size() && name.compare(name.size() - never.size(), never.size(), never) == 0) return stream_of(c.stream).endless = true, success;
  return enqueue(stream_of(c.stream), [=, k = f.kernel, p = Parameters(*f.kernel, params)]() mutable { run(*k, grid, block, c.shared, p, cooperative); });
}
}  // namespace emu::driver
using namespace emu::driver;

API cuModuleLoadData(Module** made, const void* image) {
  return in_context([&] { return load(*made, image); });
}
API cuModuleLoadDataEx(Module** made, const void* image, unsigned, int*, void**) { return cuModuleLoadData(made, image); }
API cuModuleUnload(Module* m) {
  return in_context([&] {
    finish_all();
    dlclose(m->library);
    close(m->file);
    delete m;
    return success;
  });
}
API cuModuleGetFunction(Function** made, Module* m, const char* name) {
  return in_context([&] {
    auto* kernel = (const emu::Kernel*)dlsym(m->library, ("emu_kernel_" + std::string(name)).c_str());
    if (!kernel) {
      if (dlsym(m->library, name)) fprintf(stderr, "emulator: no KERNEL_END(%s) follows the kernel\n", name);
      return not_found;
    }
    return *made = &m->functions.emplace(name, Function{kernel}).first->second, success;
  });
}
API cuFuncSetAttribute(Function* f, int attribute, int value) {
  return in_context([&] {
    if (attribute != 8) return success;  // a preference
    if (value < 0 || size_t(value) > emu::config.shared_limit) return invalid_value;
    return f->most_shared = unsigned(std::max(value, 48 << 10)), success;
  });
}
/// 0: the most threads per block; 8: dynamic shared memory. Registers and spills are unknown.
API cuFuncGetAttribute(int* value, int attribute, Function* f) {
  return in_context([&] { return *value = attribute == 0 ? 1024 : attribute == 8 ? int(f->most_shared) : 0, success; });
}
API cuFuncSetCacheConfig(Function*, int) { return success; }
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function*, int threads, size_t shared) {
  return in_context([&] {
    if (threads < 1) return invalid_value;
    const size_t by_threads = 2048 / size_t((threads + 31) / 32 * 32), by_shared = (emu::config.shared_limit + 1024) / (shared + 1024);
    return *blocks = int(std::min({by_threads, by_shared, size_t(32)})), success;
  });
}
API cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** params, void** extra) {
  return in_context([&] { return extra ? not_supported : start(*f, {{gx, gy, gz}, {bx, by, bz}, shared, stream, nullptr, 0}, params, false); });
}
API cuLaunchCooperativeKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** params) {
  return in_context([&] { return start(*f, {{gx, gy, gz}, {bx, by, bz}, shared, stream, nullptr, 0}, params, true); });
}
/// Attributes: 2 is cooperative; 4, clusters, is not supported.
API cuLaunchKernelEx(const Configuration* c, Function* f, void** params, void** extra) {
  return in_context([&] {
    bool cooperative = false;
    for (unsigned i = 0; i < c->count; i++) {
      int value[3];
      memcpy(value, c->attributes[i].value, sizeof value);
      if (c->attributes[i].id == 2) cooperative = value[0] != 0;
      if (c->attributes[i].id == 4 && (value[0] > 1 || value[1] > 1 || value[2] > 1)) return not_supported;
    }
    return extra ? not_supported : start(*f, *c, params, cooperative);
  });
}
/// Element sizes in bytes, by CUtensorMapDataType.
API cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* base, const uint64_t* dims, const uint64_t* strides, const unsigned* box, const unsigned* steps, int interleave, int swizzle, int, int fill) {
  return guarded([&] {
    static const unsigned bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
    static const emu::Swizzle swizzles[] = {emu::Swizzle::None, emu::Swizzle::B32, emu::Swizzle::B64, emu::Swizzle::B128};
    if (type < 0 || type > 12 || swizzle < 0 || swizzle > 3 || interleave != 0 || fill != 0) return not_supported;
    for (unsigned d = 0; d < rank; d++)
      if (steps[d] != 1) return not_supported;
    emu::encode_tensor_map(map, bytes[type], rank, base, dims, strides, box, swizzles[swizzle]);
    return success;
  });
}
