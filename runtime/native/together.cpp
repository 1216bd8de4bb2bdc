#include "together.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace moec {

static constexpr size_t block = size_t(2) << 20;    // bytes that are summed in one round
static constexpr size_t little = size_t(16) << 10;  // up to so many bytes of all workers together, each worker sums everything itself
static constexpr long tile = 256;                   // elements that are summed at a time, in registers and L1

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
/// Rounds to nearest, ties to even; a NaN stays NaN.
static void put(Bf16& to, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  to.bits = uint16_t(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float sum(float a, float b) { return a + b; }
static int32_t sum(int32_t a, int32_t b) { return int32_t(uint32_t(a) + uint32_t(b)); }
/// NaN if either argument is.
template <class T> static T larger(T a, T b) { return a > b || a != a ? a : b; }
template <class T> static T smaller(T a, T b) { return a < b || a != a ? a : b; }

/// Folds n elements of each array in `from`, elementwise and in the order of the arrays. `to` may be one of them.
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

static size_t bytesOf(const std::vector<Together::Arg>& all) {
  size_t bytes = 0;
  for (const auto& arg : all) bytes += arg.bytes;
  return bytes;
}
Together::Together(const TogetherSpec& spec, std::vector<Arg> args)
    : mpi_(Mpi::current()), spec_(spec), group_(spec, mpi_.size(), mpi_.rank()) {
  const size_t several = args.size() / 2;
  read_.assign(args.begin(), args.end() - long(several));
  written_.assign(args.end() - long(several), args.end());
  if (spec.name == "all_reduce") scratch_.resize(std::min(block, bytesOf(read_)) + std::max(little, size_t(spec.workers) * 64));
}
void Together::run() {
  if (spec_.name == "all_gather") return gather();
  if (spec_.name == "all_reduce") return reduce();
  if (spec_.name == "all_to_all") return trade({read_, written_, group_.workers(), false});
  if (spec_.name == "exchange") return exchange();
  throw std::runtime_error("workers do not know " + spec_.name);
}

/// The blocks that make up bytes `begin` to `end` of the concatenation of `all`.
static std::vector<Bytes> within(const std::vector<Together::Arg>& all, size_t begin, size_t end) {
  std::vector<Bytes> blocks;
  size_t start = 0;
  for (const auto& [data, bytes] : all) {
    const size_t from = std::max(begin, start), to = std::min(end, start + bytes);
    if (from < to) blocks.push_back({data + (from - start), to - from});
    start += bytes;
  }
  return blocks;
}
/// Blocks as long as `those`, contiguous from `data` on.
static std::vector<Bytes> like(const std::vector<Bytes>& those, char* data) {
  std::vector<Bytes> blocks;
  for (const auto& block : those) {
    blocks.push_back({data, block.bytes});
    data += block.bytes;
  }
  return blocks;
}
static void copy(const std::vector<Bytes>& from, const std::vector<Bytes>& to) {
  for (size_t i = 0; i < from.size(); i++) std::memcpy(to.at(i).data, from[i].data, from[i].bytes);
}

/// All-reduce as reduce-scatter and all-gather: each worker sums its piece and sends the sum to all. This is done in rounds of `block` bytes, which
/// bounds the scratch memory.
void Together::reduce() {
  const size_t all = bytesOf(read_);
  for (size_t begin = 0; begin < all; begin += block) round(begin, std::min(block, all - begin));
}
void Together::round(size_t begin, size_t bytes) {
  const size_t workers = size_t(group_.workers()), width = spec_.dtype == "bf16" ? 2 : 4;
  if (bytes * workers <= little) return few(within(read_, begin, begin + bytes), within(written_, begin, begin + bytes), bytes);
  const auto piece = [&](const std::vector<Arg>& of, int w) {
    const auto first = [&](size_t i) { return begin + bytes / width * i / workers * width; };
    return within(of, first(size_t(w)), first(size_t(w) + 1));
  };
  const auto own = piece(read_, group_.own()), sums = piece(written_, group_.own());
  size_t mine = 0;
  for (const auto& b : own) mine += b.bytes;
  std::vector<Message> given, taken, sent, received;
  for (const int other : group_.others()) {
    const int worker = group_.rank(other);
    given.push_back({worker, piece(read_, other)});
    taken.push_back({worker, like(own, scratch_.data() + size_t(other) * mine)});
    sent.push_back({worker, sums});
    received.push_back({worker, piece(written_, other)});
  }
  mpi_.trade(given, taken);
  fold(own, sums, scratch_.data(), mine);
  mpi_.trade(sent, received);
}
/// A round so small that it is gathered, and summed by each worker.
void Together::few(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, size_t bytes) {
  const auto packed = like(own, scratch_.data());
  char* all = scratch_.data() + bytes;
  copy(own, packed);
  gather(scratch_.data(), all, bytes);
  fold(own, sums, all, bytes);
}
/// Sums the members' data in their order. `others` has that of each member, `stride` bytes apart; this worker's own is taken from `own` instead.
void Together::fold(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, char* others, size_t stride) {
  const long width = spec_.dtype == "bf16" ? 2 : 4;
  size_t at = 0;
  for (size_t i = 0; i < own.size(); i++) {
    std::vector<const char*> parts;
    for (int w = 0; w < group_.workers(); w++) parts.push_back(w == group_.own() ? own[i].data : others + size_t(w) * stride + at);
    foldAll(spec_, sums.at(i).data, parts, long(own[i].bytes) / width);
    at += own[i].bytes;
  }
}

void Together::gather() {
  if (read_.size() == 1) return gather(read_[0].data, written_.at(0).data, read_[0].bytes);
  trade({read_, written_, group_.workers(), true});
}
void Together::gather(char* own, char* all, size_t bytes) {
  if (group_.workers() == mpi_.size()) return mpi_.gather(own, all, bytes);
  const std::vector<Bytes> read{{own, bytes}}, written{{all, bytes * size_t(group_.workers())}};
  trade({read, written, group_.workers(), true});
}
void Together::exchange() {
  const auto& [offsets, bytes] = read_.back();
  const Routes routes(spec_, reinterpret_cast<const int32_t*>(offsets), bytes / sizeof(int32_t), group_, mpi_.size());
  trade({read_, written_, routes, spec_.rows});
}
void Together::trade(const Moves<Bytes>& moves) {
  std::vector<Message> out, in;
  for (const int other : group_.others()) {
    out.push_back({group_.rank(other), moves.sent(other)});
    in.push_back({group_.rank(other), moves.received(other)});
  }
  copy(moves.sent(group_.own()), moves.received(group_.own()));
  mpi_.trade(out, in);
}

}  // namespace moec
