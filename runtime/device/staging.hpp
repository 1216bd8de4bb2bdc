// Operands that are copied for an mma, and those that are transposed as they are read. After tile.hpp.

// ---- staging by copy. Right operands of W columns; the last register tile is filled up with zeros ----
/** The index of element (x, k) in strips. */
template <int W> FN ix strip_index(ix x, ix k, ix depth) {
  constexpr ix S = vectors(W) * LANES, REST = W % S;
  const ix c = x / S * S;
  return c * depth + k * (REST > 0 && c + S > W ? REST : S) + x - c;
}
template <int W> FN void zero_pad(f32* to, ix n, ix k, ix depth) { NO_UNROLL for (ix x = n, all = round_to_tiles(n, W); x < all; x++) to[strip_index<W>(x, k, depth)] = 0.0f; }
/** Packs strips of computed elements: (x, k) is f(v, x, k). */
template <int W, int L, class F> FN PackedStrips pack(f32* to, ix n, ix depth, F f) {
  NO_UNROLL for (ix k = 0; k < depth; k++) {
    ix x = 0;
    if constexpr (L > 1) NO_UNROLL for (; x + L <= n; x += L) st(vf{}, to + strip_index<W>(x, k, depth), f(vf{}, x, k));
    NO_UNROLL for (; x < n; x++) to[strip_index<W>(x, k, depth)] = f(f32{}, x, k);
    zero_pad<W>(to, n, k, depth);
  }
  return {to, {}, n};
}
/** The prefetch distance of copies, in steps of the depth. */
constexpr ix COPY_PREFETCH_STEPS = 4;
/** Copies a strip of S columns from x on, prefetching rows `ahead` steps of the depth ahead. */
template <int S, class F> FN void copy_strip(f32* to, ix x, ix depth, ix ahead, F row) {
  NO_UNROLL for (ix k = 0; k < depth; k++, to += S) {
    const f32 *const from = row(k) + x, *const later = row(ix_min(k + ahead, depth - 1)) + x;
    UNROLL for (int y = 0; y < S; y += 16) __builtin_prefetch(later + y);
    UNROLL for (int y = 0; y < S; y += LANES) st(vf{}, to + y, ld(vf{}, from + y));
  }
}
/** Copies all W columns strip by strip: stores to consecutive lines stall less. */
template <int W, class F> FN void copy_strips(f32* to, ix depth, F row) {
  constexpr int S = vectors(W) * LANES, REST = W % S;
  constexpr ix ahead = COPY_PREFETCH_STEPS * ((W + S - 1) / S);
  NO_UNROLL for (ix x = 0; x + S <= W; x += S) copy_strip<S>(to + x * depth, x, depth, ahead, row);
  if constexpr (REST > 0) copy_strip<REST>(to + (W - REST) * depth, W - REST, depth, ahead, row);
}
/** Copies n of W columns to strips; row k begins at *row(k). If n < W, whole vectors are read where they do not run past the last row. */
template <int W, class F> FN PackedStrips pack_columns(f32* to, ix n, ix depth, NextOperand ahead, F row) {
  if (n == W) {
    copy_strips<W>(to, depth, row);
    return {to, ahead, n};
  }
  const f32* const end = depth > 0 ? row(depth - 1) + n : nullptr;
  const ix all = round_to_tiles(n, W);
  NO_UNROLL for (ix k = 0; k < depth; k++) {
    const f32* const from = row(k);
    if (from + all <= end) {
      NO_UNROLL for (ix x = 0; x < all; x += LANES) st(vf{}, to + strip_index<W>(x, k, depth), where(iota(vf{}, x) < (i32)n, ld(vf{}, from + x), 0.0f));
      continue;
    }
    NO_UNROLL for (ix x = 0; x < n; x++) to[strip_index<W>(x, k, depth)] = from[x];
    zero_pad<W>(to, n, k, depth);
  }
  return {to, ahead, n};
}
/** Rows LD apart in memory: read in place if one register tile takes all W columns, else copied. */
template <int W, int LD> FN auto in_place_or_pack(f32* to, const f32* p, ix depth, NextOperand ahead) {
  if constexpr (vectors(W) * LANES == W) return in_place<LD>(p, ahead.p);
  else return pack_columns<W>(to, W, depth, ahead, [&](ix k) { return p + k * LD; });
}
/** The same for rows at any addresses: a list of pointers to them if one register tile takes all W columns, else a copy. */
template <int W, class F> FN auto row_pointers(f32* to, ix depth, F row) {
  if constexpr (vectors(W) * LANES == W) {
    const f32** const rows = (const f32**)to;
    NO_UNROLL for (ix k = 0; k < depth; k++) rows[k] = row(k);
    return RowPointers{rows};
  } else return pack_columns<W>(to, W, depth, {}, row);
}
/** The smallest vector with at least six floats; wider ones would cross cache lines more often, and leave a longer tail. */
typedef f32 Eight __attribute__((vector_size(32), aligned(4), may_alias));
/** Packs a left operand to MicroPanels; step k of the depth begins at *row(k). What a vector writes past its MR rows is overwritten later, or falls in a gap. */
template <class F> FN MicroPanels pack_micro_panels(f32* to, ix n, ix depth, F row) {
  const ix next = MR * depth + LANES;
  NO_UNROLL for (ix k = 0; k < depth; k++) {
    const f32 *const from = row(k), *const later = row(ix_min(k + COPY_PREFETCH_STEPS, depth - 1));
    f32* panel = to + k * MR; ix x = 0;
    NO_UNROLL for (ix y = 0; y < n; y += 16) __builtin_prefetch(later + y);
    NO_UNROLL for (; x + 8 <= n; x += MR, panel += next) *(Eight*)panel = *(const Eight*)(from + x);
    NO_UNROLL for (; x < n; x += MR, panel += next) { const ix m = ix_min(MR, n - x); NO_UNROLL for (ix i = 0; i < m; i++) panel[i] = from[x + i]; }
  }
  return {to};
}
/** Calls f(v, j) for n elements: with vectors, then Some for the tail, or, if L is 1, with scalars. */
template <int L, class N, class F> FN void par(N n, F f) {
  ix j = 0;
  if constexpr (L > 1) {
    NO_UNROLL for (; j + L <= n; j += L) f(vf{}, j);
    if constexpr (has_tail<N>) if (j < n) f(Tail{(i32)(n - j)}, j);
  } else NO_UNROLL for (; j < n; j++) f(f32{}, j);
}
/** Packs computed elements (x, k) to MicroPanels, for at most R rows: SOME steps of the depth are computed at a time, then reordered. */
template <int R, int L, class F> FN MicroPanels pack_computed_micro_panels(f32* to, ix n, ix depth, F f) {
  constexpr ix SOME = 16;
  alignas(64) f32 computed[SOME][R + (LANES > MR ? LANES : MR)];  // vectors are read whole
  const ix next = MR * depth + LANES;
  NO_UNROLL for (ix k = 0; k < depth; k += SOME) {
    const ix m = ix_min(SOME, depth - k);
    NO_UNROLL for (ix i = 0; i < m; i++) par<L>(n, [&](auto v, ix x) { st(v, computed[i] + x, f(v, x, k + i)); });
    NO_UNROLL for (ix i = 0; i < m; i++) {
      f32* panel = to + (k + i) * MR;
      NO_UNROLL for (ix x = 0; x < n; x += MR, panel += next) UNROLL for (int l = 0; l < MR; l++) panel[l] = computed[i][x + l];
    }
  }
  return {to};
}
/** What a packed operand was made of: the values of all indices that it depends on. */
template <int N> struct Packed {
  ix of[N];
  FN Packed() { UNROLL for (int i = 0; i < N; i++) of[i] = -1; }
  /** How many steps of the depth to pack: none if the operand was made of the same. */
  FN ix steps(ix depth, const ix (&now)[N]) {
    bool same = true;
    UNROLL for (int i = 0; i < N; i++) { same = same && of[i] == now[i]; of[i] = now[i]; }
    return same ? 0 : depth;
  }
};
/** Packs a computed left operand to rows of D floats, with lanes along k. */
template <int R, int D, class F> FN Rows<R, 1> pack_rows(f32* to, ix n, ix depth, F f) {
  Rows<R, 1> rows; rows.cold = false;
  NO_UNROLL for (ix x = 0; x < n; x++) {
    f32* const row = to + x * D; ix k = 0;
    NO_UNROLL for (; k + LANES <= depth; k += LANES) st(vf{}, row + k, f(vf{}, x, k));
    NO_UNROLL for (; k < depth; k++) row[k] = f(f32{}, x, k);
    rows.r[x] = row;
  }
  return rows;
}
/** Patterns of MIX: lane l of the result that interleaves two vectors by single lanes, or by pairs, from the first (h = 1: second) half of each four. */
#define ONES(l, h) ((l) / 4 * 4 + 2 * h + (l) / 2 % 2 + (l) % 2 * LANES)
#define TWOS(l, h) ((l) / 4 * 4 + 2 * h + (l) % 2 + (l) / 2 % 2 * LANES)
/** The same by groups of four lanes: the even (h = 1: odd) groups of the first vector, then those of the second. */
#define FOURS(l, h) ((l) * 2 / LANES * LANES + (l) * 2 % LANES / 8 * 8 + h * 4 + (l) % 4)
/** Transposes LANES x LANES: 4 x 4 inside groups of four lanes, then the groups. It uses only shuffles that need no index vector. */
FN void transpose(vf (&r)[LANES]) {
  UNROLL for (int i = 0; i < LANES; i += 4) {
    const vf a = MIX(ONES, 0, r[i], r[i + 1]), b = MIX(ONES, 1, r[i], r[i + 1]), c = MIX(ONES, 0, r[i + 2], r[i + 3]), d = MIX(ONES, 1, r[i + 2], r[i + 3]);
    r[i] = MIX(TWOS, 0, a, c); r[i + 1] = MIX(TWOS, 1, a, c); r[i + 2] = MIX(TWOS, 0, b, d); r[i + 3] = MIX(TWOS, 1, b, d);
  }
#if LANES == 16
  UNROLL for (int i = 0; i < 4; i++) {
    const vf a = MIX(FOURS, 0, r[i], r[i + 4]), b = MIX(FOURS, 1, r[i], r[i + 4]), c = MIX(FOURS, 0, r[i + 8], r[i + 12]), d = MIX(FOURS, 1, r[i + 8], r[i + 12]);
    r[i] = MIX(FOURS, 0, a, c); r[i + 4] = MIX(FOURS, 0, b, d); r[i + 8] = MIX(FOURS, 1, a, c); r[i + 12] = MIX(FOURS, 1, b, d);
  }
#elif LANES == 8
  UNROLL for (int i = 0; i < 4; i++) { const vf a = MIX(FOURS, 0, r[i], r[i + 4]), b = MIX(FOURS, 1, r[i], r[i + 4]); r[i] = a; r[i + 4] = b; }
#endif
}
/** Packs the transpose of a weight in panels of P, where (x, k) is p[k / P * step + x * P + k % P], to strips. It is read in the order of memory. */
template <int W, int P, class T> NOINLINE PackedStrips pack_transposed_panels(f32* to, ix n, ix depth, const T* p, ix step, const f32* next) {
  constexpr ix B = P < LANES ? P : LANES;
  NO_UNROLL for (ix k = 0; k < depth; k += P, p += step) NO_UNROLL for (ix x = 0, all = round_to_tiles(n, W), m = ix_min(P, depth - k); x < all; x += B)
    NO_UNROLL for (ix c = 0; c < m; c += B)
      if (x + B <= n && c + B <= m && B == LANES) {
        vf r[LANES]; UNROLL for (int i = 0; i < LANES; i++) r[i] = ld(vf{}, p + (x + i) * P + c);
        transpose(r);
        UNROLL for (int i = 0; i < LANES; i++) st(vf{}, to + strip_index<W>(x, k + c + i, depth), r[i]);
      } else NO_UNROLL for (ix i = x; i < x + B; i++) for (ix l = c; l < ix_min(c + B, m); l++) to[strip_index<W>(i, k + l, depth)] = i < n ? ld(f32{}, p + i * P + l) : 0.0f;
  return {to, {next, step, n * P, depth / P}, n};
}
/** LANES rows by LANES columns of a weight of 4 bits, from p on, where bytes of two rows are P apart. */
template <int P, bool ROUNDED> FN void ld_fp4_rows(vf (&r)[LANES], const i8* p, const bf16* scales) {
  const vf scale = ld(vf{}, scales);
  UNROLL for (int i = 0; i < LANES; i++) {
    const vf x = fp4_number(fp4_bytes(p + i / 2 * P) >> i % 2 * 4) * scale;
    r[i] = ROUNDED ? round_bf16(x) : x;
  }
}
/**
 * Packs the transpose of a weight of 4 bits in panels of P to strips: columns are its rows, n of them, whole groups; the depth is its columns, whole panels.
 * ROUNDED: to numbers of bf16.
 */
template <int W, int P, bool ROUNDED> NOINLINE PackedStrips pack_transposed_fp4(f32* to, ix n, ix depth, const i8* p, const bf16* scales, ix step) {
  NO_UNROLL for (ix k = 0; k < depth; k += P, p += step, scales += step / FP4_BYTES) NO_UNROLL for (ix x = 0, all = round_to_tiles(n, W); x < all; x += LANES)
    NO_UNROLL for (ix c = 0; c < P; c += LANES) {
      vf r[LANES] = {};
      if (x < n) { ld_fp4_rows<P, ROUNDED>(r, p + x / 2 * P + c, scales + x / (2 * FP4_BYTES) * P + c); transpose(r); }
      UNROLL for (int i = 0; i < LANES; i++) st(vf{}, to + strip_index<W>(x, k + c + i, depth), r[i]);
    }
  return {to, {}, n};
}
/** N * LANES steps of a column from p on: numbers, or words of N. */
template <int N, class T> FN vf ld_steps(const T* p) { if constexpr (N > 1) return ld_words(p); else return ld(vf{}, p); }
/** Packs LANES columns by blocks of N steps a lane, from step k on while there are whole ones; returns the first step that is left. `some`: not zeros.
 * `ahead`: see load_transposed. */
template <int N, int W, class F> FN ix pack_transposed_blocks(f32* to, ix x, bool some, ix k, ix depth, F f, ix ahead) {
  NO_UNROLL for (; k + N * LANES <= depth; k += N * LANES) {
    vf r[LANES]; UNROLL for (int i = 0; i < LANES; i++) r[i] = some ? ld_steps<N>(f(x + i, k)) : vf{};
    if (some && ahead) UNROLL for (int i = 0; i < LANES; i++) __builtin_prefetch(f(x + i, k) + ahead, 0, 2);
    if (some) transpose(r);
    UNROLL for (int i = 0; i < LANES; i++) UNROLL for (int l = 0; l < N; l++) st(vf{}, to + strip_index<W>(x, k + N * i + l, depth), number_of<N>(r[i], l));
  }
  return k;
}
/** Packs an operand that is contiguous along k, element (x, k) at *f(x, k), by transposing blocks: of words of several steps, which are fewer. */
template <int W, class F> FN PackedStrips pack_transposed(f32* to, ix n, ix depth, F f, ix ahead = 0) {
  constexpr int N = per_word_of(decltype(f(0, 0))(nullptr));
  NO_UNROLL for (ix x = 0, all = round_to_tiles(n, W); x < all; x += LANES) {
    ix k = 0;
    if (x + LANES <= n || x >= n) {
      if constexpr (N > 1) k = pack_transposed_blocks<N, W>(to, x, x < n, k, depth, f, ahead);
      k = pack_transposed_blocks<1, W>(to, x, x < n, k, depth, f, ahead);
    }
    NO_UNROLL for (ix i = x; i < x + LANES; i++) for (ix c = k; c < depth; c++) to[strip_index<W>(i, c, depth)] = i < n ? ld(f32{}, f(i, c)) : 0.0f;
  }
  return {to, {}, n};
}

/** A weight of bf16 or i8 in panels of P: with few rows it is read in place, with more it is copied to W columns of f32. */
template <bool> struct Few {};
template <int P, int W, class T> struct NarrowPanels {
  Panels<P, T, 1> lies; f32* to; ix depth;
  FN const Panels<P, T, 1>& read(Few<true>) const { return lies; }
  FN PackedStrips read(Few<false>) const { return pack<W, LANES>(to, lies.n, depth, [&](auto v, ix x, ix k) { return ld(v, lies.strip(x, 0) + k * P); }); }
};
template <int P, int W, class T> FN NarrowPanels<P, W, T> narrow_panels(f32* to, const T* p, ix step, ix n, ix depth, const void* next) { return {{p, step, n, (const T*)next}, to, depth}; }
template <class N, class F> FN void dispatch_few_rows(N rows, F f) {
  typedef Count<N> Rows;
  if constexpr (Rows::least <= FEW_ROWS) if (Rows::most <= FEW_ROWS || rows <= FEW_ROWS) return f(Few<true>{});
  if constexpr (Rows::most > FEW_ROWS) f(Few<false>{});
}

// ---- a right operand whose depth is contiguous, for rows that fit one register tile ----
/** N * LANES steps of n columns; the missing ones repeat the last. Not inlined, or its address computations would be done for whole blocks too. */
template <int N, int LD, class T> __attribute__((noinline)) void some_columns(vf (&w)[LANES], const T* p, ix n) {
  NO_UNROLL for (ix i = 0; i < LANES; i++) w[i] = ld_steps<N>(p + ix_min(i, n - 1) * LD);
}
/** N * LANES steps of LANES columns. As many lines are prefetched, one `APART` behind the other: half of them from `ahead` on, half from `more` on. */
template <int N, int LD, int APART, class T> FN void whole_columns(vf (&w)[LANES], const T* p, const T* ahead, const T* more) {
  constexpr ix HALF = LANES / 2;
  UNROLL for (ix i = 0; i < LANES; i++) { w[i] = ld_steps<N>(p + i * LD); __builtin_prefetch(i < HALF ? ahead + i * APART : more + (i - HALF) * APART, 0, 2); }
}
/** Element `i` of columns of `depth` elements, one after the other. */
template <int LD, class T> FN const T* element_of_columns(const T* columns, ix i, ix depth) {
  if (depth == LD) return columns + i;
  const u32 column = (u32)i / (u32)depth;
  return columns + column * LD + (i - column * depth);
}
/**
 * Loads N * LANES steps from k on of n columns at p and transposes them, so that lanes are columns. Whole blocks prefetch as many lines of the columns at `next`,
 * in the order of memory: lines of the same steps, some KiB apart, take up to a third longer. Only where columns do not end with half a block's lines it is those.
 */
template <int N, int LD, class T> FN void load_transposed(vf (&w)[LANES], const T* p, ix n, const T* next, ix k, ix depth) {
  constexpr ix STEPS = N * LANES, HALF = STEPS * LANES / 2;
  if (n < LANES) {
    vf some[LANES]; some_columns<N, LD>(some, p + k, n);
    UNROLL for (ix i = 0; i < LANES; i++) w[i] = some[i];
  } else if (depth == LD || depth % HALF == 0) {
    whole_columns<N, LD, STEPS>(w, p + k, element_of_columns<LD>(next, k * LANES, depth), element_of_columns<LD>(next, k * LANES + HALF, depth));
  } else whole_columns<N, LD, LD>(w, p + k, next + k, next + k + LANES / 2 * LD);
  transpose(w);
}
/** Adds the products of blocks of N steps a lane, from step k on while there are whole ones; returns the first step that is left. */
template <int N, int LD, int M, class A, class E> FN ix k_major_blocks(vf (&s)[M], const A& a, const E* p, const E* next, ix n, ix k, ix depth) {
  vf w[LANES];
  NO_UNROLL for (; k + N * LANES <= depth; k += N * LANES) {
    load_transposed<N, LD>(w, p, n, next, k, depth);
    UNROLL for (int l = 0; l < LANES; l++) UNROLL for (int h = 0; h < N; h++) {
      const vf x = number_of<N>(w[l], h);
      UNROLL for (int i = 0; i < M; i++) s[i] = plus_product(a, s[i], splat(a.at(i, k + N * l + h)), x);
    }
  }
  return k;
}
/** M rows x LANES columns, summed in the order of `micro_kernel`, so bit for bit the same. */
template <int M, int C, int LD, class A, class E> __attribute__((noinline)) void micro_kernel_k_major(bool fresh, A a, const E* p, const E* next, ix n, f32* acc, ix depth) {
  vf s[M];
  UNROLL for (int i = 0; i < M; i++) s[i] = fresh ? vf{} : *(vf*)(acc + i * C);
  ix k = 0;
  if constexpr (per_word<E> > 1) k = k_major_blocks<per_word<E>, LD>(s, a, p, next, n, k, depth);
  k = k_major_blocks<1, LD>(s, a, p, next, n, k, depth);
  NO_UNROLL for (; k < depth; k++) {
    vf x = {};
    UNROLL for (ix l = 0; l < LANES; l++) if (l < n) x[l] = ld(f32{}, p + l * LD + k);
    UNROLL for (int i = 0; i < M; i++) s[i] = plus_product(a, s[i], splat(a.at(i, k)), x);
  }
  UNROLL for (int i = 0; i < M; i++) *(vf*)(acc + i * C) = s[i];
}
/** Calls `micro_kernel_k_major` for the number of rows, M to R. */
template <int M, int R, int C, int LD, class A, class E> FN void rows_k_major(ix rows, bool fresh, const A& a, const E* p, const E* next, ix n, f32* acc, ix depth) {
  if constexpr (M < R) if (rows > M) return rows_k_major<M + 1, R, C, LD>(rows, fresh, a, p, next, n, acc, depth);
  micro_kernel_k_major<M, C, LD>(fresh, tile_at(a, 0, depth), p, next, n, acc, depth);
}
/** Columns are prefetched so many bytes before they are read, or more: wide ones while those before them are read, narrow ones with those of the next operand. */
constexpr ix COLUMNS_AHEAD = 1 << 13;
template <int LD, class E> FN const E* next_columns(const KMajor<LD, E>& b, ix x) {
  if (LANES * LD * (ix)sizeof(E) < COLUMNS_AHEAD) return b.next + x * LD;
  return x + LANES < b.n ? b.p + (x + LANES) * LD : b.next;
}
/** acc += a @ b (see tile.hpp) for b's columns, rounded up to whole vectors. */
template <class A, class N, class T, int LD, class E, int R, int C> FN void mma(bool fresh, const A& a, N rows, ix depth, const T& epilogue, const Rhs<KMajor<LD, E>, R, C>& o) {
  static_assert(R <= MR, "one register tile's rows");
  if (rows == 0) return;
  constexpr ix W = LANES < 16 ? 16 : LANES;  // a part must have whole runs of 16 columns, whose sums `st_sum` makes
  NO_UNROLL for (ix c = 0; c < o.b.n; c += W) {
    const TileCoord part = {0, rows, c, W};
    if (epilogue.now) epilogue.before(part, [](const void* p) { __builtin_prefetch(p, 1, 2); });
    NO_UNROLL for (ix x = c; x < ix_min(c + W, o.b.n); x += LANES) rows_k_major<Count<N>::from(1), Count<N>::to(R), C, LD>(rows, fresh, a, o.b.p + x * LD, next_columns(o.b, x), o.b.n - x, o.acc.d[0] + x, depth);
    if (epilogue.now) epilogue.after(part);
  }
}

// ---- a right operand whose depth is contiguous, for more rows ----
/** So many steps of the depth of a register tile's columns stay in L1 until all rows are multiplied by them. */
constexpr ix TRANSPOSED_STEPS = 64;
/** The left operand from step `k` of its `depth` steps on. */
template <class A> struct Later { const A& a; ix k, depth; };
template <class A> struct LaterAt { A tile; ix by; FN f32 at(int i, ix k) const { return tile.at(i, by + k); } };
template <class A> FN auto tile_at(const Later<A>& a, ix r, ix) {
  const auto tile = tile_at(a.a, r, a.depth);
  return LaterAt<decltype(tile_at(a.a, r, a.depth))>{tile, a.k};
}
template <class A> FN ix height(const Later<A>& a, ix left) { return height(a.a, left); }
template <class A> constexpr bool has_fixed_height<Later<A>> = has_fixed_height<A>;
/** acc += a @ b (see tile.hpp), where b is transposed some steps at a time, while what lies at `next` is prefetched. */
template <class A, class N, class T, int LD, class E, int R, int C> FN void mma(bool fresh, const A& a, N rows, ix depth, const T& epilogue, const Rhs<KMajorMany<LD, E>, R, C>& o) {
  alignas(64) f32 some[TRANSPOSED_STEPS * C];
  NO_UNROLL for (ix k = 0; k < depth; k += TRANSPOSED_STEPS) {
    const ix steps = ix_min(TRANSPOSED_STEPS, depth - k);
    const PackedStrips part = pack_transposed<C>(some, o.b.n, steps, [&](ix x, ix y) { return o.b.p + x * LD + k + y; }, o.b.next - o.b.p);
    mma(fresh && k == 0, Later<A>{a, k, depth}, rows, steps, epilogue.when(epilogue.now && k + steps == depth), rhs(part, o.acc));
  }
}
