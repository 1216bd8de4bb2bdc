#include "trial.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

namespace moec::cuda {

size_t Trial::bytes(const std::vector<Result>& results) {
  size_t all = 0;
  for (const Result& r : results) all += r.bytes;
  return 2 * all;
}
void Trial::save(size_t copy) {
  Address at = workspace_ + copy * bytes(results_) / 2;
  for (const Result& r : results_) stream_.move(at, r.at, r.bytes), at += r.bytes;
}
void Trial::restore(size_t copy) {
  Address at = workspace_ + copy * bytes(results_) / 2;
  for (const Result& r : results_) stream_.move(r.at, at, r.bytes), at += r.bytes;
}

static float number(const char* p, size_t width) {
  uint32_t bits = 0;
  memcpy(width == 2 ? reinterpret_cast<char*>(&bits) + 2 : reinterpret_cast<char*>(&bits), p, width);
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
struct Compared {
  bool zeros = true;
  /// How many elements differ by more than summing in another order explains, and how many there are.
  size_t wrong = 0, elements = 0;
};
/// Compares results of two kernels that sum in f32 in different orders and round to the result's type: they may differ by a few units in the last
/// place, or, where terms cancel, by a small fraction of the result's root mean square. NaNs are equal.
static Compared compared(const std::vector<char>& found, const std::vector<char>& wanted, size_t width) {
  Compared c;
  c.elements = wanted.size() / width;
  double squares = 0;
  for (size_t i = 0; i < wanted.size(); i += width) {
    const double x = number(&wanted[i], width);
    if (std::isfinite(x)) squares += x * x;
  }
  const double rms = std::sqrt(squares / double(std::max<size_t>(c.elements, 1)));
  for (size_t i = 0; i < wanted.size(); i += width) {
    const double x = number(&found[i], width), y = number(&wanted[i], width);
    if (y != 0) c.zeros = false;
    if (memcmp(&found[i], &wanted[i], width) == 0 || (std::isnan(x) && std::isnan(y))) continue;
    if (!(std::abs(x - y) <= (std::abs(y) + rms) / 64)) c.wrong++;
  }
  return c;
}
Trial::Outcome Trial::run(const std::function<void()>& kernel, const std::function<bool()>& variant, const Judge& judge, const std::string& name) {
  save(0);
  stream_.wait("results to save");
  const auto start = std::chrono::steady_clock::now();
  kernel();
  stream_.wait("the kernel that " + name + " stands for");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  save(1);
  restore(0);
  const bool launched = variant();
  if (!stream_.waitFor(1 + 10 * took.count(), "kernel " + name)) return {Verdict::endless, ""};
  const Outcome outcome = judge(compare(launched));
  if (outcome.verdict == Verdict::agrees) return outcome;
  restore(1);
  stream_.wait("results to restore");
  return outcome;
}
/// Compares what the variant wrote with the saved results of its kernel.
Trial::Outcome Trial::compare(bool launched) {
  if (!launched) return {Verdict::unused, ""};
  bool zeros = true;
  size_t wrong = 0, elements = 0;
  Address at = workspace_ + bytes(results_) / 2;
  for (const Result& r : results_) {
    std::vector<char> found(r.bytes), wanted(r.bytes);
    stream_.move(reinterpret_cast<Address>(found.data()), r.at, r.bytes);
    stream_.move(reinterpret_cast<Address>(wanted.data()), at, r.bytes);
    stream_.wait("results to compare");
    at += r.bytes;
    if (r.width == 0) continue;
    const Compared c = compared(found, wanted, r.width);
    zeros &= c.zeros;
    wrong += c.wrong;
    elements += c.elements;
  }
  if (wrong > 0) return {Verdict::differs, std::to_string(wrong) + " of " + std::to_string(elements) + " elements differ"};
  return zeros ? Outcome{Verdict::undecided, ""} : Outcome{Verdict::agrees, std::to_string(elements) + " elements agree"};
}

}  // namespace moec::cuda
