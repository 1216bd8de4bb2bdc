// Operands of an mma on the host, and the prefetches that are made beside it. After memory.hpp. The depth (k) is the contracted axis.
// Rows has a pointer per row (so a gather costs nothing), elements STEP apart along the depth. InPlace is read in place, element (x, k) at p[k * LD + x].
// Panels are blocks of W columns, each stored depth by depth. Along has its depth contiguous, element (x, k) at p[x * LD + k], and is transposed in
// registers. PackedStrips (right operands) and MicroPanels (left ones) are packed copies in the order of the register tiles: for each step of the depth, as
// many columns (or MR = 6 rows) as a register tile has. RowPointers has a pointer for each step of the depth.
/** The width of a register tile in vectors. */
#if LANES == 8
#define TILE_VECTORS 2
#else
#define TILE_VECTORS 4
#endif
/** Bytes of a cache line. */
constexpr ix LINE = 64;
/**
 * Cache lines to prefetch, which are needed after a strip: rows of `width` bytes, `step` apart, at a rate of `rate` lines in 4096 steps of the depth.
 * p null: none.
 */
struct PrefetchStream {
  const char* p; ix step, width, lines, x, rate;
  FN PrefetchStream spread_over(ix steps) const { return {p, step, width, p ? lines : 0, x, p ? (lines << 12) / ix_max(1, steps) + 1 : 0}; }
  FN void issue(ix most) {
    const ix n = ix_min(most, lines);
    const char* at = p; ix y = x;
    NO_UNROLL for (ix k = 0; k < n; k++) {
      __builtin_prefetch(at + y, 0, 2);
      y += LINE;
      if (y >= width) { y = 0; at += step; }
    }
    p = at; x = y; lines -= n;
  }
};
/**
 * The prefetches that are made while a register tile is computed: lines that were listed before, and some of what is needed after the strip. Few at a
 * time, since many fill the core's line buffers and the FMAs wait; but not more often than needed, since each interruption costs some 5 cycles.
 */
struct PrefetchQueue {
  static constexpr ix most = 512, some = 4;
  const void* line[most + some]; ix lines;
  /** at .. end: lines not yet prefetched. Every `pace` steps of the depth, `groups` groups of `some` of them are, and `each` lines of `next`. */
  const void *const *at, *const *end; ix groups, pace, each; PrefetchStream* next;
  FN void clear() { lines = 0; }
  FN void operator()(const void* p) { if (lines < most) line[lines++] = p; }
  /** Spreads the listed lines over `steps` steps. Past the end the last line is prefetched again, since a varying count would be mispredicted. */
  FN void spread_over(i32 steps, ix pace_of_next) {
    const i32 n = (i32)lines, g = n / (steps | 1) + 1, times = n / (i32)(some * g) + 1;
    UNROLL for (ix i = 0; i < some; i++) line[n + i] = n > 0 ? line[n - 1] : this;
    at = line; end = line + n; groups = g; pace = ix_max(some, ix_min(steps / times, pace_of_next) & ~1);
  }
  /** After how many steps of the depth `some` lines of f are due. */
  static FN ix pace_of(const PrefetchStream& f) { return f.rate > 0 ? (some << 12) / f.rate : 1 << 20; }
  FN PrefetchQueue& with(PrefetchStream& f) { next = &f; each = f.lines > 0 ? (f.rate * pace >> 12) + 1 : 0; return *this; }
  FN ix next_step(ix k, ix depth) const { return ix_min(k + pace, depth); }
  FN void issue(ix) {
    NO_UNROLL for (ix g = 0; g < groups; g++) {
      UNROLL for (ix i = 0; i < some; i++) __builtin_prefetch(at[i], 0, 2);
      at += some;
      if (at > end) at = end;
    }
    if (each > 0) next->issue(each);
  }
};
template <class A, class B> constexpr bool is_same = false;
template <class A> constexpr bool is_same<A, A> = true;
/** How a register tile's columns are laid out: steps of the depth are LD apart, each of N rows of T. `load` loads the NV vectors of one step. */
template <int LD, class T = f32, int N = 1> struct Step {
  typedef T Type;
  static constexpr int apart = LD, bytes = N * sizeof(T);
  template <int NV> static FN void load(vf (&w)[NV], const T* p) { UNROLL for (int v = 0; v < NV; v++) w[v] = ld(vf{}, p + v * LANES); }
  /** Permute the sums from the order of columns to the order in which `load` gives them, and back. */
  template <int NV> static FN void permute_in(vf (&)[NV]) {}
  template <int NV> static FN void permute_out(vf (&)[NV]) {}
};
/** Lane l of MIX(f, h, a, b) is lane f(l, h) of a and b together. */
#define FOUR(f, l, h) f(l, h), f(l + 1, h), f(l + 2, h), f(l + 3, h)
#if LANES == 16
#define PICK(f, h) FOUR(f, 0, h), FOUR(f, 4, h), FOUR(f, 8, h), FOUR(f, 12, h)
#elif LANES == 8
#define PICK(f, h) FOUR(f, 0, h), FOUR(f, 4, h)
#else
#define PICK(f, h) FOUR(f, 0, h)
#endif
#define MIX(f, h, a, b) __builtin_shufflevector(a, b, PICK(f, h))
/** The lanes of two vectors in turn, the first (h = 1: second) half of the result; and the other way, the even (odd) lanes. */
#define ZIP(l, h) ((l) / 2 + h * LANES / 2 + (l) % 2 * LANES)
#define UNZIP(l, h) (2 * (l) + h)
typedef vi words_at __attribute__((aligned(1), may_alias));
/** Words of 32 bits, each two numbers of bf16, or four of i8. */
template <class T> FN vf ld_words(const T* p) { return from_bits(*(const words_at*)p); }
template <class T> constexpr int per_word = 4 / sizeof(T);
template <class T> constexpr int per_word_of(const T*) { return per_word<T>; }
/** Number i of each word of N; N = 1: of lanes that are numbers. */
template <int N> FN vf number_of(vf lanes, int i) {
  if constexpr (N == 4) return to_f32(bits(lanes) << (24 - 8 * i) >> 24);
  else return N == 1 ? lanes : from_bits(i == 0 ? bits(lanes) << 16 : bits(lanes) & -65536);
}
#if LANES == 4
/** bf16: two vectors of columns at a time, in order. (Sums that are permuted clang++ for arm64 keeps in pairs of registers, and then spills them.) */
template <int LD> struct Step<LD, bf16, 1> : Step<LD, f32, 1> {
  typedef bf16 Type;
  static constexpr int bytes = sizeof(bf16);
  template <int NV> static FN void load(vf (&w)[NV], const bf16* p) {
    if constexpr (NV % 2 > 0) UNROLL for (int v = 0; v < NV; v++) w[v] = ld(vf{}, p + v * LANES);
    else UNROLL for (int v = 0; v < NV; v += 2) {
      const v8h both = *(const v8h_at*)(p + v * LANES);
      w[v] = from_bits(zip_low(v8h{}, both));
      w[v + 1] = from_bits(zip_high(v8h{}, both));
    }
  }
};
/** i8, of which a vector has the 16 columns of a register tile. */
template <int LD> struct Step<LD, i8, 1> : Step<LD, f32, 1> {
  typedef i8 Type;
  static constexpr int bytes = sizeof(i8);
  template <int NV> static FN void load(vf (&w)[NV], const i8* p) {
    if constexpr (NV != 4) UNROLL for (int v = 0; v < NV; v++) w[v] = ld(vf{}, p + v * LANES);
    else {
      const v16b all = *(const v16b_at*)p;
      const v8h low = zip_low(all, all), high = zip_high(all, all);
      const vi lanes[] = {zip_low(low, low), zip_high(low, low), zip_low(high, high), zip_high(high, high)};
      UNROLL for (int v = 0; v < NV; v++) w[v] = to_f32(lanes[v] >> 24);
    }
  }
};
#else
/**
 * bf16, of which a word of 32 bits has two columns: a shift gives the even ones, a mask the odd ones. (Widening instructions are three times as many,
 * and a core then looks ahead over fewer lines of memory: one row reached 17 of 30 GB/s.)
 */
template <int LD> struct Step<LD, bf16, 1> {
  typedef bf16 Type;
  static constexpr int apart = LD, bytes = sizeof(bf16);
  template <int NV> static FN void load(vf (&w)[NV], const bf16* p) {
    if constexpr (NV % 2 > 0) UNROLL for (int v = 0; v < NV; v++) w[v] = ld(vf{}, p + v * LANES);
    else UNROLL for (int v = 0; v < NV; v += 2) {
      const vf words = ld_words(p + v * LANES);
      w[v] = number_of<2>(words, 0);
      w[v + 1] = number_of<2>(words, 1);
    }
  }
  template <int NV> static FN void permute_in(vf (&s)[NV]) {
    if constexpr (NV % 2 == 0) UNROLL for (int v = 0; v < NV; v += 2) { const vf a = s[v], b = s[v + 1]; s[v] = MIX(UNZIP, 0, a, b); s[v + 1] = MIX(UNZIP, 1, a, b); }
  }
  template <int NV> static FN void permute_out(vf (&s)[NV]) {
    if constexpr (NV % 2 == 0) UNROLL for (int v = 0; v < NV; v += 2) { const vf a = s[v], b = s[v + 1]; s[v] = MIX(ZIP, 0, a, b); s[v + 1] = MIX(ZIP, 1, a, b); }
  }
};
#endif
template <int R, int STEP, class T = f32> struct Rows {
  const T* r[R]; bool cold;
  /** Sets the pointers. cold: this thread has not read the rows yet, so they are prefetched. */
  template <class F> FN void bind(ix n, bool first, F f) { cold = first; NO_UNROLL for (ix i = 0; i < n; i++) r[i] = f(i); }
  /** Calls `prefetch` with each cache line of rows x .. x + n. */
  template <class F> FN void lines(ix x, ix n, ix depth, F prefetch) const {
    NO_UNROLL for (ix i = x; i < x + n; i++) for (ix k = 0; k < depth; k += LINE / (ix)sizeof(T)) prefetch(r[i] + k);
  }
};
template <class A> FN bool is_cold(const A&) { return false; }
template <int R> FN bool is_cold(const Rows<R, 1>& a) { return a.cold; }
template <class A, class F> FN void prefetch_rows(const A&, ix, ix, ix, F) {}
template <int R, class F> FN void prefetch_rows(const Rows<R, 1>& a, ix x, ix n, ix depth, F prefetch) { a.lines(x, n, depth, prefetch); }
/** Where the next right operand will be copied from: `rows` rows of `width` floats, `step` apart. p null: unknown. */
struct NextOperand {
  const f32* p; ix step, width, rows;
  /** The share of its lines to prefetch while columns c .. c + s of C are computed. */
  FN PrefetchStream share(ix c, ix s, ix C) const {
    if (!p) return {};
    const ix row = (width + 15) / 16, from = row * rows * c / C;
    return {(const char*)(p + from / row * step), step * 4, width * 4, row * rows * (c + s) / C - from, from % row * LINE, 0};
  }
};
/** A right operand read in place, see in_place. */
template <int LD, class T> struct InPlace {
  static constexpr bool follows = false;
  const T *p, *next;
  template <int S> using Step = ::Step<LD, T>;
  FN ix columns(ix c) const { return c; }
  FN const T* strip(ix c, ix) const { return p + c; }
  FN const T* after(ix, ix) const { return nullptr; }
  FN PrefetchStream fetch(ix c, ix s, ix, ix depth) const {
    if (!next) return {};
    const ix bytes = s * (ix)sizeof(T);
    return {(const char*)(next + c), LD * (ix)sizeof(T), bytes, depth * ((bytes + LINE - 1) / LINE), 0, 0};
  }
};
/** The columns of one register tile, with a list of pointers, one for each step of the depth. */
struct RowPointers {
  static constexpr bool follows = false;
  const f32* const* rows;
  template <int S> struct Step {
    typedef const f32* Type;
    static constexpr int apart = 1, bytes = sizeof(f32);
    template <int NV> static FN void load(vf (&w)[NV], const f32* const* p) { ::Step<S>::load(w, *p); }
    template <int NV> static FN void permute_in(vf (&)[NV]) {}
    template <int NV> static FN void permute_out(vf (&)[NV]) {}
  };
  FN ix columns(ix c) const { return c; }
  FN const f32* const* strip(ix, ix) const { return rows; }
  FN const f32* const* after(ix, ix) const { return nullptr; }
  FN PrefetchStream fetch(ix, ix, ix, ix) const { return {}; }
};
/** n columns rounded up to whole register tiles, at most W: only these are copied and multiplied. */
FN ix round_to_tiles(ix n, ix W) { constexpr ix S = TILE_VECTORS * LANES; return n < W / S * S ? (n + S - 1) / S * S : W; }
/** A right operand packed into strips as wide as a register tile, each stored depth by depth. `ahead`: what the next one will be copied from. */
struct PackedStrips {
  static constexpr bool follows = false;
  const f32* p; NextOperand ahead; ix n;
  template <int S> using Step = ::Step<S>;
  FN ix columns(ix c) const { return round_to_tiles(n, c); }
  FN const f32* strip(ix c, ix depth) const { return p + c * depth; }
  FN const f32* after(ix, ix) const { return nullptr; }
  FN PrefetchStream fetch(ix c, ix s, ix C, ix) const { return ahead.share(c, s, C); }
};
/** `n` columns in panels that are `step` apart; a step of the depth takes N rows of a panel. `next`: what will be read after the last panel. */
template <int W, class T, int N> struct Panels {
  /** The strip that follows in memory is the next to be read. */
  static constexpr bool follows = true;
  template <int S> using Step = ::Step<N * W, T, N>;
  const T* p; ix step, n; const T* next;
  FN ix columns(ix) const { return n; }
  FN const T* strip(ix c, ix) const { return p + c / W * step + c % W; }
  /** What is read after the strip that ends at column c. */
  FN const T* after(ix c, ix depth) const { return c < n ? strip(c, depth) : next; }
  FN PrefetchStream fetch(ix c, ix s, ix, ix depth) const {
    constexpr ix E = sizeof(T);
    return {(const char*)after(c + s, depth), W * E, s * E, depth * N * s * E / LINE, 0, 0};
  }
};
template <int W, class T> FN Panels<W, T, 1> panels(const T* p, ix step, ix n, const void* next) { return {p, step, n, (const T*)next}; }
/** Rows of a register tile. */
constexpr int MR = 6;
/** A left operand packed into micro-panels of MR rows, each stored depth by depth. */
struct MicroPanels { const f32* p; };
template <class B> constexpr bool is_in_place = false;
template <int LD, class T> constexpr bool is_in_place<InPlace<LD, T>> = true;
/** An operand read in place, its rows LD apart. `next`, if not null: an operand with the same layout that will be read after it. */
template <int LD, class T> FN InPlace<LD, T> in_place(const T* p, const void* next = nullptr) { return {p, (const T*)next}; }
/** An operand read in place that has N columns, fewer than its one register tile, which is filled up with zeros. */
template <int LD, int N> struct InPlaceNarrow : InPlace<LD, f32> {
  template <int S> struct Step : ::Step<LD, f32> {
    template <int NV> static FN void load(vf (&w)[NV], const f32* p) {
      UNROLL for (int v = 0; v < NV; v++) {
        const int left = N - v * LANES;
        w[v] = left >= LANES ? ld(vf{}, p + v * LANES) : left > 0 ? ld(Tail{left}, p + v * LANES) : vf{};
      }
    }
  };
};
template <int LD, int N> constexpr bool is_in_place<InPlaceNarrow<LD, N>> = true;
template <int LD, int N> FN InPlaceNarrow<LD, N> in_place_narrow(const f32* p) { return {{p, nullptr}}; }
/** `n` columns, each contiguous; as many at `next` will be read after them. */
template <int LD, class T> struct KMajor { const T *p, *next; ix n; };
template <int LD, class T> FN KMajor<LD, T> k_major(const T* p, ix n, const T* next) { return {p, next, n}; }
/** The same, for more rows than a register tile's. */
template <int LD, class T> struct KMajorMany : KMajor<LD, T> {};
template <int LD, class T> FN KMajorMany<LD, T> k_major_many(const T* p, ix n, const T* next) { return {{p, next, n}}; }
/** An accumulator of R x C. If S < C it holds only S columns at a time: each strip of S is computed and used before the next. */
template <int R, int C, int S = C> struct Acc {
  alignas(64) f32 d[R][S];
  static FN ix column(ix j) { return S == C ? j : j % S; }
  FN void fill(f32 x) { NO_UNROLL for (ix i = 0; i < R * S; i += LANES) *(vf*)(&d[0][0] + i) = splat(x); }
  FN vf& at(vf, ix i, ix j) { return *(vf*)&d[i][column(j)]; }
  FN f32& at(f32, ix i, ix j) { return d[i][column(j)]; }
  FN vf& at(Tail, ix i, ix j) { return at(vf{}, i, j); }
};
/** An accumulator at an address in memory. */
template <int R, int C> FN Acc<R, C>& acc_at(f32* p) { return *(Acc<R, C>*)p; }
/** A transposed accumulator as the left operand. */
template <int C> struct Transposed { const f32* p; };
template <int R, int C> FN Transposed<C> transposed(const Acc<R, C>& a) { return {a.d[0]}; }
/** One f32 per row of an accumulator. */
template <int R> struct PerRow {
  f32 d[R];
  FN void fill(f32 x) { NO_UNROLL for (ix i = 0; i < R; i++) d[i] = x; }
  template <class V> FN f32& at(V, ix i, ix) { return d[i]; }
};
/** The left operand as a register tile gets it: one pointer, since larger arguments would be passed in memory. */
template <int STEP> struct RowsAt { const f32* const* p; FN f32 at(int i, ix k) const { return p[i][k * STEP]; } };
/** Rows that begin `by` elements later. */
template <int R, int STEP> struct ShiftedRows { const Rows<R, STEP>& rows; ix by; };
template <int R, int STEP> FN ShiftedRows<R, STEP> shifted(const Rows<R, STEP>& rows, ix by) { return {rows, by}; }
template <int STEP> struct ShiftedAt { const f32* const* p; ix by; FN f32 at(int i, ix k) const { return p[i][k * STEP + by]; } };
/** The same rows at `n` offsets in turn, each with its own right operand (a convolution's taps). */
template <int STEP, class T> struct TapsAt {
  const f32* const* p; const ix* by; const T* const* b; ix n;
  FN ShiftedAt<STEP> tap(ix t) const { return {p, by[t]}; }
};
template <class A> constexpr bool is_taps = false;
template <int STEP, class T> constexpr bool is_taps<TapsAt<STEP, T>> = true;
template <int R, int STEP, class T> struct TapRows { const Rows<R, STEP>& rows; const ix* by; const T* const* b; ix n; };
template <int C> struct AccAt { const f32* p; FN f32 at(int i, ix k) const { return p[i * C + k]; } };
template <int LD> struct TransposedAt { const f32* p; FN f32 at(int i, ix k) const { return p[k * LD + i]; } };
struct MicroPanelAt { const f32* p; FN f32 at(int i, ix k) const { return p[k * MR + i]; } };
template <int R, int S> FN RowsAt<S> tile_at(const Rows<R, S>& a, ix r, ix) { return {a.r + r}; }
template <int R, int S> FN ShiftedAt<S> tile_at(const ShiftedRows<R, S>& a, ix r, ix) { return {a.rows.r + r, a.by}; }
template <int R, int S, class T> FN TapsAt<S, T> tile_at(const TapRows<R, S, T>& a, ix r, ix) { return {a.rows.r + r, a.by, a.b, a.n}; }
template <int R, int C> FN AccAt<C> tile_at(const Acc<R, C>& a, ix r, ix) { return {a.d[r]}; }
template <int C> FN TransposedAt<C> tile_at(const Transposed<C>& a, ix r, ix) { return {a.p + r}; }
FN MicroPanelAt tile_at(const MicroPanels& a, ix r, ix depth) { return {a.p + r / MR * (MR * depth + LANES)}; }
/** The height of the next register tile, with `left` rows to go: six, but the last 7 to 11 are split evenly (not those of MicroPanels). */
template <class A> FN ix height(const A&, ix left) { return left >= 12 || left == 6 ? 6 : left > 6 ? (left + 1) / 2 : left; }
FN ix height(const MicroPanels&, ix left) { return ix_min(left, MR); }
/** The heights (as bits) of the register tiles of `left` rows: of MicroPanels, or as `height` has them. */
constexpr int heights_of(ix left, bool fixed) {
  int all = 0;
  while (left > 0) {
    const ix h = left >= 12 || left == 6 || (fixed && left > 6) ? 6 : left > 6 ? (left + 1) / 2 : left;
    all |= 1 << h; left -= h;
  }
  return all;
}
/** A number of rows that is one of N: only their register tiles are compiled. */
template <ix... N> struct OneOf { ix n; FN operator ix() const { return n; } };
/** What the type of a number of rows says of it. `heights`: of numbers above `low`, up to `high`. */
template <class N> struct Count {
  static constexpr ix least = 0, most = 1 << 30;
  static constexpr int heights(bool fixed, ix low, ix high) { int all = 0; for (ix n = low + 1; n <= high && n <= low + 2 * 6; n++) all |= heights_of(n, fixed); return all; }
  static constexpr int from(int low) { return low; }
  static constexpr int to(int high) { return high; }
};
template <ix FIRST, ix... N> struct Count<OneOf<FIRST, N...>> {
  static constexpr ix extreme(ix sign) { ix x = FIRST; (..., (x = sign * N > sign * x ? N : x)); return x; }
  static constexpr ix least = extreme(-1), most = extreme(1);
  static constexpr int heights_if(ix n, bool fixed, ix low, ix high) { return n > low && n <= high ? heights_of(n, fixed) : 0; }
  static constexpr int heights(bool fixed, ix low, ix high) { return (heights_if(FIRST, fixed, low, high) | ... | heights_if(N, fixed, low, high)); }
  static constexpr int from(int low) { return least > low ? least : low; }
  static constexpr int to(int high) { return most < high ? most : high; }
};
template <class A> constexpr bool has_fixed_height = false;
template <> constexpr bool has_fixed_height<MicroPanels> = true;
/** The constraint of `asm` for a register that holds a vector. */
#if defined(__AVX512F__)
#define IN_VECTOR_REGISTER "v"
#elif defined(__x86_64__)
#define IN_VECTOR_REGISTER "x"
#elif defined(__aarch64__)
#define IN_VECTOR_REGISTER "w"
#else
#define IN_VECTOR_REGISTER "m"
#endif
/** Keeps x in a register. Compilers otherwise load it again for each use, and then loads take longer than FMAs. */
FN void keep_in_register(vf& x) { asm("" : "+" IN_VECTOR_REGISTER(x)); }
/** s + x * w, rounded once. */
template <class A> FN vf plus_product(const A&, vf s, vf x, vf w) { return fma_(x, w, s); }

#if defined(__AVX512BF16__) && LANES == 16
// ---- bf16 operands in words: a 32-bit word has two steps of the depth, the first in its lower half. A step of such a product takes one word ----
/** A left operand in such words. */
template <class A> struct Words { A words; };
template <class A> FN Words<A> in_words(const A& words) { return {words}; }
template <class A> struct WordsAt { A words; FN f32 at(int i, ix k) const { return words.at(i, k); } };
template <class A> FN auto tile_at(const Words<A>& a, ix r, ix depth) {
  const auto words = tile_at(a.words, r, depth);
  return WordsAt<decltype(tile_at(a.words, r, depth))>{words};
}
template <class A> FN bool is_cold(const Words<A>& a) { return is_cold(a.words); }
template <class A, class F> FN void prefetch_rows(const Words<A>& a, ix x, ix n, ix depth, F prefetch) { prefetch_rows(a.words, x, n, depth, prefetch); }
template <class A> FN ix height(const Words<A>& a, ix left) { return height(a.words, left); }
template <class A> constexpr bool has_fixed_height<Words<A>> = has_fixed_height<A>;
/** LANES words, made of two rows. */
FN vf word_vector(const bf16* low, const bf16* high) { return from_bits(__builtin_convertvector(*(const vh_at*)low, vi) | __builtin_convertvector(*(const vh_at*)high, vi) << 16); }
/** The products of the upper halves, then of the lower ones, each rounded once; what is below 2^-126 is zero. */
template <class A> FN vf plus_product(const WordsAt<A>&, vf s, vf x, vf w) { asm("vdpbf16ps %2, %1, %0" : "+v"(s) : "v"(x), "v"(w)); return s; }
typedef u16 vhh __attribute__((vector_size(64)));
/** Two numbers of 4 bits each (`fp4_number`), twice: a lookup takes five bits. */
#define FP4_EIGHT(sign) sign, sign | 0x3f00, sign | 0x3f80, sign | 0x3fc0, sign | 0x4000, sign | 0x4040, sign | 0x4080, sign | 0x40c0
alignas(64) constexpr u16 FP4_SHORT[32] = {FP4_EIGHT(0), FP4_EIGHT(0x8000), FP4_EIGHT(0), FP4_EIGHT(0x8000)};
/** Words of the two numbers of each byte. */
FN vf fp4_words(vi bytes) {
  const vhh indices = (vhh)(bytes | bytes << 12), table = *(const vhh*)FP4_SHORT;
  typedef short shorts __attribute__((vector_size(64)));
#if __has_builtin(__builtin_ia32_permvarhi512)
  return (vf)__builtin_ia32_permvarhi512((shorts)table, (shorts)indices);
#else
  return (vf)__builtin_ia32_permvarhi512_mask((shorts)table, (shorts)indices, shorts{}, -1);
#endif
}
typedef vhh vhh_at __attribute__((aligned(2), may_alias));
#define GROUP(l, x) l + x, l + x + 32, l + x + 1, l + x + 33, l + x + 2, l + x + 34, l + x + 3, l + x + 35
#define GROUPS(x) GROUP(0, x), GROUP(8, x), GROUP(16, x), GROUP(24, x)
#define QUARTERS(a, b, c, d) a, a + 1, a + 2, a + 3, b, b + 1, b + 2, b + 3, c, c + 1, c + 2, c + 3, d, d + 1, d + 2, d + 3
/** Rows in place, combined to words as they are loaded: one instruction per vector, which interleaves two rows in groups of four columns. */
template <int LD> struct Step<LD, bf16, 2> {
  typedef bf16 Type;
  static constexpr int apart = LD, bytes = 4;
  template <int NV> static FN void load(vf (&w)[NV], const bf16* p) {
    const bf16* const q = p + LD / 2;
    if constexpr (NV % 2 > 0) UNROLL for (int v = 0; v < NV; v++) w[v] = word_vector(p + v * LANES, q + v * LANES);
    else UNROLL for (int v = 0; v < NV; v += 2) {
      const vhh a = *(const vhh_at*)(p + v * LANES), b = *(const vhh_at*)(q + v * LANES);
      w[v] = (vf)__builtin_shufflevector(a, b, GROUPS(0));
      w[v + 1] = (vf)__builtin_shufflevector(a, b, GROUPS(4));
    }
  }
  template <int NV> static FN void permute_in(vf (&s)[NV]) {
    if constexpr (NV % 2 == 0) UNROLL for (int v = 0; v < NV; v += 2) {
      const vf a = s[v], b = s[v + 1];
      s[v] = __builtin_shufflevector(a, b, QUARTERS(0, 8, 16, 24));
      s[v + 1] = __builtin_shufflevector(a, b, QUARTERS(4, 12, 20, 28));
    }
  }
  template <int NV> static FN void permute_out(vf (&s)[NV]) {
    if constexpr (NV % 2 == 0) UNROLL for (int v = 0; v < NV; v += 2) {
      const vf a = s[v], b = s[v + 1];
      s[v] = __builtin_shufflevector(a, b, QUARTERS(0, 16, 4, 20));
      s[v + 1] = __builtin_shufflevector(a, b, QUARTERS(8, 24, 12, 28));
    }
  }
};
#endif
