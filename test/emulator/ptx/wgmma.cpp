// wgmma.mma_async: D (64, N) = A B + D by a warpgroup, done at some point before the wait. PTX ISA 9.7.15.
#include <cstring>
#include <stdexcept>

#include "../checker/checker.hpp"
#include "../counters/counters.hpp"
#include "../runtime/config.hpp"
#include "../runtime/memory.hpp"
#include "../runtime/report.hpp"
#include "modifiers.hpp"
#include "numbers.hpp"
#include "tensor_map.hpp"

namespace emu {

/// The layout of an operand in shared memory: core matrices of 8 rows of 16 bytes, and the strides between them.
struct Descriptor {
  uint32_t start, leading, stride;
  Swizzle swizzle;

  explicit Descriptor(u64 d) : start(field(d)), leading(field(d >> 16)), stride(field(d >> 32)), swizzle(Swizzle(d >> 62)) {
    if (d >> 49 & 7) fail("wgmma: a base offset other than 0 is not emulated");
    const uint32_t pattern = span_of(swizzle) * 8;
    if (swizzle != Swizzle::None && start & (pattern - 1) & ~127u) fail("wgmma: the operand at %u is not aligned to its pattern of %u bytes", start, pattern);
  }
  static uint32_t field(u64 d) { return uint32_t(d & 0x3fff) << 4; }
  /// The address of a chunk of 16 bytes. K-major: `line` is a row, `chunk` lies along K; MN-major: `line` is along K, `chunk` along the rows.
  uint32_t chunk(bool mn_major, int line, int chunk) const {
    const uint32_t span = span_of(swizzle), in_group = uint32_t(line % 8), group = uint32_t(line / 8), c = uint32_t(chunk);
    uint32_t offset;
    if (swizzle == Swizzle::None) offset = in_group * 16 + (mn_major ? group * leading + c * stride : group * stride + c * leading);
    else if (mn_major) offset = in_group * span + group * stride + c % (span / 16) * 16 + c / (span / 16) * leading;
    else offset = in_group * span + group * stride + c * 16;
    return swizzled(start + offset, swizzle);
  }
};
struct Wgmma {
  Small type;
  int n;
  int k() const { return 32 / bytes_of(type); }
  int results() const { return n / 2; }
};
/// An operand of rows x k elements in shared memory.
struct InShared {
  Descriptor at;
  bool mn_major;
  int rows;
  int lines(int k) const { return mn_major ? k : rows; }
  int chunks(int k, int per_chunk) const { return (mn_major ? rows : k) / per_chunk; }
};
/// A pending wgmma with copies of its operands in registers.
struct Product {
  Wgmma shape;
  bool a_in_registers, accumulates;
  float sign;
  std::vector<float> a;  // 64 x k, if in registers
  u64 a_descriptor = 0, b_descriptor = 0;
  bool a_mn_major = false, b_mn_major = false;
  std::vector<float*> d;  // of all threads, in order
  Thread* first;
  Position position;
  /// The joined clock of warp i; the last: of the warpgroup.
  std::vector<check::Clock> knows = std::vector<check::Clock>(5);
  uint16_t actor;
  uint32_t step;

  void run() const;
  void count_shared(const InShared&) const;
  void fetch(const InShared&, bool is_b, std::vector<float>& out) const;
};
void Product::count_shared(const InShared& o) const {
  if (!config.count) return;
  const int lines = o.lines(shape.k()), chunks = o.chunks(shape.k(), 16 / bytes_of(shape.type));
  for (int group = 0; group < lines / 8; group++)
    for (int c = 0; c < chunks; c++) {
      u64 rows[8];
      for (int r = 0; r < 8; r++) rows[r] = o.at.chunk(o.mn_major, group * 8 + r, c);
      count::rows(count::Matrix::Wgmma, rows, 8, group == 0 && c == 0);
    }
}
/// out[row * k + depth]
void Product::fetch(const InShared& o, bool is_b, std::vector<float>& out) const {
  const int k = shape.k(), per_chunk = 16 / bytes_of(shape.type), per_word = 4 / bytes_of(shape.type);
  count_shared(o);
  for (int line = 0; line < o.lines(k); line++)
    for (int c = 0; c < o.chunks(k, per_chunk); c++) {
      const char* p = shared_at(*first, o.at.chunk(o.mn_major, line, c), 16, 16, "wgmma");
      const int row0 = o.mn_major ? c * per_chunk : line;
      check::access_as({knows[is_b ? 4 : size_t(row0 / 16)], actor, step}, *first->block, p, 16, check::Kind::AsyncRead);
      uint32_t words[4];
      memcpy(words, p, 16);
      for (int e = 0; e < per_chunk; e++) {
        const int row = o.mn_major ? row0 + e : line, depth = o.mn_major ? line : c * per_chunk + e;
        out[size_t(row * k + depth)] = element(shape.type, words[e / per_word], e % per_word);
      }
    }
}
/// The row and column of register j of a thread in D; for A (pairs of columns in `per` steps) likewise.
static int row_of(int thread, int j) { return thread / 32 * 16 + thread % 32 / 4 + (j >> 1 & 1) * 8; }
static int col_of(int thread, int j) { return (j >> 2) * 8 + thread % 4 * 2 + (j & 1); }
void Product::run() const {
  emu::position = position;
  static thread_local std::vector<float> left, right, sum;
  const int k = shape.k(), n = shape.n;
  left.resize(size_t(64 * k));
  right.resize(size_t(n * k));
  sum.assign(size_t(64 * n), 0);
  if (a_in_registers) left = a;
  else fetch({Descriptor(a_descriptor), a_mn_major, 64}, false, left);
  fetch({Descriptor(b_descriptor), b_mn_major, n}, true, right);
  for (int t = 0; t < 128 && accumulates; t++)
    for (int j = 0; j < shape.results(); j++) sum[size_t(row_of(t, j) * n + col_of(t, j))] = *d[size_t(t * shape.results() + j)];
  for (int row = 0; row < 64; row++)
    for (int depth = 0; depth < k; depth++) {
      const float x = left[size_t(row * k + depth)] * sign;
      for (int col = 0; col < n; col++) sum[size_t(row * n + col)] += x * right[size_t(col * k + depth)];
    }
  for (int t = 0; t < 128; t++)
    for (int j = 0; j < shape.results(); j++) *d[size_t(t * shape.results() + j)] = sum[size_t(row_of(t, j) * n + col_of(t, j))];
}

/// Operands: D; A's descriptor or its four registers; B's descriptor; scale D, A and B; for 16 bits, which are transposed.
struct Operands {
  size_t a, b;
  bool in_registers;
  Operands(const Wgmma& w, const Instruction& i) : a(size_t(w.results())) {
    const size_t rest = i.count() - a, transposed = w.type == Small::Tf32 ? 0 : 1;
    in_registers = rest == 8 + transposed;
    if (!in_registers && rest != 5 + 2 * transposed) fail("wgmma with %zu operands after its results", rest);
    b = a + (in_registers ? 4 : 1);
  }
};
static void take_a_registers(Product& p, const Operands& o, const Instruction& i, void** frames) {
  const int k = p.shape.k(), per = 4 / bytes_of(p.shape.type);
  p.a.resize(size_t(64 * k));
  for (int t = 0; t < 128; t++)
    for (int r = 0; r < 4; r++) {
      const uint32_t word = i.word(*(Frame*)frames[t], o.a + size_t(r));
      for (int e = 0; e < per; e++) p.a[size_t((t / 32 * 16 + t % 32 / 4 + (r & 1) * 8) * k + t % 4 * per + e + (r >> 1) * 4 * per)] = element(p.shape.type, word, e);
    }
}
static void take_threads(Product& p, const Operands& o, const Instruction& i, void** frames) {
  for (int n = 0; n < 128; n++) {
    Frame& f = *(Frame*)frames[n];
    if (i.value(f, o.b) != p.b_descriptor || (!o.in_registers && i.value(f, o.a) != p.a_descriptor)) fail("wgmma: threads of a warpgroup give different descriptors (line %d)", f.line);
    for (int j = 0; j < p.shape.results(); j++) p.d.push_back((float*)f.arguments[i.operands[size_t(j)].index].out);
    if (!config.check) continue;
    check::meet(p.knows[size_t(n / 32)], f.thread.clocks.own);
    check::meet(p.knows[4], f.thread.clocks.own);
    f.thread.clocks.own[f.thread.linear]++;
  }
}
static void multiply(const Wgmma& w, const Instruction& i, void** frames) {
  Frame& f = *(Frame*)frames[0];
  Block& block = *f.thread.block;
  Warpgroup& g = block.warpgroups[f.thread.linear / 128];
  if (config.check && !g.fenced) report("wgmma.mma_async without wgmma.fence since the last wait (line %d)", f.line);
  const Operands o(w, i);
  Product p;
  p.shape = w;
  p.a_in_registers = o.in_registers;
  p.accumulates = i.value(f, o.b + 1) != 0;
  p.sign = float(int32_t(i.word(f, o.b + 2))) * float(int32_t(i.word(f, o.b + 3)));
  p.a_descriptor = o.in_registers ? 0 : i.value(f, o.a);
  p.b_descriptor = i.value(f, o.b);
  if (w.type != Small::Tf32) {
    p.a_mn_major = !o.in_registers && i.value(f, o.b + 4) != 0;
    p.b_mn_major = i.value(f, o.b + (o.in_registers ? 4 : 5)) != 0;
  }
  p.first = &f.thread;
  p.position = position;
  p.actor = uint16_t(unsigned(block.count) + f.thread.linear / 128);
  p.step = ++g.step;
  take_threads(p, o, i, frames);
  if (o.in_registers) take_a_registers(p, o, i, frames);
  if (config.lazy) g.open.push_back([p = std::move(p)] { p.run(); });
  else p.run(), g.open.push_back([] {});
}
static void commit(Warpgroup& g) {
  g.committed.push_back(std::move(g.open));
  g.open.clear();
  g.committed_steps.push_back(g.step);
}
static void wait_group(Warpgroup& g, const Instruction& i, void** frames) {
  Frame& f = *(Frame*)frames[0];
  const size_t left = i.word(f, 0);
  if (left == 0 && !g.open.empty()) report("wgmma.wait_group 0 while some wgmma are not committed (line %d)", f.line);
  for (; g.committed.size() > left; g.committed.pop_front(), g.committed_steps.pop_front()) {
    for (auto& product : g.committed.front()) product();
    g.done = g.committed_steps.front();
  }
  g.fenced = false;
  if (!config.check) return;
  const size_t actor = size_t(f.thread.block->count) + f.thread.linear / 128;
  for (int t = 0; t < 128; t++) ((Frame*)frames[t])->thread.clocks.own[actor] = g.done;
}

template <class F> static Action for_warpgroup(F together) {
  return [together](const Instruction& i, Frame& f) {
    struct Call {
      const F& run;
      const Instruction& instruction;
    } call{together, i};
    auto run = [](void** frames, unsigned, void* user) {
      Thread& t = ((Frame*)frames[0])->thread;
      ((Call*)user)->run(t.block->warpgroups[t.linear / 128], ((Call*)user)->instruction, frames);
    };
    warpgroup_collective(&i, &f, run, &call, f.line);
  };
}
Action bind_wgmma(Modifiers& m) {
  const std::string what = m.need_any({"mma_async", "fence", "commit_group", "wait_group"});
  m.need("sync");
  m.need("aligned");
  if (what == "fence") return for_warpgroup([](Warpgroup& g, const Instruction&, void**) { g.fenced = true; });
  if (what == "commit_group") return for_warpgroup([](Warpgroup& g, const Instruction&, void**) { commit(g); });
  if (what == "wait_group") return for_warpgroup(wait_group);
  const std::string shape = m.empty() ? "" : m.first();
  if (shape.rfind("m64n", 0) != 0) throw std::invalid_argument("its shape");
  m.need(shape);
  m.need("f32");
  const std::string type = m.need_any({"bf16", "f16", "tf32"});
  m.need(type);
  const Wgmma w{type == "bf16" ? Small::Bf16 : type == "f16" ? Small::F16 : Small::Tf32, std::stoi(shape.substr(4))};
  if (w.n < 8 || w.n > 256 || w.n % 8 || std::stoi(shape.substr(shape.find('k') + 1)) != w.k()) throw std::invalid_argument("its shape " + shape);
  return for_warpgroup([w](Warpgroup&, const Instruction& i, void** frames) { multiply(w, i, frames); });
}
}  // namespace emu
