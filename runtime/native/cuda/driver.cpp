#include "driver.hpp"

#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>

namespace moec::cuda {

const Driver& Driver::load(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<Driver>> loaded;
  std::lock_guard<std::mutex> lock(mutex);
  auto& driver = loaded[path];
  if (!driver) driver.reset(new Driver(path));
  return *driver;
}

Driver::Driver(const std::string& wanted) : path(wanted) {
  const SharedLibrary library("DRIVER", wanted);
#define F(name, ...) name = library.function<Result (*)(__VA_ARGS__)>(#name);
  MOEC_CUDA_FUNCTIONS(F)
#undef F
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(cuInit), &info) != 0) path = info.dli_fname;
  check(cuInit(0), "cuInit");
  check(cuDriverGetVersion(&version), "cuDriverGetVersion");
}

static std::string digits(const char (&bytes)[16]) {
  std::string text;
  for (const char byte : bytes)
    for (const int shift : {4, 0}) text += "0123456789abcdef"[byte >> shift & 15];
  return text;
}
std::vector<Device> Driver::devices() const {
  int count = 0;
  check(cuDeviceGetCount(&count), "cuDeviceGetCount");
  std::vector<Device> all;
  for (int i = 0; i < count; i++) {
    int device = 0;
    char name[256] = "", uuid[16] = "";
    size_t bytes = 0;
    check(cuDeviceGet(&device, i), "cuDeviceGet");
    check(cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName");
    check(cuDeviceGetUuid_v2(uuid, device), "cuDeviceGetUuid");
    check(cuDeviceTotalMem_v2(&bytes, device), "cuDeviceTotalMem");
    all.push_back({name, digits(uuid), attribute(major, device), attribute(minor, device), attribute(multiprocessors, device), bytes});
  }
  return all;
}
int Driver::attribute(Attribute which, int device) const {
  int value = 0;
  check(cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}
void Driver::check(Result result, const std::string& what) const {
  if (result == 0) return;
  const char *name = nullptr, *text = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &text);
  throw Failure(name ? name : "CUDA_ERROR_UNKNOWN", std::string(text ? text : "error " + std::to_string(result)) + " (" + what + ")");
}

}  // namespace moec::cuda
