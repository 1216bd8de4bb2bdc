// Measures runtime/device/math.hpp against the C library in doubles: one line a function, `name ulps differing`: the largest distance from the
// rounded exact result, in floats, and in how many samples the vector and the scalar differ by a bit.
#include "vector.hpp"
#include "memory.hpp"
#include "math.hpp"
#include "operands.hpp"
#include "fp4.hpp"
#include "tile.hpp"
#include "staging.hpp"
#include "words.hpp"
#include "split.hpp"
#include "fold.hpp"
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

/** Numbers of floats in order: neighbours differ by 1, both zeros are 0. */
static long order(f32 x) { long b = bits(x) & 0x7fffffff; return bits(x) < 0 ? -b : b; }
static long distance(f32 got, f64 exact) {
  f32 want = (f32)exact;
  if (want != want || got != got) return want != want && got != got ? 0 : 1L << 40;
  return labs(order(got) - order(want));
}
/** Every float that a step of `stride` reaches, and all that are special or near a boundary of some method. */
static std::vector<f32> samples(u32 stride) {
  std::vector<f32> s;
  for (unsigned long b = 0; b < 1ul << 32; b += stride) s.push_back(from_bits((i32)(u32)b));
  const f32 marks[] = {0, 1.17549435e-38f, 1e-45f, 0.25f, 0.5f, 0.6666667f, 0.92f, 1, 1.3333334f, 1.5f, 2, 2.5f, 3, 3.95f, 10, 87, 88.7228394f, 103.97f, 127, 128, 150,
                       1e5f, 1048576, 8388608, 16777216, 2147483648.f, 4294967296.f, 3.40282347e38f, INF, NOT_A_NUMBER, 1.57079637f, 3.14159274f, /* nearest to a quarter turn: */ 16367173 * 0x1p72f, 12438944 * 0x1p103f, 10741887 * 0x1p11f};
  for (f32 m : marks) for (int d = -40; d <= 40; d++) for (int sign = 0; sign < 2; sign++) s.push_back(from_bits((i32)(((u32)bits(m) + d) ^ (u32)sign << 31)));
  for (int i = -4000; i <= 4000; i++) { s.push_back(i / 40.0f); s.push_back((f32)(i * 1.5707963267948966)); s.push_back((f32)(i * 15.70796326794897)); }
  while (s.size() % LANES) s.push_back(0);
  return s;
}
struct Worst {
  long ulps = 0; int differing = 0; f32 x = 0, y = 0;
  void see(f32 a, f32 b, f32 vector, f32 scalar, f64 exact) {
    if (memcmp(&vector, &scalar, 4) && (vector == vector || scalar == scalar)) differing++;
    long d = distance(vector, exact);
    if (d > ulps) { ulps = d; x = a; y = b; }
  }
  void print(const char* name) const { printf("%s %ld %d %a %a\n", name, ulps, differing, x, y); }
};
template <class F, class E> static void unary(const char* name, const std::vector<f32>& s, F f, E exact) {
  Worst w; f32 got[LANES];
  for (size_t i = 0; i < s.size(); i += LANES) {
    st(vf{}, got, f(ld(vf{}, &s[i])));
    for (int l = 0; l < LANES; l++) w.see(s[i + l], 0, got[l], f(s[i + l]), exact((f64)s[i + l]));
  }
  w.print(name);
}
template <class F, class E> static void binary(const char* name, const std::vector<f32>& a, const std::vector<f32>& b, F f, E exact) {
  Worst w; f32 got[LANES];
  for (size_t i = 0; i < a.size(); i += LANES) for (f32 y : b) {
    st(vf{}, got, f(ld(vf{}, &a[i]), splat(y)));
    for (int l = 0; l < LANES; l++) w.see(a[i + l], y, got[l], f(a[i + l], y), exact((f64)a[i + l], (f64)y));
  }
  w.print(name);
}
static f64 nan_or(f64 a, f64 b, f64 r) { return a != a || b != b ? NAN : r; }
static f64 floor_mod(f64 a, f64 b) {
  if (b == 0) return 0;
  f64 r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static f64 power(f64 a, f64 b) { return b != b || (std::fabs(a) == 1 && std::isinf(b)) ? NAN : b == 0 ? 1 : std::pow(a, b); }

static void floats() {
  auto s = samples(12289);
#define UNARY(f, exact) unary(#f, s, [](auto x) { return f##_(x); }, [](f64 x) -> f64 { return exact; })
  UNARY(exp, std::exp(x)); UNARY(expm1, std::expm1(x)); UNARY(log, std::log(x)); UNARY(log1p, std::log1p(x)); UNARY(sqrt, std::sqrt(x)); UNARY(rsqrt, 1 / std::sqrt(x));
  UNARY(sin, std::sin(x)); UNARY(cos, std::cos(x)); UNARY(tanh, std::tanh(x)); UNARY(erf, std::erf(x));
  UNARY(tanh_slope, x != x ? x : std::pow(std::cosh(std::fmin(std::fabs(x), 30)), -2));
  UNARY(sigmoid, 1 / (1 + std::exp(-x))); UNARY(abs, std::fabs(x)); UNARY(sign, x > 0 ? 1 : x < 0 ? -1 : x);
  UNARY(floor, std::floor(x)); UNARY(ceil, std::ceil(x)); UNARY(round, std::nearbyint(x));
  auto a = samples(16777213 / 8), b = samples(33554393);
  auto few = std::vector<f32>(b.begin(), b.begin() + 128);
  for (f32 y : {0.f, -0.f, 1.f, -1.f, 2.f, 3.f, -3.f, 0.5f, -0.5f, 1.0f / 3, 2.2f, 10.f, -7.25f, 127.f, 0.01f, 1e-20f, 16777217.f, 33554433.f, 1e10f, INF, -INF, NOT_A_NUMBER}) few.push_back(y);
#define BINARY(f, exact) binary(#f, a, few, [](auto x, auto y) { return f##_(x, y); }, [](f64 x, f64 y) -> f64 { return exact; })
  BINARY(pow, power(x, y)); BINARY(rem, floor_mod(x, y)); BINARY(max, nan_or(x, y, x > y ? x : y)); BINARY(min, nan_or(x, y, x < y ? x : y));
}

/** Whole numbers, conversions, memory: vector against scalar and against plain arithmetic in 64 bits. Prints the number of errors. */
static void wholes() {
  std::vector<i32> s = {0, 1, -1, 2, -2, 3, -3, 7, -7, 2147483647, -2147483647, -2147483647 - 1, 65536, -65536, 1000003, -1000003};
  for (u32 x = 1; s.size() < 512; x = x * 1664525 + 1013904223) s.push_back((i32)x >> (x % 29));
  int idiv = 0, rem = 0, order = 0;
  for (i32 b : s) for (size_t i = 0; i < s.size(); i += LANES) {
    vi a = ld(vf{}, &s[i]), q = idiv_(a, b), r = rem_(a, splat(b)), top = max_(a, b), low = min_(a, b);
    for (int l = 0; l < LANES; l++) {
      long x = a[l], floor = b == 0 ? 0 : x / b - (x % b != 0 && (x < 0) != (b < 0));
      idiv += q[l] != (i32)floor || idiv_((i32)x, b) != (i32)floor;
      rem += r[l] != (b == 0 ? 0 : (i32)(x - floor * b)) || rem_((i32)x, b) != r[l];
      order += top[l] != (x > b ? x : b) || low[l] != (x < b ? x : b) || abs_(a)[l] != abs_((i32)x) || sign_(a)[l] != sign_((i32)x);
    }
  }
  printf("idiv %d 0\nirem %d 0\nintegers %d 0\n", idiv, rem, order);
}
static void conversions() {
  auto s = samples(65521);
  int saturate = 0, half = 0;
  for (size_t i = 0; i < s.size(); i += LANES) {
    vi k = to_i32(ld(vf{}, &s[i]));
    bf16 stored[LANES]; st(vf{}, stored, ld(vf{}, &s[i]));
    vf back = ld(vf{}, stored);
    for (int l = 0; l < LANES; l++) {
      f32 x = s[i + l], y = from_bf16(to_bf16(x));
      f64 limited = x != x ? 0 : x >= 2147483647. ? 2147483647. : x <= -2147483648. ? -2147483648. : (f64)x;
      saturate += k[l] != (i32)limited || to_i32(x) != (i32)limited;
      u32 low = (u32)bits(x) & 0xffff, cut = (u32)bits(x) - low;  // between two neighbours: to the nearer, to the even one at half
      bool up = low > 0x8000 || (low == 0x8000 && (cut >> 16 & 1));
      half += bits(y) != bits((f32)back[l]) || (x == x ? (u32)bits(y) != cut + (up ? 0x10000 : 0) : y == y);
    }
  }
  printf("to_i32 %d 0\nbf16 %d 0\n", saturate, half);
}
static void memory() {
  int errors = 0;
  f32 x[LANES + 1], y[LANES + 1]; u8 flags[LANES]; i32 n[LANES];
  for (int l = 0; l <= LANES; l++) x[l] = l % 3 ? l + 0.25f : -l;
  vf v = ld(vf{}, x + 1); auto mask = v > 0.0f;
  st(vf{}, y + 1, v); st(vf{}, flags, mask); st(vf{}, n, iota(vf{}, 5));
  f32 sum = 0; int yes = 0;
  for (int l = 0; l < LANES; l++) {
    errors += y[l + 1] != x[l + 1] || flags[l] != (x[l + 1] > 0) || n[l] != l + 5 || ld(vf{}, flags)[l] != -(x[l + 1] > 0) || mask_to_int(mask)[l] != flags[l];
    sum += x[l + 1]; yes += flags[l];
  }
  errors += sum_(v) != sum || count(mask) != yes || !any(mask) || any(v > 1e9f) || max_of(v) != fmaxf(x[LANES], x[LANES - 1]);
  v[LANES - 2] = NOT_A_NUMBER;
  errors += max_of(v) == max_of(v) || min_of(v) == min_of(v);
  alignas(64) f32 far[LANES]; st_nontemporal(vf{}, far, ld(vf{}, x)); fence();
  errors += memcmp(far, x, sizeof far) != 0;
  // Known answers of Random123's kat_vectors for threefry2x32-20.
  errors += (u32)threefry(0, 0, 0, 0).x0 != 0x6b200159u || (u32)threefry(0x13198a2e, 0x03707344, 0x243f6a88, (i32)0x85a308d3).x0 != 0xc4923a9cu;
  vi bitsOf = threefry(9, -4, iota(vf{}, 100), splat(3)).x0; vf units = unit_(bitsOf);
  for (int l = 0; l < LANES; l++) errors += threefry(9, -4, 100 + l, 3).x0 != bitsOf[l] || unit_((i32)bitsOf[l]) != units[l] || units[l] < 0 || units[l] >= 1;
  printf("memory %d 0\n", errors);
}
/** So many loops over a row of n ask for each line of the next one, and for nothing else. The last visits each element once, in two orders. */
template <ix n> static int asked_of_rows() {
  constexpr ix line = 16;
  int errors = 0;
  for (ix loops = 1; loops <= 9; loops++) for (ix row = 0; row < 2; row++) {
    int times[n / line] = {}, visits[n] = {};
    const auto note = [&](ix j, Prefetch a) {
      if (a.bytes == 0) return;
      const ix at = j + a.bytes / 4 - n;
      if (at < 0 || at >= n) errors++; else times[at / line] += a.times;
    };
    for (ix loop = 0; loop + 1 < loops; loop++) for (ix j = 0; j < n; j += LANES) note(j, prefetch_share(n, j, loop, loops));
    par_back_and_forth<LANES>(n, row, loops - 1, loops, [&](auto, ix j, Prefetch ahead) { note(j, ahead); visits[j]++; });
    for (int t : times) errors += t == 0;
    for (ix j = 0; j < n; j++) errors += visits[j] != (j % LANES == 0);
  }
  return errors;
}
/** A row whose length is no multiple of blocks or vectors, to its last element. */
static int tails() {
  constexpr ix n = LONG_ROW + 515;
  int errors = 0;
  for (ix row = 0; row < 2; row++) {
    int visits[n + LANES] = {};
    f32 ones[n + LANES] = {};
    par_back_and_forth<LANES>(n, row, 0, 1, [&](auto v, ix j, Prefetch) { visits[j]++; st(v, ones + j, broadcast(v, 1.0f)); });
    for (ix j = 0; j < n + LANES; j++) errors += visits[j] != (j < n && j % LANES == 0) || ones[j] != (f32)(j < n);
  }
  return errors;
}
/** What is folded beside a store has the bits of a fold alone. */
static int folds() {
  constexpr ix n = LONG_ROW + 515;
  static f32 x[n], y[n];
  for (ix j = 0; j < n; j++) x[j] = 1.0f / (f32)(3 * j + 1);
  int errors = 0;
  for (ix length : {ix(3), ix(LANES + 1), ix(9 * LANES + 2), n}) for (ix tensors = 1; tensors <= 2; tensors++) {
    const f32 alone = fold<Sum, LANES>(length, [&](auto v, ix j) { return ld(v, x + j); });
    const f32 beside = store_and_fold<Sum, LANES>(length, tensors, 1, [&](auto v, ix j, Prefetch) { st(v, y + j, ld(v, x + j)); }, [&](auto v, ix j, Prefetch ahead) { return ld(v, x + j, ahead); });
    errors += alone != beside;
    for (ix j = 0; j < length; j++) errors += y[j] != x[j];
  }
  return errors;
}
static void asked() { printf("asked %d 0\n", asked_of_rows<768>() + asked_of_rows<2 * LONG_ROW>() + tails() + folds()); }
int main() { floats(); wholes(); conversions(); memory(); asked(); }
