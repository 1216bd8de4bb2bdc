// Libraries that are loaded at run time, so that building needs none of them. They stay loaded.
#pragma once
#include <dlfcn.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace moec {

/// An error whose message is `CODE: text`; runtime/cuda/driver.ts has a remedy for each code.
class Failure : public std::runtime_error {
 public:
  Failure(const std::string& code, const std::string& text) : runtime_error(code + ": " + text) {}
};

class SharedLibrary {
 public:
  /// A path, or a name for the loader. Throws Failure NO_`name`.
  SharedLibrary(std::string name, std::string path, int scope = RTLD_LOCAL)
      : name_(std::move(name)), path_(std::move(path)), handle_(dlopen(path_.c_str(), RTLD_NOW | scope)) {
    if (handle_ == nullptr) throw Failure("NO_" + name_, dlerror());
  }
  bool has(const char* symbol) const { return dlsym(handle_, symbol) != nullptr; }
  /// Throws Failure OLD_`name` if there is none.
  void* symbol(const char* symbol) const {
    void* found = dlsym(handle_, symbol);
    if (found == nullptr) throw Failure("OLD_" + name_, path_ + " has no " + symbol);
    return found;
  }
  template <class F>
  F function(const char* symbol) const {
    return reinterpret_cast<F>(this->symbol(symbol));
  }

 private:
  std::string name_, path_;
  void* handle_;
};

}  // namespace moec
