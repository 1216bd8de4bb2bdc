// Products on units that multiply tiles of bf16 (AMX). After staging.hpp. T terms make a number: one, of bf16, or three. A number of f32 is the sum of three bf16, its terms, exactly; of the nine
// products of two numbers' terms the six greatest are summed, in f32: what is left out is below 2^-22 of the product, and of either sign. (Henry, Tang, Heinecke: Leveraging
// the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations, 2019.) Beyond that: a product of terms below 2^-126 is zero, and
// what is infinite makes NaN.
#if (defined(__AMX_BF16__) || defined(__AMXBF16__)) && LANES == 16  // clang++ 14 names it so
/** A tile register: 16 rows (of a left operand), or columns (of a right one), of 32 steps of the depth, step p beside step p + 16. In u16. */
constexpr ix TILE_SIDE = 16, TILE_DEEP = 32, TILE = TILE_SIDE * TILE_DEEP;
/** A left operand: term t of rows 16 r .., steps 32 k .. is tile (r * blocks + k) * T + t. */
template <int T> struct Split { u16* p; ix blocks; };
/** The same for products with a transposed weight, which are computed transposed: in each tile row p is step p beside step p + 16, of 16 rows. */
template <int T> struct SplitTransposed { u16* p; ix blocks; };
FN ix blocks_of(ix depth) { return (depth + TILE_DEEP - 1) / TILE_DEEP; }

// ---- terms ----
/** x with 8 significant bits: truncated, and rounded to nearest. */
FN vi cut(vi x) { return x & (i32)0xffff0000; }
FN vi near(vi x) { return cut(x + 0x8000); }
/** Writes the terms of a's numbers, each beside that of b's, `TILE` apart. */
template <int T> FN void store_terms(u16* to, vf a, vf b) {
  UNROLL for (int t = 0; t < T; t++, to += TILE) {
    const vi u = t == 1 ? near(bits(a)) : cut(bits(a)), v = t == 1 ? near(bits(b)) : cut(bits(b));
    *(vi_at*)to = (vi)((vu)u >> 16) | v;
    a -= from_bits(u); b -= from_bits(v);
  }
}
/** Loads the first n of 16 lanes; none if n < 0. */
template <class E> FN vf ld_first(ix n, const E* p) { return ld(Tail{(i32)ix_max(0, ix_min(LANES, n))}, p); }
/** The prefetch distance in steps of the depth. 16 rows are read in turn, and each is too short for the hardware's prefetcher. */
constexpr ix SPLIT_SOON = 8 * TILE_DEEP;
/** Splits a left operand whose rows are contiguous along the depth. */
template <int T, int R, class E> FN Split<T> split_rows(f32* to, ix n, ix depth, const Rows<R, 1, E>& a) {
  const Split<T> s = {(u16*)to, blocks_of(depth)};
  u16* at = s.p;
  NO_UNROLL for (ix r = 0; r < n; r += TILE_SIDE) {
    const E* const* row = a.r + r;
    const ix m = ix_min(TILE_SIDE, n - r);
    NO_UNROLL for (ix k = 0; k < depth; k += TILE_DEEP, at += T * TILE) {
      const bool here = k + SPLIT_SOON < depth;
      const E* const* soon = here || r + TILE_SIDE + m > n ? row : row + TILE_SIDE;
      const ix later = k + SPLIT_SOON - (here ? 0 : depth);
      NO_UNROLL for (ix i = 0; i < m; i++) {
        UNROLL for (ix x = 0; x < TILE_DEEP; x += LINE / (ix)sizeof(E)) __builtin_prefetch(soon[i] + later + x);
        if (k + TILE_DEEP <= depth) store_terms<T>(at + i * TILE_DEEP, ld(vf{}, row[i] + k), ld(vf{}, row[i] + k + LANES));
        else store_terms<T>(at + i * TILE_DEEP, ld_first(depth - k, row[i] + k), ld_first(depth - k - LANES, row[i] + k + LANES));
      }
    }
  }
  return s;
}
/** Loads and transposes a 16 x 16 block from column x on, of m rows of n columns that begin at r. */
template <class E> FN void load_transposed_block(vf (&w)[LANES], const E* const* r, ix m, ix x, ix n) {
  if (m >= LANES && n - x >= LANES) UNROLL for (ix i = 0; i < LANES; i++) w[i] = ld(vf{}, r[i] + x);
  else UNROLL for (ix i = 0; i < LANES; i++) w[i] = i < m ? ld_first(n - x, r[i] + x) : vf{};
  transpose(w);
}
/** A tile of terms, of 32 rows or columns that are two times 16. */
template <int T> FN void store_tile(u16* to, const vf (&low)[LANES], const vf (&high)[LANES]) { UNROLL for (int i = 0; i < TILE_SIDE; i++) store_terms<T>(to + i * TILE_DEEP, low[i], high[i]); }
/** Splits the same rows for products that are computed transposed. */
template <int T, int R, class E> FN SplitTransposed<T> split_transposed(f32* to, ix n, ix depth, const Rows<R, 1, E>& a) {
  const SplitTransposed<T> s = {(u16*)to, blocks_of(depth)};
  u16* at = s.p;
  NO_UNROLL for (ix r = 0; r < n; r += TILE_SIDE) NO_UNROLL for (ix k = 0; k < depth; k += TILE_DEEP, at += T * TILE) {
    vf low[LANES], high[LANES];
    load_transposed_block(low, a.r + r, n - r, k, depth);
    load_transposed_block(high, a.r + r, n - r, k + LANES, depth);
    store_tile<T>(at, low, high);
  }
  return s;
}
/** Block b of a left operand, of which m steps of the depth are n numbers from r on. */
template <int T, class E> NOINLINE void split_block(Split<T> s, ix b, const E* const* r, ix m, ix n) {
  NO_UNROLL for (ix x = 0; x < n; x += TILE_SIDE) {
    vf low[LANES], high[LANES];
    load_transposed_block(low, r, m, x, n);
    load_transposed_block(high, r + LANES, m - LANES, x, n);
    store_tile<T>(s.p + (x / TILE_SIDE * s.blocks + b) * T * TILE, low, high);
  }
}
/** Splits a left operand; step k of the depth begins at *row(k). */
template <int T, class F> FN Split<T> split_steps(f32* to, ix n, ix depth, F row) {
  const Split<T> s = {(u16*)to, blocks_of(depth)};
  NO_UNROLL for (ix b = 0, k = 0; k < depth; b++, k += TILE_DEEP) {
    decltype(row(0)) r[TILE_DEEP];
    const ix m = ix_min(TILE_DEEP, depth - k);
    NO_UNROLL for (ix i = 0; i < m; i++) r[i] = row(k + i);
    split_block(s, b, r, m, n);
  }
  return s;
}
/** Splits a left operand of computed elements (x, k), with at most R rows. */
template <int T, int R, int L, class F> FN Split<T> split_computed(f32* to, ix n, ix depth, F f) {
  alignas(64) f32 computed[TILE_DEEP][R + LANES];
  const f32* r[TILE_DEEP];
  NO_UNROLL for (ix i = 0; i < TILE_DEEP; i++) r[i] = computed[i];
  const Split<T> s = {(u16*)to, blocks_of(depth)};
  NO_UNROLL for (ix b = 0, k = 0; k < depth; b++, k += TILE_DEEP) {
    const ix m = ix_min(TILE_DEEP, depth - k);
    NO_UNROLL for (ix i = 0; i < m; i++) par<L>(n, [&](auto v, ix x) { st(v, computed[i] + x, f(v, x, k + i)); });
    split_block(s, b, r, m, n);
  }
  return s;
}

// ---- tile registers: 0 to 3 the sums of 2 x 2 tiles, 4 and 5 terms of the left operand, 6 and 7 of the right one ----
#ifndef EMULATED_TILES  // as tests do: test/host/tiles.hpp
template <int X> FN void tile_load(const void* p, ix step) { asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(step), "i"(X) : "memory"); }
template <int X> FN void tile_store(void* p, ix step) { asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(step), "i"(X) : "memory"); }
template <int X> FN void tile_zero() { asm volatile("tilezero %%tmm%c0" ::"i"(X)); }
template <int TO, int A, int B> FN void tile_dot() { asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(TO), "i"(A), "i"(B)); }
/** Configures the tile registers: the number of rows in the upper and in the lower tiles. */
FN void tile_shape(ix upper, ix lower) {
  alignas(64) u8 c[64] = {1};
  UNROLL for (int t = 0; t < 8; t++) { c[16 + 2 * t] = 64; c[48 + t] = (u8)(t > 5 ? TILE_SIDE : (t == 2 || t == 3 || t == 5) ? lower : upper); }
  asm volatile("ldtilecfg %0" ::"m"(c));
}
FN void tile_release() { asm volatile("tilerelease"); }
#endif
/** M x N tiles. */
template <int M, int N> struct Sums {
  static FN void zero() { tile_zero<0>(); if (N > 1) tile_zero<1>(); if (M > 1) tile_zero<2>(); if (M > 1 && N > 1) tile_zero<3>(); }
  template <int LD> static FN void load(const f32* c) {
    constexpr ix S = LD * 4;
    tile_load<0>(c, S); if (N > 1) tile_load<1>(c + TILE_SIDE, S);
    if (M > 1) tile_load<2>(c + TILE_SIDE * LD, S); if (M > 1 && N > 1) tile_load<3>(c + TILE_SIDE * LD + TILE_SIDE, S);
  }
  template <int LD> static FN void store(f32* c) {
    constexpr ix S = LD * 4;
    tile_store<0>(c, S); if (N > 1) tile_store<1>(c + TILE_SIDE, S);
    if (M > 1) tile_store<2>(c + TILE_SIDE * LD, S); if (M > 1 && N > 1) tile_store<3>(c + TILE_SIDE * LD + TILE_SIDE, S);
  }
  static FN void left(const u16* a, ix next) { tile_load<4>(a, 64); if (M > 1) tile_load<5>(a + next, 64); }
  static FN void right(const u16* b, ix next) { tile_load<6>(b, 64); if (N > 1) tile_load<7>(b + next, 64); }
  static FN void dot() { tile_dot<0, 4, 6>(); if (N > 1) tile_dot<1, 4, 7>(); if (M > 1) tile_dot<2, 5, 6>(); if (M > 1 && N > 1) tile_dot<3, 5, 7>(); }
  /** One block of the depth, smallest products first. A separate unit multiplies tiles; `more` is done meanwhile. */
  template <int T, class F> static FN void block(const u16* a, ix next_a, const u16* b, ix next_b, F more) {
    if constexpr (T == 1) { left(a, next_a); right(b, next_b); dot(); return more(); }
    left(a + 2 * TILE, next_a); right(b, next_b); dot();
    left(a + TILE, next_a); dot(); more();
    right(b + TILE, next_b); dot();
    left(a, next_a); dot(); more();
    right(b + 2 * TILE, next_b); dot();
    right(b, next_b); dot(); more();
  }
};

// ---- products ----
/** How many steps of the depth are split at a time: the terms of two tiles of columns then stay in L1. */
constexpr ix SPLIT_DEEP = 128, SPLIT_BLOCKS = SPLIT_DEEP / TILE_DEEP;
/** N tiles of columns: the terms of one lie after those of the one before, as long as if there were SPLIT_DEEP steps. */
template <int T> constexpr ix SPLIT_NEXT = SPLIT_BLOCKS * T * TILE;
/** Some columns of a right operand. Of a transposed one also how far its panels are apart, and how many columns there are. */
template <class E> struct RightColumns { const E* p; ix depth, step, n; };
/** A weight in panels of P, transposed: step k of column x lies at p[k / P * step + x * P + k % P]. Its columns are the rows of tiles. */
template <int P, class E> struct TransposedPanels {
  const E* p; ix step, n;
  static_assert(SPLIT_DEEP % P == 0 && P % TILE_DEEP == 0, "whole panels, and whole blocks of them");
  template <int S> using Step = ::Step<-P, E>;
  FN ix columns(ix c) const { return c; }
  FN RightColumns<E> from(ix c, ix depth) const { return {p + c * P, depth, step, n - c}; }
};
template <int P, class E> FN TransposedPanels<P, E> transposed_panels(const E* p, ix step, ix n) { return {p, step, n}; }
template <class B> using element_of = typename B::template Step<LANES>::Type;
template <class B> FN RightColumns<element_of<B>> from_of(const B& b, ix c, ix depth) {
  static_assert(B::template Step<LANES>::apart >= 0, "a negative distance is that of transposed panels");
  return {b.strip(c, depth), depth, 0, 0};
}
template <int P, class E> FN RightColumns<E> from_of(const TransposedPanels<P, E>& b, ix c, ix depth) { return b.from(c, depth); }
/** The terms of N x 16 columns of some steps, their rows LD apart, or of a transposed operand panels of -LD: made a little at a time, beside products. */
template <int N, int LD, int T, class E> struct ColumnSplitter {
  /** Of a part: steps of the depth; and how many parts have the same ones. */
  static constexpr ix deep = LD >= 0 ? TILE_DEEP : -LD, parts = LD >= 0 ? TILE_SIDE : N * TILE_SIDE;
  const E* from; u16* to; ix depth, step, n, i, blocks;
  static FN ColumnSplitter of(const RightColumns<E>& f, u16* to) {
    const ix depth = f.p ? ix_min(SPLIT_DEEP, f.depth) : 0;
    return {f.p, to, depth, f.step, f.n, 0, blocks_of(depth)};
  }
  FN ix left() const { return (depth + deep - 1) / deep * parts - i; }
  /** Rows k and k + 16 of a block, then of the next one: what is read by several streams waits less for memory. */
  FN void rows() {
    const ix b = i % blocks, k = i / blocks, low = depth - b * TILE_DEEP - k, high = low - TILE_SIDE;
    const E* const p = from + (b * TILE_DEEP + k) * LD;
    u16* const q = to + b * T * TILE + k * TILE_DEEP;
    if (high > 0) UNROLL for (int v = 0; v < N; v++) store_terms<T>(q + v * SPLIT_NEXT<T>, ld(vf{}, p + v * LANES), ld(vf{}, p + v * LANES + TILE_SIDE * LD));
    else UNROLL for (int v = 0; v < N; v++) store_terms<T>(q + v * SPLIT_NEXT<T>, low > 0 ? ld(vf{}, p + v * LANES) : vf{}, vf{});
    i++;
  }
  /** Column i, as a row. */
  FN void column() {
    u16* const at = to + i / TILE_SIDE * SPLIT_NEXT<T> + i % TILE_SIDE * TILE_DEEP;
    const ix d = i < n ? depth : 0;
    UNROLL for (ix k = 0; k < deep; k += TILE_DEEP) {
      if (k + TILE_DEEP <= d) store_terms<T>(at + k / TILE_DEEP * T * TILE, ld(vf{}, from + k), ld(vf{}, from + k + LANES));
      else if (k < depth) store_terms<T>(at + k / TILE_DEEP * T * TILE, ld_first(d - k, from + k), ld_first(d - k - LANES, from + k + LANES));
    }
    from += deep;
    if (++i < parts) return;
    i = 0; depth -= deep; to += deep / TILE_DEEP * T * TILE; from += step - parts * deep;
  }
  /** Not inlined, since each block of products calls it three times. */
  __attribute__((noinline)) void advance(ix most) {
    const ix n = ix_min(most, left());
    NO_UNROLL for (ix x = 0; x < n; x++) if constexpr (LD >= 0) rows(); else column();
  }
};
/** M x N tiles of sums, LD floats apart, over `blocks` of the depth. */
template <int T, int M, int N, int LD, class F> FN void tile_sums(bool fresh, const u16* a, ix next_a, const u16* b, ix next_b, ix blocks, f32* c, F more) {
  typedef Sums<M, N> S;
  if (fresh) S::zero();
  else S::template load<LD>(c);
  NO_UNROLL for (ix k = 0; k < blocks; k++, a += T * TILE, b += T * TILE) S::template block<T>(a, next_a, b, next_b, more);
  S::template store<LD>(c);
}
/** All rows by N tiles of columns, for some steps of the depth. */
template <int N, int LD, int T, class F> FN void split_rows_of(bool fresh, const Split<T>& a, ix rows, const u16* b, ix blocks, f32* acc, F more) {
  constexpr ix PAIR = 2 * TILE_SIDE;
  const ix next = a.blocks * T * TILE;
  const u16* at = a.p; ix r = 0;
  if (rows >= PAIR) tile_shape(TILE_SIDE, TILE_SIDE);
  NO_UNROLL for (; r + PAIR <= rows; r += PAIR, at += 2 * next, acc += PAIR * LD) tile_sums<T, 2, N, LD>(fresh, at, next, b, SPLIT_NEXT<T>, blocks, acc, more);
  if (r == rows) return;
  tile_shape(ix_min(TILE_SIDE, rows - r), ix_max(1, rows - r - TILE_SIDE));
  if (r + TILE_SIDE < rows) tile_sums<T, 2, N, LD>(fresh, at, next, b, SPLIT_NEXT<T>, blocks, acc, more);
  else tile_sums<T, 1, N, LD>(fresh, at, next, b, SPLIT_NEXT<T>, blocks, acc, more);
}
/** N tiles of columns by all rows, transposed: accumulators have a row for each column. */
template <int N, int LD, int T, class F> FN void split_rows_of(bool fresh, const SplitTransposed<T>& a, ix rows, const u16* b, ix blocks, f32* acc, F more) {
  const ix next = a.blocks * T * TILE;
  const u16* at = a.p; ix r = 0;
  tile_shape(TILE_SIDE, TILE_SIDE);
  NO_UNROLL for (; r + TILE_SIDE < rows; r += 2 * TILE_SIDE, at += 2 * next) tile_sums<T, N, 2, LD>(fresh, b, SPLIT_NEXT<T>, at, next, blocks, acc + r, more);
  if (r < rows) tile_sums<T, N, 1, LD>(fresh, b, SPLIT_NEXT<T>, at, next, blocks, acc + r, more);
}
/** Where the sums of column c begin, in accumulators of rows LD apart. */
template <int LD, int T> constexpr ix place_of(const Split<T>&, ix c) { return c; }
template <int LD, int T> constexpr ix place_of(const SplitTransposed<T>&, ix c) { return c * LD; }
/** The operand without its first SPLIT_DEEP steps; p null: none are left. */
template <int LD, class E> FN RightColumns<E> after_some(const RightColumns<E>& f) {
  return f.depth > SPLIT_DEEP ? RightColumns<E>{f.p + (LD >= 0 ? SPLIT_DEEP * LD : SPLIT_DEEP / -LD * f.step), f.depth - SPLIT_DEEP, f.step, f.n} : RightColumns<E>{};
}
/** The terms of a right operand, double-buffered: of the steps being multiplied, and of the next ones. `computed`: the address whose terms are ready. */
template <int V, int T> struct Terms { alignas(64) u16 d[2][V * SPLIT_NEXT<T>]; int turn; const void* computed; };
/** V vectors of columns of a right operand, for accumulators of rows C apart. `next`: what will be multiplied then, if its rows lie as far apart. */
template <int V, int C, int LD, int T, class E, template <int> class A> __attribute__((noinline)) void split_strip(bool fresh, A<T> a, ix rows, RightColumns<E> b, f32* acc, RightColumns<E> next, Terms<V, T>& terms) {
  typedef ColumnSplitter<V, LD, T, E> Columns;
  if (terms.computed != b.p) Columns::of(b, terms.d[terms.turn]).advance(SPLIT_DEEP * V);
  for (bool first = true; first || b.p; first = false) {
    const ix blocks = blocks_of(ix_min(SPLIT_DEEP, b.depth));
    b = after_some<LD>(b);
    const RightColumns<E>& then = b.p ? b : next;
    Columns coming = Columns::of(then, terms.d[terms.turn ^ 1]);
    const ix each = coming.left() / ix_max(1, T * blocks * ((rows + 31) / 32) * ((V + 1) / 2)) + 1;
    const auto more = [&] { coming.advance(each); };
    const u16* const right = terms.d[terms.turn];
    NO_UNROLL for (int v = 0; v + 2 <= V; v += 2) split_rows_of<2, C>(fresh && first, a, rows, right + v * SPLIT_NEXT<T>, blocks, acc + place_of<C>(a, v * LANES), more);
    if (V % 2 > 0) split_rows_of<1, C>(fresh && first, a, rows, right + (V - 1) * SPLIT_NEXT<T>, blocks, acc + place_of<C>(a, (V - 1) * LANES), more);
    coming.advance(SPLIT_DEEP * V);
    terms.turn ^= 1; terms.computed = then.p;
    a.p += SPLIT_BLOCKS * T * TILE;
  }
}
/** What comes next, if its rows lie as far apart. */
template <class HERE, class THERE, int V, class E> FN RightColumns<element_of<HERE>> next_of(const RightColumns<E>& f) {
  typedef typename HERE::template Step<V * LANES> Here;
  typedef typename THERE::template Step<V * LANES> There;
  if constexpr (is_same<Here, There>) return f;
  else return {};
}
/** Strip c of an operand, and of those that are added to it, into accumulators of rows C apart; THEN: what `next` is of. */
template <int V, int C, class THEN, class A, class B, int R, int N, int S, class E, int T> FN void sum_split(bool fresh, const A& a, ix rows, ix depth, ix c, const Rhs<B, R, N, S>& o, f32* acc, const RightColumns<E>& next, Terms<V, T>& terms) {
  split_strip<V, C, B::template Step<V * LANES>::apart>(fresh, a, rows, from_of(o.b, c, depth), acc, next_of<B, THEN, V>(next), terms);
}
template <int V, int C, class THEN, class A, class O, class B, class E, int T> FN void sum_split(bool fresh, const A& a, ix rows, ix depth, ix c, const Plus<O, A, B>& o, f32* acc, const RightColumns<E>& next, Terms<V, T>& terms) {
  const auto b = from_of(o.right, c, o.depth);
  sum_split<V, C, B>(fresh, a, rows, depth, c, (const O&)o, acc, b, terms);
  split_strip<V, C, B::template Step<V * LANES>::apart>(false, o.a, rows, b, acc, next_of<B, THEN, V>(next), terms);
}
/** Strip c of an accumulator. */
template <int V, class THEN, class O, class E, int T> FN void add_split(bool fresh, const Split<T>& a, ix rows, ix depth, ix c, const O& o, const RightColumns<E>& next, Terms<V, T>& terms) {
  sum_split<V, O::kept, THEN>(fresh, a, rows, depth, c, o, o.acc.d[0] + o.acc.column(c), next, terms);
}
/** Transposes a matrix of whole tiles, rows C apart, into another, rows D apart. */
template <int C, int D> NOINLINE void transpose_tiles(const f32* from, ix n, ix m, f32* to) {
  NO_UNROLL for (ix i = 0; i < n; i += LANES) NO_UNROLL for (ix j = 0; j < m; j += LANES) {
    vf w[LANES];
    UNROLL for (int l = 0; l < LANES; l++) w[l] = *(const vf_at*)(from + (i + l) * C + j);
    transpose(w);
    UNROLL for (int l = 0; l < LANES; l++) if (j + l < m) *(vf_at*)(to + (j + l) * D + i) = w[l];
  }
}
template <int V, class THEN, class O, class E, int T> FN void add_split(bool fresh, const SplitTransposed<T>& a, ix rows, ix depth, ix c, const O& o, const RightColumns<E>& next, Terms<V, T>& terms) {
  constexpr int C = (O::R + 31) / 32 * 32, S = V * LANES;
  alignas(64) f32 transposed[S * C];
  f32* const acc = o.acc.d[0] + o.acc.column(c);
  if (!fresh) transpose_tiles<O::kept, C>(acc, rows, S, transposed);
  sum_split<V, C, THEN>(fresh, a, rows, depth, c, o, transposed, next, terms);
  transpose_tiles<C, O::kept>(transposed, S, rows, acc);
}
/** The same of several operands one after the other. */
template <int V, class THEN, class A, class E, int T, class O> FN void split_strips(bool fresh, const A& a, ix rows, ix depth, ix c, const RightColumns<E>& next, Terms<V, T>& terms, const O& o) { add_split<V, THEN>(fresh, a, rows, depth, c, o, next, terms); }
template <int V, class THEN, class A, class E, int T, class O, class P, class... Q> FN void split_strips(bool fresh, const A& a, ix rows, ix depth, ix c, const RightColumns<E>& next, Terms<V, T>& terms, const O& o, const P& p, const Q&... q) {
  add_split<V, typename P::B>(fresh, a, rows, depth, c, o, from_of(p.b, c, depth), terms);
  split_strips<V, THEN>(fresh, a, rows, depth, c, next, terms, p, q...);
}
/** Columns from .. to, by strips of V vectors. */
template <int V, int T, class A, class F, class O, class... P> FN void split_columns(bool fresh, const A& a, ix rows, ix depth, ix from, ix to, const F& epilogue, const O& o, const P&... more) {
  constexpr ix S = V * LANES;
  Terms<V, T> terms;
  terms.turn = 0; terms.computed = nullptr;
  NO_UNROLL for (ix c = from; c + S <= to; c += S) {
    split_strips<V, typename O::B>(fresh, a, rows, depth, c, c + 2 * S <= to ? from_of(o.b, c + S, depth) : RightColumns<element_of<typename O::B>>{}, terms, o, more...);
    if (epilogue.now) epilogue.after({0, rows, c, S});
  }
}
/** One whose strips are made and read one after the other. */
template <int R, int C> using StripAcc = Acc<R, C, vectors(C) * LANES>;
/** What `mma` below does, for both kinds of left operand. */
template <int T, class A, class F, class O, class... P> FN void mma_split(bool fresh, const A& a, ix rows, ix depth, const F& epilogue, const O& o, const P&... more) {
  constexpr int C = O::C, NV = vectors(C), REST = C / LANES % NV;
  const ix columns = columns_of(o, more...);
  split_columns<NV, T>(fresh, a, rows, depth, 0, columns, epilogue, o, more...);
  if constexpr (REST > 0) if (columns == C) split_columns<REST, T>(fresh, a, rows, depth, C - REST * LANES, C, epilogue, o, more...);
  tile_release();
}
/** acc += a @ b, and `then` on each part that is done. fresh: acc = a @ b, and what acc held does not matter. */
template <int T, class N, class F, class O, class... P> FN void mma(bool fresh, const Split<T>& a, N rows, ix depth, const F& epilogue, const O& o, const P&... more) { mma_split<T>(fresh, a, rows, depth, epilogue, o, more...); }
template <int T, class N, class F, class O, class... P> FN void mma(bool fresh, const SplitTransposed<T>& a, N rows, ix depth, const F& epilogue, const O& o, const P&... more) { mma_split<T>(fresh, a, rows, depth, epilogue, o, more...); }
#endif
