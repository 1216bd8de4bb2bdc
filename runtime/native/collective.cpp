#include "collective.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace moec {

static constexpr size_t round_bytes = size_t(2) << 20;    // bytes that are summed in one round
static constexpr size_t small_reduce = size_t(16) << 10;  // up to so many bytes of all workers together, each worker sums everything itself
static constexpr long tile = 256;                         // elements that are summed at a time, in registers and L1

struct Bf16 {
  uint16_t bits;
};
static float widen(float x) { return x; }
static int32_t widen(int32_t x) { return x; }
static float widen(Bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}
static void narrow(float& to, float x) { to = x; }
static void narrow(int32_t& to, int32_t x) { to = x; }
/// Rounds to nearest, ties to even; a NaN stays NaN.
static void narrow(Bf16& to, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  to.bits = uint16_t(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float sum(float a, float b) { return a + b; }
static int32_t sum(int32_t a, int32_t b) { return int32_t(uint32_t(a) + uint32_t(b)); }
/// NaN if either argument is.
template <class T> static T maximum(T a, T b) { return a > b || a != a ? a : b; }
template <class T> static T minimum(T a, T b) { return a < b || a != a ? a : b; }

/// Folds n elements of each array in `from`, elementwise and in the order of the arrays. `to` may be one of them.
template <class T, class F>
static void fold(char* to, const std::vector<const char*>& from, long n, F step) {
  decltype(widen(T())) all[tile];
  for (long begin = 0; begin < n; begin += tile) {
    const long count = std::min(tile, n - begin);
    const auto part = [&](const char* data) { return reinterpret_cast<const T*>(data) + begin; };
    for (long i = 0; i < count; i++) all[i] = widen(part(from[0])[i]);
    for (size_t w = 1; w < from.size(); w++)
      for (long i = 0; i < count; i++) all[i] = step(all[i], widen(part(from[w])[i]));
    for (long i = 0; i < count; i++) narrow(reinterpret_cast<T*>(to)[begin + i], all[i]);
  }
}
template <class T>
static void foldAs(const std::string& fn, char* to, const std::vector<const char*>& from, long n) {
  using W = decltype(widen(T()));
  if (fn == "sum") return fold<T>(to, from, n, [](W a, W b) { return sum(a, b); });
  if (fn == "max") return fold<T>(to, from, n, maximum<W>);
  if (fn == "min") return fold<T>(to, from, n, minimum<W>);
  throw std::runtime_error("workers cannot take the " + fn + " of numbers");
}
static void foldAll(const CollectiveSpec& spec, char* to, const std::vector<const char*>& from, long n) {
  if (spec.dtype == "f32") return foldAs<float>(spec.fn, to, from, n);
  if (spec.dtype == "bf16") return foldAs<Bf16>(spec.fn, to, from, n);
  if (spec.dtype == "i32") return foldAs<int32_t>(spec.fn, to, from, n);
  throw std::runtime_error("workers cannot add up " + spec.dtype);
}

static size_t bytesOf(const std::vector<Collective::Arg>& all) {
  size_t bytes = 0;
  for (const auto& arg : all) bytes += arg.bytes;
  return bytes;
}
Collective::Collective(const CollectiveSpec& spec, std::vector<Arg> args)
    : mpi_(Mpi::current()), spec_(spec), group_(spec, mpi_.size(), mpi_.rank()) {
  const size_t results = args.size() / 2;
  read_.assign(args.begin(), args.end() - long(results));
  written_.assign(args.end() - long(results), args.end());
  if (spec.name == "all_reduce") scratch_.resize(std::min(round_bytes, bytesOf(read_)) + std::max(small_reduce, size_t(spec.workers) * 64));
}
void Collective::run() {
  if (spec_.name == "all_gather") return allGather();
  if (spec_.name == "all_reduce") return allReduce();
  if (spec_.name == "all_to_all") return sendReceive({read_, written_, group_.workers(), false});
  if (spec_.name == "exchange") return exchange();
  throw std::runtime_error("workers do not know " + spec_.name);
}

/// The blocks that make up bytes `begin` to `end` of the concatenation of `all`.
static std::vector<Bytes> sliceOf(const std::vector<Collective::Arg>& all, size_t begin, size_t end) {
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
static std::vector<Bytes> contiguousLike(const std::vector<Bytes>& those, char* data) {
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

/// All-reduce as reduce-scatter and all-gather: each worker sums its piece and sends the sum to all. This is done in rounds of `round_bytes`, which
/// bounds the scratch memory.
void Collective::allReduce() {
  const size_t all = bytesOf(read_);
  for (size_t begin = 0; begin < all; begin += round_bytes) reduceRound(begin, std::min(round_bytes, all - begin));
}
void Collective::reduceRound(size_t begin, size_t bytes) {
  const size_t workers = size_t(group_.workers()), width = spec_.dtype == "bf16" ? 2 : 4;
  if (bytes * workers <= small_reduce) return reduceSmall(sliceOf(read_, begin, begin + bytes), sliceOf(written_, begin, begin + bytes), bytes);
  const auto piece = [&](const std::vector<Arg>& of, int w) {
    const auto first = [&](size_t i) { return begin + bytes / width * i / workers * width; };
    return sliceOf(of, first(size_t(w)), first(size_t(w) + 1));
  };
  const auto own = piece(read_, group_.member()), sums = piece(written_, group_.member());
  size_t own_bytes = 0;
  for (const auto& b : own) own_bytes += b.bytes;
  std::vector<Message> sent_parts, received_parts, sent_sums, received_sums;
  for (const int other : group_.others()) {
    const int worker = group_.rank(other);
    sent_parts.push_back({worker, piece(read_, other)});
    received_parts.push_back({worker, contiguousLike(own, scratch_.data() + size_t(other) * own_bytes)});
    sent_sums.push_back({worker, sums});
    received_sums.push_back({worker, piece(written_, other)});
  }
  mpi_.sendReceive(sent_parts, received_parts);
  fold(own, sums, scratch_.data(), own_bytes);
  mpi_.sendReceive(sent_sums, received_sums);
}
/// A round so small that it is gathered, and summed by each worker.
void Collective::reduceSmall(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, size_t bytes) {
  const auto packed = contiguousLike(own, scratch_.data());
  char* all = scratch_.data() + bytes;
  copy(own, packed);
  allGather(scratch_.data(), all, bytes);
  fold(own, sums, all, bytes);
}
/// Sums the members' data in their order. `others` has that of each member, `stride` bytes apart; this worker's own is taken from `own` instead.
void Collective::fold(const std::vector<Bytes>& own, const std::vector<Bytes>& sums, char* others, size_t stride) {
  const long width = spec_.dtype == "bf16" ? 2 : 4;
  size_t at = 0;
  for (size_t i = 0; i < own.size(); i++) {
    std::vector<const char*> parts;
    for (int w = 0; w < group_.workers(); w++) parts.push_back(w == group_.member() ? own[i].data : others + size_t(w) * stride + at);
    foldAll(spec_, sums.at(i).data, parts, long(own[i].bytes) / width);
    at += own[i].bytes;
  }
}

void Collective::allGather() {
  if (read_.size() == 1) return allGather(read_[0].data, written_.at(0).data, read_[0].bytes);
  sendReceive({read_, written_, group_.workers(), true});
}
void Collective::allGather(char* own, char* all, size_t bytes) {
  if (group_.workers() == mpi_.size()) return mpi_.allGather(own, all, bytes);
  const std::vector<Bytes> read{{own, bytes}}, written{{all, bytes * size_t(group_.workers())}};
  sendReceive({read, written, group_.workers(), true});
}
void Collective::exchange() {
  const auto& [offsets, bytes] = read_.back();
  const Routes routes(spec_, reinterpret_cast<const int32_t*>(offsets), bytes / sizeof(int32_t), group_, mpi_.size());
  sendReceive({read_, written_, routes, spec_.rows});
}
void Collective::sendReceive(const Moves<Bytes>& moves) {
  std::vector<Message> out, in;
  for (const int other : group_.others()) {
    out.push_back({group_.rank(other), moves.sent(other)});
    in.push_back({group_.rank(other), moves.received(other)});
  }
  copy(moves.sent(group_.member()), moves.received(group_.member()));
  mpi_.sendReceive(out, in);
}

}  // namespace moec
