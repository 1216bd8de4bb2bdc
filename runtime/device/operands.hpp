// Operands of an mma on the host, and what is asked for beside it. After vector.hpp. Rows has a pointer per row (a gather costs nothing),
// STEP apart along the depth. Major lies as it is, element (x, k) at p[k * LD + x]. Panels lie in blocks of W columns, the depth in each.
// Along lies with its depth contiguous, element (x, k) at p[x * LD + k], and is turned in registers. Strips and Sixes are copies in the order of
// the register tiles: as many columns, or as many rows, as one of them takes, then the depth.
/** Lines of rows of `width` floats, `step` apart, that will be wanted after a strip: `rate` of them are asked for in 4096 steps of the depth. Null: none. */
struct Fetch {
  const f32* p; ix step, width, lines, x, rate;
  FN Fetch over(ix steps) const { return {p, step, width, p ? lines : 0, x, p ? (lines << 12) / ix_max(1, steps) + 1 : 0}; }
  FN void some(ix most) {
    const ix n = ix_min(most, lines);
    const f32* at = p; ix y = x;
    ROLL for (ix k = 0; k < n; k++) {
      __builtin_prefetch(at + y, 0, 2);
      y += 16;
      if (y >= width) { y = 0; at += step; }
    }
    p = at; x = y; lines -= n;
  }
};
/**
 * What is asked for while a register tile is made: lines that were listed before, and some of what comes after the strip. A few at a time, for many at
 * once fill the core's line buffers, and the FMAs wait; in as few interruptions as that allows, for each takes some 5 cycles of a core that could do FMAs.
 */
struct Wanted {
  static constexpr ix most = 512, some = 4;
  const void* line[most + some]; ix lines;
  /** Not yet asked for; `groups` of some are, every `pace` steps of the depth, with `each` lines of `next`. */
  const void *const *at, *const *end; ix groups, pace, each; Fetch* next;
  FN void clear() { lines = 0; }
  FN void operator()(const void* p) { if (lines < most) line[lines++] = p; }
  /** The listed ones are spread over so many steps. The last is asked for again and again: a count that changes is guessed wrong. */
  FN void over(i32 steps, ix pace_of_next) {
    const i32 n = (i32)lines, g = n / (steps | 1) + 1, times = n / (i32)(some * g) + 1;
    UNROLL for (ix i = 0; i < some; i++) line[n + i] = n > 0 ? line[n - 1] : this;
    at = line; end = line + n; groups = g; pace = ix_max(some, ix_min(steps / times, pace_of_next) & ~1);
  }
  /** How often `next` wants to be asked for some. */
  static FN ix pace_of(const Fetch& f) { return f.rate > 0 ? (some << 12) / f.rate : 1 << 20; }
  FN Wanted& with(Fetch& f) { next = &f; each = f.lines > 0 ? (f.rate * pace >> 12) + 1 : 0; return *this; }
  FN ix till(ix k, ix depth) const { return ix_min(k + pace, depth); }
  FN void ask(ix) {
    ROLL for (ix g = 0; g < groups; g++) {
      UNROLL for (ix i = 0; i < some; i++) __builtin_prefetch(at[i], 0, 2);
      at += some;
      if (at > end) at = end;
    }
    if (each > 0) next->some(each);
  }
};
template <int R, int STEP> struct Rows {
  const f32* r[R]; bool cold;
  /** cold: this thread has not read them yet. */
  template <class F> FN void bind(ix n, bool first, F f) { cold = first; ROLL for (ix i = 0; i < n; i++) r[i] = f(i); }
  /** Names the lines of rows x .. x + n. */
  template <class F> FN void lines(ix x, ix n, ix depth, F soon) const {
    ROLL for (ix i = x; i < x + n; i++) for (ix k = 0; k < depth; k += 16) soon(r[i] + k);
  }
};
template <class A> FN bool is_cold(const A&) { return false; }
template <int R> FN bool is_cold(const Rows<R, 1>& a) { return a.cold; }
template <class A, class F> FN void ask_rows(const A&, ix, ix, ix, F) {}
template <int R, class F> FN void ask_rows(const Rows<R, 1>& a, ix x, ix n, ix depth, F soon) { a.lines(x, n, depth, soon); }
/** What the next right operand will be copied from: `rows` of `width` floats, `step` apart; null where nobody knows. */
struct Ahead {
  const f32* p; ix step, width, rows;
  /** Part c .. c + s of C. */
  FN Fetch share(ix c, ix s, ix C) const {
    if (!p) return {};
    const ix row = (width + 15) / 16, from = row * rows * c / C;
    return {p + from / row * step, step, width, row * rows * (c + s) / C - from, from % row * 16, 0};
  }
};
template <int LD> struct Major {
  static constexpr bool follows = false;
  const f32 *p, *next;
  template <int S> static constexpr ix pitch() { return LD; }
  FN ix columns(ix c) const { return c; }
  FN const f32* strip(ix c, ix) const { return p + c; }
  FN const f32* after(ix, ix) const { return nullptr; }
  FN Fetch fetch(ix, ix, ix, ix) const { return {}; }
};
struct Strips {
  static constexpr bool follows = false;
  const f32* p; Ahead ahead;
  template <int S> static constexpr ix pitch() { return S; }
  FN ix columns(ix c) const { return c; }
  FN const f32* strip(ix c, ix depth) const { return p + c * depth; }
  FN const f32* after(ix, ix) const { return nullptr; }
  FN Fetch fetch(ix c, ix s, ix C, ix) const { return ahead.share(c, s, C); }
};
/** `n` columns, panels `step` apart; after the last of them `next` will be wanted. */
template <int W> struct Panels {
  /** What comes after a strip in memory is wanted next. */
  static constexpr bool follows = true;
  const f32* p; ix step, n; const f32* next;
  template <int S> static constexpr ix pitch() { static_assert(W % S == 0, "panels as wide as a register tile"); return W; }
  FN ix columns(ix) const { return n; }
  FN const f32* strip(ix c, ix) const { return p + c / W * step + c % W; }
  /** What is wanted after the strip that ends at c. */
  FN const f32* after(ix c, ix depth) const { return c < n ? strip(c, depth) : next; }
  FN Fetch fetch(ix c, ix s, ix, ix depth) const { return {after(c + s, depth), W, s, depth * s / 16, 0, 0}; }
};
template <int W> FN Panels<W> panels(const f32* p, ix step, ix n, const f32* next) { return {p, step, n, next}; }
constexpr int SIX = 6;
struct Sixes { const f32* p; };
template <class B> constexpr bool is_major = false;
template <int LD> constexpr bool is_major<Major<LD>> = true;
/** Where it lies, rows LD apart; what lies alike at `next`, if that is not null, will be wanted after it. */
template <int LD> FN Major<LD> in_place(const f32* p, const f32* next = nullptr) { return {p, next}; }
/** `n` columns; as many at `next` will be wanted after them. */
template <int LD, class T> struct Along { const T *p, *next; ix n; };
template <int LD, class T> FN Along<LD, T> along(const T* p, ix n, const T* next) { return {p, next, n}; }
/** Of R x C; of its columns S are there at a time, where each strip of so many is made and read before the next. */
template <int R, int C, int S = C> struct Acc {
  alignas(64) f32 d[R][S];
  static FN ix column(ix j) { return S == C ? j : j % S; }
  FN void fill(f32 x) { ROLL for (ix i = 0; i < R * S; i += LANES) *(vf*)(&d[0][0] + i) = splat(x); }
  FN vf& at(vf, ix i, ix j) { return *(vf*)&d[i][column(j)]; }
  FN f32& at(f32, ix i, ix j) { return d[i][column(j)]; }
  FN vf& at(Some, ix i, ix j) { return at(vf{}, i, j); }
};
/** One that lies in memory. */
template <int R, int C> FN Acc<R, C>& acc_at(f32* p) { return *(Acc<R, C>*)p; }
/** A left operand whose rows are its columns. */
template <int C> struct Transposed { const f32* p; };
template <int R, int C> FN Transposed<C> transposed(const Acc<R, C>& a) { return {a.d[0]}; }
template <int R> struct Row {
  f32 d[R];
  FN void fill(f32 x) { ROLL for (ix i = 0; i < R; i++) d[i] = x; }
  template <class V> FN f32& at(V, ix i, ix) { return d[i]; }
};
/** The left operand as seen by a register tile: one pointer, for what is passed in memory is waited for. */
template <int STEP> struct RowsAt { const f32* const* p; FN f32 at(int i, ix k) const { return p[i][k * STEP]; } };
template <int C> struct AccAt { const f32* p; FN f32 at(int i, ix k) const { return p[i * C + k]; } };
template <int LD> struct TransposedAt { const f32* p; FN f32 at(int i, ix k) const { return p[k * LD + i]; } };
struct SixAt { const f32* p; FN f32 at(int i, ix k) const { return p[k * SIX + i]; } };
template <int R, int S> FN RowsAt<S> tile_at(const Rows<R, S>& a, ix r, ix) { return {a.r + r}; }
template <int R, int C> FN AccAt<C> tile_at(const Acc<R, C>& a, ix r, ix) { return {a.d[r]}; }
template <int C> FN TransposedAt<C> tile_at(const Transposed<C>& a, ix r, ix) { return {a.p + r}; }
FN SixAt tile_at(const Sixes& a, ix r, ix depth) { return {a.p + r / SIX * (SIX * depth + LANES)}; }
/** How many of the rows that are left the next register tile takes: six; the last 7 to 11 are split evenly where they may be. */
template <class A> FN ix height(const A&, ix left) { return left >= 12 || left == 6 ? 6 : left > 6 ? (left + 1) / 2 : left; }
FN ix height(const Sixes&, ix left) { return ix_min(left, SIX); }
template <class A> constexpr bool takes_six = false;
template <> constexpr bool takes_six<Sixes> = true;
