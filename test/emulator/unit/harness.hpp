// Tests of the emulator: kernels and the host's part side by side in one file, compiled with device.hpp before it, and instrumented.
#pragma once
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../runtime/config.hpp"
#include "../runtime/launch.hpp"
#include "../runtime/memory.hpp"
#include "../runtime/report.hpp"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;
#define DEV __device__ __forceinline__

namespace unit {
typedef std::vector<std::string> Findings;

struct Test {
  std::string name;
  std::function<void()> run;
  /// Chooses by itself how kernels run.
  bool once;
};
std::vector<Test>& tests();
struct Registration {
  Registration(const char* name, std::function<void()> run, bool once) { tests().push_back({name, std::move(run), once}); }
};
#define TEST(id, name) EMU_TEST(id, name, false)
#define TEST_ONCE(id, name) EMU_TEST(id, name, true)
#define EMU_TEST(id, name, once)                                          \
  static void id();                                                       \
  static const ::unit::Registration id##_registration(name, id, once);    \
  static void id()
/// The test has failed; it goes on.
void wrong(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// In which kernels run: each catches other bugs.
constexpr const char* ways[] = {"check", "check lazy order=random seed=1", "check lazy order=random seed=2", "check order=reverse"};

/// Device memory with what the host gave it, or nothing.
template <class T> struct Device {
  T* p;
  size_t n;
  explicit Device(size_t n) : p((T*)emu::device_alloc(n * sizeof(T))), n(n) {}
  explicit Device(const std::vector<T>& v) : Device(v.size()) { *this = v; }
  Device(const Device&) = delete;
  ~Device() { emu::device_free(p); }
  Device& operator=(const std::vector<T>& v) {
    memcpy(p, v.data(), n * sizeof(T));
    emu::host_wrote(p, n * sizeof(T));
    return *this;
  }
  std::vector<T> get() const { return {p, p + n}; }
};

/// Gives what the emulator found.
template <class... A> Findings try_launch(const emu::Kernel& k, dim3 grid, dim3 block, size_t dynamic, A... args) {
  void* pointers[] = {(void*)&args..., nullptr};
  return emu::launch(k, grid, block, dynamic, pointers);
}
/// Expects nothing to be found.
template <class... A> void launch(const emu::Kernel& k, dim3 grid, dim3 block, size_t dynamic, A... args) {
  for (const std::string& f : try_launch(k, grid, block, dynamic, args...)) wrong("%s", f.c_str());
}
template <class T> void same(const char* what, const std::vector<T>& got, const std::vector<T>& want) {
  for (size_t i = 0; i < want.size(); i++)
    if (memcmp(&got[i], &want[i], sizeof(T))) return wrong("%s: element %zu is %g, not %g", what, i, double(got[i]), double(want[i]));
}
/// NaN is far from everything.
inline void close(const char* what, const std::vector<float>& got, const std::vector<double>& want, const std::vector<double>& scale, double tolerance) {
  for (size_t i = 0; i < want.size(); i++)
    if (!(std::fabs(double(got[i]) - want[i]) <= tolerance * scale[i])) return wrong("%s: element %zu is %g, not %g", what, i, double(got[i]), want[i]);
}
inline void contains(const char* what, const Findings& all, const char* text) {
  for (const std::string& f : all)
    if (f.find(text) != std::string::npos) return;
  wrong("%s: nothing is said of \"%s\" but %s", what, text, all.empty() ? "nothing" : all[0].c_str());
}
inline void found(const char* what, const Findings& all) {
  if (all.empty()) wrong("%s: nothing is found", what);
}

inline std::mt19937& generator() {
  static std::mt19937 g(12345);
  return g;
}
/// In [-1, 1).
inline float random() { return float(generator()() >> 8) / float(1 << 23) - 1; }
/// Numbers that bf16, f16 and tf32 hold exactly.
inline float random_short() { return float(int(generator()() % 255) - 127) / 128; }
inline u16 bf16_of(float exact) {
  u32 u;
  memcpy(&u, &exact, 4);
  return u16(u >> 16);
}
/// Of multiples of 1/128 below 1.
inline u16 f16_of(float exact) {
  if (exact == 0) return 0;
  int exponent;
  const float m = std::frexp(std::fabs(exact), &exponent);  // m in [0.5, 1)
  return u16((exact < 0 ? 0x8000 : 0) | (exponent + 14) << 10 | (int(m * 2048) & 1023));
}
/// sum over k of a[i, k] b[k, j], and the sum of the magnitudes.
struct Product {
  std::vector<double> sum, scale;
  template <class A, class B> Product(int m, int n, int k, A a, B b) : sum(size_t(m * n)), scale(size_t(m * n)) {
    for (int i = 0; i < m; i++)
      for (int j = 0; j < n; j++)
        for (int x = 0; x < k; x++) {
          const double p = double(a(i, x)) * double(b(x, j));
          sum[size_t(i * n + j)] += p;
          scale[size_t(i * n + j)] += std::fabs(p) + 1e-30;
        }
  }
};
}  // namespace unit

namespace unit {
/// `run(bug)` gives what was found, and whether the results are right. Bug 0 is none: it must be clean in every way; each other bug must be
/// noticed in one.
struct Outcome {
  Findings findings;
  bool right;
};
void planted(const std::vector<const char*>& bugs, const std::function<Outcome(int bug)>& run);
/// Whether all are within the tolerance; NaN is not.
inline bool near(const std::vector<float>& got, const Product& want, double tolerance) {
  for (size_t i = 0; i < want.sum.size(); i++)
    if (!(std::fabs(double(got[i]) - want.sum[i]) <= tolerance * want.scale[i])) return false;
  return true;
}
}  // namespace unit
