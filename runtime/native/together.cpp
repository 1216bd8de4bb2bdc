#include "together.hpp"

#include "routes.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace moec {

static constexpr size_t block = size_t(2) << 20;  // bytes that are added up in one round
static constexpr size_t few = size_t(16) << 10;   // bytes of all workers that each of them adds up for itself
static constexpr long tile = 256;                 // elements that are added up in registers and nearest caches

struct Bf16 {
  uint16_t bits;
};
static float wide(float x) { return x; }
static int32_t wide(int32_t x) { return x; }
static float wide(Bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}
static void put(float& to, float x) { to = x; }
static void put(int32_t& to, int32_t x) { to = x; }
/// To the nearest, half to even; a NaN stays one.
static void put(Bf16& to, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  to.bits = uint16_t(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float sum(float a, float b) { return a + b; }
static int32_t sum(int32_t a, int32_t b) { return int32_t(uint32_t(a) + uint32_t(b)); }
/// NaN if either is.
template <class T> static T larger(T a, T b) { return a > b || a != a ? a : b; }
template <class T> static T smaller(T a, T b) { return a < b || a != a ? a : b; }

/// Element by element, in the order of `from`, of which `to` may be one.
template <class T, class F>
static void fold(char* to, const std::vector<const char*>& from, long n, F step) {
  decltype(wide(T())) all[tile];
  for (long begin = 0; begin < n; begin += tile) {
    const long count = std::min(tile, n - begin);
    const auto part = [&](const char* data) { return reinterpret_cast<const T*>(data) + begin; };
    for (long i = 0; i < count; i++) all[i] = wide(part(from[0])[i]);
    for (size_t w = 1; w < from.size(); w++)
      for (long i = 0; i < count; i++) all[i] = step(all[i], wide(part(from[w])[i]));
    for (long i = 0; i < count; i++) put(reinterpret_cast<T*>(to)[begin + i], all[i]);
  }
}
template <class T>
static void foldOf(const std::string& fn, char* to, const std::vector<const char*>& from, long n) {
  using W = decltype(wide(T()));
  if (fn == "sum") return fold<T>(to, from, n, [](W a, W b) { return sum(a, b); });
  if (fn == "max") return fold<T>(to, from, n, larger<W>);
  if (fn == "min") return fold<T>(to, from, n, smaller<W>);
  throw std::runtime_error("workers cannot take the " + fn + " of numbers");
}
static void foldAll(const TogetherSpec& spec, char* to, const std::vector<const char*>& from, long n) {
  if (spec.dtype == "f32") return foldOf<float>(spec.fn, to, from, n);
  if (spec.dtype == "bf16") return foldOf<Bf16>(spec.fn, to, from, n);
  if (spec.dtype == "i32") return foldOf<int32_t>(spec.fn, to, from, n);
  throw std::runtime_error("workers cannot add up " + spec.dtype);
}

Together::Together(const TogetherSpec& spec, std::vector<Arg> args) : mpi_(Mpi::current()), spec_(spec), args_(std::move(args)) {
  const int workers = mpi_.size();
  if (spec.workers != 0 && spec.workers != workers)
    throw std::runtime_error("this plan is for " + std::to_string(spec.workers) + " workers, and there are " + std::to_string(workers));
  if (spec.name == "all_reduce") scratch_.resize(std::min(block, args_.at(0).bytes) + std::max(few, size_t(workers) * 64));
}
void Together::run() {
  if (spec_.name == "all_gather") return mpi_.gather(args_.at(0).data, args_.at(1).data, args_.at(0).bytes);
  if (spec_.name == "all_reduce") return reduce();
  if (spec_.name == "all_to_all") return allToAll();
  if (spec_.name == "exchange") return exchange();
  throw std::runtime_error("workers do not know " + spec_.name);
}

/// Each worker adds up its piece of a round, and gives the sum to all. So much lies together that a round needs little memory.
void Together::reduce() {
  const size_t width = spec_.dtype == "bf16" ? 2 : 4;
  const long all = long(args_.at(0).bytes / width), most = long(block / width);
  for (long begin = 0; begin < all; begin += most) {
    const long n = std::min(most, all - begin);
    round(args_[0].data + size_t(begin) * width, args_.at(1).data + size_t(begin) * width, n, width);
  }
}
void Together::round(char* own, char* sums, long n, size_t width) {
  const int workers = mpi_.size(), rank = mpi_.rank();
  std::vector<const char*> parts;
  const size_t bytes = size_t(n) * width;
  if (bytes * size_t(workers) <= few) {
    mpi_.gather(own, scratch_.data(), bytes);
    for (int w = 0; w < workers; w++) parts.push_back(scratch_.data() + size_t(w) * bytes);
    return foldAll(spec_, sums, parts, n);
  }
  const auto first = [&](int w) { return n * w / workers; };
  const auto piece = [&](int worker, char* data, int w) { return Message{worker, data, width, {{first(w), first(w + 1) - first(w)}}}; };
  const long mine = first(rank + 1) - first(rank);
  for (int w = 0; w < workers; w++) parts.push_back(scratch_.data() + size_t(w) * size_t(mine) * width);
  parts[size_t(rank)] = own + size_t(first(rank)) * width;
  std::vector<Message> given, taken, sent, received;
  for (const int other : mpi_.others()) {
    given.push_back(piece(other, own, other));
    taken.push_back({other, scratch_.data(), width, {{other * mine, mine}}});
    sent.push_back(piece(other, sums, rank));
    received.push_back(piece(other, sums, other));
  }
  mpi_.trade(given, taken);
  foldAll(spec_, sums + size_t(first(rank)) * width, parts, mine);
  mpi_.trade(sent, received);
}

static void copy(const Message& from, const Message& to) {
  for (size_t i = 0; i < from.blocks.size(); i++) {
    const auto& [first, count] = from.blocks[i];
    std::memcpy(to.data + size_t(to.blocks.at(i).first) * to.width, from.data + size_t(first) * from.width, size_t(count) * from.width);
  }
}
/// A row of each worker to each.
void Together::allToAll() {
  const size_t width = args_.at(0).bytes / size_t(mpi_.size());
  const auto row = [&](int worker, size_t arg) { return Message{worker, args_.at(arg).data, width, {{worker, 1}}}; };
  std::vector<Message> out, in;
  for (const int other : mpi_.others()) {
    out.push_back(row(other, 0));
    in.push_back(row(other, 1));
  }
  copy(row(mpi_.rank(), 0), row(mpi_.rank(), 1));
  mpi_.trade(out, in);
}
void Together::exchange() {
  const int workers = mpi_.size(), rank = mpi_.rank();
  const size_t width = args_.at(0).bytes / size_t(spec_.rows);
  const Routes routes(spec_, reinterpret_cast<const int32_t*>(args_[1].data), args_[1].bytes / sizeof(int32_t), workers, rank);
  const auto sent = [&](int to) { return Message{to, args_[0].data, width, routes.sent(to)}; };
  const auto received = [&](int from) { return Message{from, args_.at(2).data, width, routes.received(from)}; };
  std::vector<Message> out, in;
  for (const int other : mpi_.others()) {
    out.push_back(sent(other));
    in.push_back(received(other));
  }
  copy(sent(rank), received(rank));
  mpi_.trade(out, in);
}

}  // namespace moec
