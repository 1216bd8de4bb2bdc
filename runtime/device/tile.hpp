// The tile operations of the kernel IR on the host, where a task runs on one thread. After memory.hpp, math.hpp and operands.hpp.
// An mma is cut into register tiles of up to 6 rows x 4 vectors (2 where there are 16 registers). An accumulator is a small array. Operands are copied
// only where they must be. The epilogue of an mma (`then`) runs on each register tile while it is in L1.
#if !defined(__clang__)  // g++ 12 believes that the tail of a part could run past its accumulator
#pragma GCC diagnostic ignored "-Waggressive-loop-optimizations"
#endif

/** x in every lane. */
FN vf broadcast(vf, vf x) { return x; }
FN vf broadcast(vf, f32 x) { return splat(x); }
FN vi broadcast(vf, vi x) { return x; }
FN vi broadcast(vf, i32 x) { return splat(x); }
FN vi broadcast(vf, bool x) { return as<vi>(x); }
template <class X> FN X broadcast(f32, X x) { return x; }
template <class X> FN auto broadcast(Tail, X x) { return broadcast(vf{}, x); }
FN f32 round_bf16(f32 x) { return from_bf16(to_bf16(x)); }
FN vf round_bf16(vf x) { return from_bits(to_bf16_bits(x) << 16); }

// ---- mma ----
/** A right operand with its accumulator. `add`: adds further products to the same rows and columns (see Plus and Taps). */
template <class RIGHT, int ROWS, int COLS, int KEPT = COLS> struct Rhs {
  typedef RIGHT B;
  static constexpr int R = ROWS, C = COLS, kept = KEPT;
  static constexpr bool alone = true, fixed_height = false;
  const B& b; Acc<ROWS, COLS, KEPT>& acc;
  FN ix columns() const { return b.columns(C); }
  FN ix deep() const { return 0; }
  struct Next { FN ix pace() const { return 1 << 20; } };
  FN Next next(ix, ix, ix) const { return {}; }
  template <int NV, int H> FN void add(ix, ix, ix, PrefetchQueue&, Next&) const {}
};
template <class B, int R, int C, int S> FN Rhs<B, R, C, S> rhs(const B& b, Acc<R, C, S>& acc) { return {b, acc}; }
/** The width of a register tile for W columns, in vectors. */
constexpr int vectors(int W) { return W / LANES < TILE_VECTORS ? W / LANES : TILE_VECTORS; }
/** With at most so many rows memory takes longer than the products; then some lines are prefetched in each step of the depth. */
constexpr ix FEW_ROWS = 4 * MR;
/** Prefetches `lines` lines of p every `pace` steps, from step `turn` on of `next`, if it is not null. Into L2, which can have more outstanding requests than L1. */
struct StripPrefetch {
  const char* p; ix lines, pace, turn; const char* next;
  FN ix next_step(ix k, ix depth) const { return lines > 0 ? ix_min(k + pace, depth) : depth; }
  FN void issue(ix k) {
    if (k == turn) { p = next; if (!next) lines = 0; }
    NO_UNROLL for (ix x = 0; x < lines; x++, p += LINE) __builtin_prefetch(p, 0, 2);
  }
};
/** One step of the depth: M rows times NV vectors of the right operand. */
template <class STEP, int M, int NV, class A> FN void multiply(vf (&s)[M][NV], const A& a, ix k, const typename STEP::Type* b) {
  vf w[NV];
  STEP::load(w, b);
  if (M > 1) UNROLL for (int v = 0; v < NV; v++) keep_in_register(w[v]);
  UNROLL for (int i = 0; i < M; i++) { const vf x = splat(a.at(i, k)); UNROLL for (int v = 0; v < NV; v++) s[i][v] = plus_product(a, s[i][v], x, w[v]); }
  asm volatile("");  // keeps steps apart: compilers that interleave them spill registers
}
/** All steps of the depth, two per iteration where there are six rows (5 to 10% less time on Intel: lines that miss L1 are fetched further ahead). */
template <class STEP, int M, int NV, class PREFETCH, class A> FN void steps(vf (&s)[M][NV], const A& a, const typename STEP::Type* b, ix depth, PREFETCH& prefetch) {
  constexpr int LD = STEP::apart;
  if constexpr (is_taps<A>) NO_UNROLL for (ix t = 0; t < a.n; t++) steps<STEP>(s, a.tap(t), a.b[t], depth, prefetch);
  else NO_UNROLL for (ix k = 0; k < depth;) {
    prefetch.issue(k);
    const ix end = prefetch.next_step(k, depth);
    if (M == MR) NO_UNROLL for (; k + 2 <= end; k += 2, b += 2 * LD) { multiply<STEP>(s, a, k, b); multiply<STEP>(s, a, k + 1, b + LD); }
    NO_UNROLL for (; k < end; k++, b += LD) multiply<STEP>(s, a, k, b);
  }
}
/** Computes a register tile. C: columns of the accumulator. PREFETCH, its prefetches: StripPrefetch, or PrefetchQueue& if their state continues in the next tile. */
template <int M, int NV, int C, class STEP, class PREFETCH, class A> __attribute__((noinline)) void micro_kernel(bool fresh, A a, const typename STEP::Type* b, f32* acc, ix depth, PREFETCH prefetch) {
  vf s[M][NV];
  UNROLL for (int i = 0; i < M; i++) {
    UNROLL for (int v = 0; v < NV; v++) s[i][v] = fresh ? vf{} : *(vf*)(acc + i * C + v * LANES);
    STEP::permute_in(s[i]);
  }
  steps<STEP>(s, a, b, depth, prefetch);
  UNROLL for (int i = 0; i < M; i++) {
    STEP::permute_out(s[i]);
    UNROLL for (int v = 0; v < NV; v++) *(vf*)(acc + i * C + v * LANES) = s[i][v];
  }
}
/** A register tile of h rows (up to six, one of the heights that the bits of H name) from row r on. */
template <int H, int NV, int C, class STEP, class PREFETCH, class A> FN void rows_of(ix h, bool fresh, const A& a, ix r, const typename STEP::Type* b, f32* to, ix depth, PREFETCH prefetch) {
  switch (h) {
    case 1: if constexpr (H >> 1 & 1) return micro_kernel<1, NV, C, STEP, PREFETCH>(fresh, tile_at(a, r, depth), b, to, depth, prefetch); break;
    case 2: if constexpr (H >> 2 & 1) return micro_kernel<2, NV, C, STEP, PREFETCH>(fresh, tile_at(a, r, depth), b, to, depth, prefetch); break;
    case 3: if constexpr (H >> 3 & 1) return micro_kernel<3, NV, C, STEP, PREFETCH>(fresh, tile_at(a, r, depth), b, to, depth, prefetch); break;
    case 4: if constexpr (H >> 4 & 1) return micro_kernel<4, NV, C, STEP, PREFETCH>(fresh, tile_at(a, r, depth), b, to, depth, prefetch); break;
    case 5: if constexpr (H >> 5 & 1) return micro_kernel<5, NV, C, STEP, PREFETCH>(fresh, tile_at(a, r, depth), b, to, depth, prefetch); break;
    case 6: if constexpr (H >> 6 & 1) return micro_kernel<6, NV, C, STEP, PREFETCH>(fresh, tile_at(a, r, depth), b, to, depth, prefetch); break;
  }
  __builtin_trap();
}
template <class A> struct held { typedef const A& type; };
template <int R, int STEP> struct held<ShiftedRows<R, STEP>> { typedef ShiftedRows<R, STEP> type; };
/** One more pair of operands for an accumulator. */
template <class O, class A, class RIGHT> struct Plus : O {
  static constexpr bool alone = false, fixed_height = O::fixed_height || has_fixed_height<A>;
  typename held<A>::type a; ix depth; const RIGHT& right;
  FN Plus(const O& o, const A& a, ix depth, const RIGHT& right) : O(o), a(a), depth(depth), right(right) {}
  FN ix columns() const { return ix_min(O::columns(), right.columns(O::C)); }
  FN ix deep() const { return O::deep() + depth; }
  struct Next {
    typename O::Next before; PrefetchStream own;
    FN ix pace() const { return ix_min(before.pace(), PrefetchQueue::pace_of(own)); }
  };
  FN Next next(ix c, ix s, ix tiles) const { return {O::next(c, s, tiles), right.fetch(c, s, O::C, depth).spread_over(tiles * depth)}; }
  template <int NV, int H> FN void add(ix h, ix r, ix c, PrefetchQueue& queue, Next& next) const {
    O::template add<NV, H>(h, r, c, queue, next.before);
    rows_of<H, NV, O::C, typename RIGHT::template Step<NV * LANES>, PrefetchQueue&>(h, false, a, r, right.strip(c, depth), this->acc.d[r] + c, depth, queue.with(next.own));
  }
};
template <class O, class A, class B> FN Plus<O, A, B> plus(const O& o, const A& a, ix depth, const B& right) { return {o, a, depth, right}; }
/** N more pairs of operands for an accumulator. The left operands are the rows `a`, each time beginning by[t] elements later. */
template <class O, class A, class RIGHT, int N> struct Taps : O {
  static constexpr bool alone = false;
  typedef typename O::Next Next;
  const A& a; ix depth; ix by[N]; RIGHT rights[N];
  FN ix columns() const { ix n = O::columns(); NO_UNROLL for (int t = 0; t < N; t++) n = ix_min(n, rights[t].columns(O::C)); return n; }
  FN ix deep() const { return O::deep() + N * depth; }
  template <int NV, int H> FN void add(ix h, ix r, ix c, PrefetchQueue& queue, Next& next) const {
    typedef typename RIGHT::template Step<NV * LANES> Step;
    PrefetchStream nothing = {};
    O::template add<NV, H>(h, r, c, queue, next);
    const typename Step::Type* b[N];
    NO_UNROLL for (int t = 0; t < N; t++) b[t] = rights[t].strip(c, depth);
    rows_of<H, NV, O::C, Step, PrefetchQueue&>(h, false, taps_of(a, by, b), r, nullptr, this->acc.d[r] + c, depth, queue.with(nothing));
  }
};
template <int R, int S, class T, int N> FN TapRows<R, S, T> taps_of(const Rows<R, S>& rows, const ix (&by)[N], const T* const (&b)[N]) { return {rows, by, b, N}; }
/** Taps whose right operands differ in type are added one by one. */
template <class O, class A, class RIGHT, class... MORE> FN auto taps_one_by_one(const O& o, const A& a, ix depth, const ix* by, const RIGHT& right, const MORE&... more) {
  const auto sum = plus(o, shifted(a, *by), depth, right);
  if constexpr (sizeof...(MORE) == 0) return sum;
  else return taps_one_by_one(sum, a, depth, by + 1, more...);
}
template <class O, class A, class RIGHT, class... MORE, int N> FN auto taps(const O& o, const A& a, ix depth, const ix (&by)[N], const RIGHT& right, const MORE&... more) {
  if constexpr ((is_same<RIGHT, MORE> && ...)) {
    Taps<O, A, RIGHT, N> all{o, a, depth, {}, {right, more...}};
    UNROLL for (int t = 0; t < N; t++) all.by[t] = by[t];
    return all;
  } else return taps_one_by_one(o, a, depth, by, right, more...);
}
/** Rows r .. r + h, columns c .. c + w of an accumulator. */
struct TileCoord { ix r, h, c, w; };
/** The first column of a part, of an operand in panels of W: parts are as wide as panels, so each is in one of them. */
template <int W> FN ix column_in_panel(TileCoord p) { static_assert(TILE_VECTORS * LANES == W, "panels as wide as a register tile"); return p.c; }
/** `before` prefetches what the epilogue of a part reads, `after` is the epilogue. Both run only if `now`. */
template <class B, class T> struct Epilogue {
  B before; T after; bool now;
  /** For a loop over the depth: only its last iteration runs the epilogue. */
  FN Epilogue when(bool last) const { return {before, after, last}; }
  /** Runs the epilogue for a whole accumulator to which no product was added. */
  FN void run(ix rows, ix columns) const { constexpr ix S = TILE_VECTORS * LANES; NO_UNROLL for (ix c = 0; c < columns; c += S) after({0, rows, c, S}); }
};
template <class X, class... P> FN const X& first(const X& x, const P&...) { return x; }
template <class B, class T> FN Epilogue<B, T> epilogue(B before, T after) { return {before, after, true}; }
FN auto no_epilogue() { return epilogue([](TileCoord, auto) {}, [](TileCoord) {}).when(false); }
/** The prefetch distance, in steps of the depth, for a strip that a single register tile reads. */
constexpr ix STRIP_PREFETCH_STEPS = 64;
/**
 * With at most so many rows nothing is prefetched, since the hardware's prefetcher is as fast: on Zen 4 six (prefetches cost 5 to 11% of memory's
 * bandwidth, and 20% of L3's from two rows), on Emerald Rapids one (from two rows they bring 30% from memory).
 */
constexpr ix NO_PREFETCH_ROWS = ZEN ? MR : 1;
/**
 * Of bf16 such rows prefetch their own strip so many steps ahead, where that was measured: a core looks ahead over as many instructions, but these read
 * half the lines (Emerald Rapids, one row, with memory at 30 GB/s: 21 without, 28 with it; f32 29 without). Not the next strip, which may be of a
 * group without rows.
 */
constexpr ix OWN_PREFETCH_STEPS = 32;
template <class T> constexpr bool prefetches_own = !ZEN && sizeof(T) < sizeof(f32);
/**
 * One strip of columns from c on, for few rows. `next`: what will be read after it, or null. A single register tile prefetches its own strip and the
 * start of the next; several together prefetch the whole next strip, at an even rate.
 */
template <int NV, class A, class N, class T, class O> FN void few(bool fresh, const A& a, N rows, ix depth, ix c, const T& epilogue, const void* next, const O& o) {
  constexpr int S = NV * LANES, C = O::C;
  typedef typename O::B::template Step<S> Step;
  const auto* const b = o.b.strip(c, depth);
  const bool own = rows <= NO_PREFETCH_ROWS;
  const ix tiles = (rows + MR - 1) / MR, bytes = S * Step::bytes, width = (bytes + LINE - 1) / LINE, ahead = own ? OWN_PREFETCH_STEPS : STRIP_PREFETCH_STEPS;
  const char* const next_line = own ? nullptr : (const char*)(next ? next : b);
  StripPrefetch prefetch = {tiles > 1 ? next_line : (const char*)(b + ahead * Step::apart), own && !prefetches_own<typename Step::Type> ? 0 : width, tiles, tiles > 1 ? -1 : ix_max(0, depth - ahead), next_line};
  NO_UNROLL for (ix r = 0; r < rows;) {
    const ix h = height(a, rows - r);
    if (epilogue.now) epilogue.before({r, h, c, S}, [](const void* p) { __builtin_prefetch(p, 1, 2); });
    rows_of<Count<N>::heights(has_fixed_height<A>, 0, FEW_ROWS), NV, C, Step, StripPrefetch>(h, fresh, a, r, b, o.acc.d[r] + c, depth, prefetch);
    if (epilogue.now) epilogue.after({r, h, c, S});
    r += h;
    prefetch.p += (depth + tiles - 1) / tiles * prefetch.lines * LINE;
    if (prefetch.p >= next_line + depth * bytes) prefetch.lines = 0;
  }
}
/** Each step of the depth prefetches the corresponding row of the next operand, if known. All at once they would wait for each other. */
template <int LD, int S, class T> struct RowPrefetch {
  const T* next;
  FN ix next_step(ix k, ix depth) const { return next ? k + 1 : depth; }
  FN void issue(ix k) const { if (next) UNROLL for (int x = 0; x < S; x += LINE / (int)sizeof(T)) __builtin_prefetch(next + k * LD + x, 0, 2); }
};
/** One strip of columns from c on for M to R rows, which fit one register tile, with a right operand that is read in place. */
template <int NV, int M, class STEP, class A, class N, class T, class O> FN void one_tile(bool fresh, const A& a, N rows, ix depth, ix c, const T& epilogue, const O& o) {
  if constexpr (M < Count<N>::to(O::R)) if (rows > M) return one_tile<NV, M + 1, STEP>(fresh, a, rows, depth, c, epilogue, o);
  constexpr int S = NV * LANES;
  const TileCoord part = {0, rows, c, S};
  if (epilogue.now) epilogue.before(part, [](const void* p) { __builtin_prefetch(p, 1, 2); });
  micro_kernel<M, NV, O::C, STEP, RowPrefetch<STEP::apart, S, typename STEP::Type>>(fresh, tile_at(a, 0, depth), o.b.p + c, o.acc.d[0] + c, depth, {o.b.next ? o.b.next + c : nullptr});
  if (epilogue.now) epilogue.after(part);
}
/** The right operands of a strip from column c on, which register tiles take in turn, with what to prefetch after them. */
template <int NV, class... O> struct StripOperands {
  FN StripOperands(ix, ix, ix) {}
  FN ix deep() const { return 0; }
  FN ix pace() const { return 1 << 20; }
  template <int H, class A> FN void add(bool, ix, const A&, ix, PrefetchQueue&) {}
};
template <int NV, class O, class... P> struct StripOperands<NV, O, P...> {
  typedef typename O::B::template Step<NV * LANES> Step;
  const O& o; const typename Step::Type* b; ix c, depth; PrefetchStream next; typename O::Next besides; StripOperands<NV, P...> more;
  FN StripOperands(ix c, ix depth, ix tiles, const O& o, const P&... p)
      : o(o), b(o.b.strip(c, depth)), c(c), depth(depth), next(o.b.fetch(c, NV * LANES, O::C, depth).spread_over(tiles * depth)),
        besides(o.next(c, NV * LANES, tiles)), more(c, depth, tiles, p...) {}
  FN ix deep() const { return depth + o.deep() + more.deep(); }
  FN ix pace() const { return ix_min(PrefetchQueue::pace_of(next), ix_min(besides.pace(), more.pace())); }
  template <int H, class A> FN void add(bool fresh, ix h, const A& a, ix r, PrefetchQueue& queue) {
    rows_of<H, NV, O::C, Step, PrefetchQueue&>(h, fresh, a, r, b, o.acc.d[r] + c, depth, queue.with(next));
    o.template add<NV, H>(h, r, c, queue, besides);
    more.template add<H>(fresh, h, a, r, queue);
  }
};
/** A strip of more than LOW rows. Each block of rows is multiplied by all operands in turn, so that rows or columns stay in L1. cold: prefetch rows too. */
template <int NV, ix LOW, class A, class N, class T, class O, class... P> FN void many(bool fresh, bool cold, const A& a, N rows, ix depth, ix c, const T& epilogue, const O& o, const P&... more) {
  constexpr bool FIXED = (O::fixed_height || ... || P::fixed_height);
  constexpr int H = Count<N>::heights(FIXED || has_fixed_height<A>, LOW, Count<N>::most);
  StripOperands<NV, O, P...> operands(c, depth, (rows + MR - 1) / MR, o, more...);
  PrefetchQueue queue;
  const i32 deep = (i32)operands.deep(); const ix pace = operands.pace();
  NO_UNROLL for (ix r = 0; r < rows;) {
    const ix h = FIXED ? ix_min(rows - r, MR) : height(a, rows - r);
    queue.clear();
    if (epilogue.now) epilogue.before({r, h, c, NV * LANES}, [&](const void* p) { queue(p); });
    if (cold) prefetch_rows(a, r + h, ix_min(MR, rows - r - h), depth, [&](const void* p) { queue(p); });
    queue.spread_over(deep, pace);
    operands.template add<H>(fresh, h, a, r, queue);
    if (epilogue.now) epilogue.after({r, h, c, NV * LANES});
    r += h;
  }
}
/** A strip for any number of rows; with several operands for many. */
template <int NV, class A, class N, class T, class O, class... P> FN void strip(bool fresh, bool cold, const A& a, N rows, ix depth, ix c, const T& epilogue, const void* next, const O& o, const P&... more) {
  constexpr bool in_memory = sizeof...(P) == 0 && O::B::follows && O::alone;
  constexpr ix LOW = in_memory || sizeof...(P) > 0 ? FEW_ROWS : 0;
  if constexpr (in_memory && Count<N>::least <= FEW_ROWS) if (Count<N>::most <= FEW_ROWS || rows <= FEW_ROWS) return few<NV>(fresh, a, rows, depth, c, epilogue, next, o);
  if constexpr (sizeof...(P) == 0 && is_in_place<typename O::B> && O::R <= MR && O::alone) {
    if (rows > 0) one_tile<NV, Count<N>::from(1), typename O::B::template Step<NV * LANES>>(fresh, a, rows, depth, c, epilogue, o);
  } else if constexpr (!in_memory || Count<N>::most > FEW_ROWS) many<NV, LOW>(fresh, cold, a, rows, depth, c, epilogue, o, more...);
}
/**
 * Up to so many rows take two operands alternately, a few steps of the depth of each, so that both are read as two continuous streams. If one strip
 * followed the other, the hardware's prefetcher, which takes some ten pages to get up to speed, would start again each time.
 */
constexpr ix PAIRED_ROWS = NO_PREFETCH_ROWS < 3 ? NO_PREFETCH_ROWS : 3, PAIRED_STEPS = 4;
template <int M, int NV, int C, class STEP, class A, class E> __attribute__((noinline)) void micro_kernel_pair(bool fresh, A a, const E* b, const E* c, f32* acc, f32* more, ix depth) {
  constexpr int LD = STEP::apart;
  vf s[M][NV], t[M][NV];
  UNROLL for (int i = 0; i < M; i++) {
    UNROLL for (int v = 0; v < NV; v++) { s[i][v] = fresh ? vf{} : *(vf*)(acc + i * C + v * LANES); t[i][v] = fresh ? vf{} : *(vf*)(more + i * C + v * LANES); }
    STEP::permute_in(s[i]); STEP::permute_in(t[i]);
  }
  NO_UNROLL for (ix k = 0; k < depth; k += PAIRED_STEPS) {
    const ix end = ix_min(k + PAIRED_STEPS, depth);
    if (prefetches_own<E> && k + OWN_PREFETCH_STEPS < depth) UNROLL for (ix x = 0; x < PAIRED_STEPS * LD; x += LINE / (ix)sizeof(E)) { __builtin_prefetch(b + OWN_PREFETCH_STEPS * LD + x, 0, 2); __builtin_prefetch(c + OWN_PREFETCH_STEPS * LD + x, 0, 2); }
    NO_UNROLL for (ix x = k; x < end; x++, b += LD) multiply<STEP>(s, a, x, b);
    NO_UNROLL for (ix x = k; x < end; x++, c += LD) multiply<STEP>(t, a, x, c);
  }
  UNROLL for (int i = 0; i < M; i++) {
    STEP::permute_out(s[i]); STEP::permute_out(t[i]);
    UNROLL for (int v = 0; v < NV; v++) { *(vf*)(acc + i * C + v * LANES) = s[i][v]; *(vf*)(more + i * C + v * LANES) = t[i][v]; }
  }
}
/** A strip of columns from c on of two operands, for up to PAIRED_ROWS rows. */
template <int NV, int M, class A, class T, class O, class P> FN void pair(bool fresh, const A& a, ix rows, ix depth, ix c, const T& epilogue, const O& o, const P& p) {
  if constexpr (M < PAIRED_ROWS) if (rows > M) return pair<NV, M + 1>(fresh, a, rows, depth, c, epilogue, o, p);
  const TileCoord part = {0, rows, c, NV * LANES};
  if (epilogue.now) epilogue.before(part, [](const void* x) { __builtin_prefetch(x, 1, 2); });
  micro_kernel_pair<M, NV, O::C, typename O::B::template Step<NV * LANES>>(fresh, tile_at(a, 0, depth), o.b.strip(c, depth), p.b.strip(c, depth), o.acc.d[0] + c, p.acc.d[0] + c, depth);
  if (epilogue.now) epilogue.after(part);
}
/** Whether the first two operands can be taken so. */
template <class O, class... P> constexpr bool pairs = false;
template <class O, class P, class... Q> constexpr bool pairs<O, P, Q...> = O::B::follows && O::alone && P::alone && is_same<typename O::B, typename P::B>;
/** Up to so many bytes of columns stay in L1 while all rows are multiplied by them. */
constexpr ix L1_COLUMN_BYTES = 1 << 15;
/** A strip of one right operand. */
template <int NV, class A, class N, class T, class O> FN void strip_alone(bool fresh, bool cold, const A& a, N rows, ix depth, ix c, const T& epilogue, const void* next, const O& o) {
  if constexpr (is_fp4<typename O::B>) strip_fp4<NV>(fresh, a, rows, depth, c, epilogue, o);
  else strip<NV>(fresh, cold, a, rows, depth, c, epilogue, next, o);
}
template <int NV, class A, class N, class T, class O, class... P> FN void strips(bool fresh, bool cold, const A& a, N rows, ix depth, ix c, const T& epilogue, const void* next, const O& o, const P&... more);
/** A strip of two right operands, then of the others. */
template <int NV, class A, class N, class T, class O, class P, class... Q> FN void pairs_of(bool fresh, const A& a, N rows, ix depth, ix c, const T& epilogue, const void* next, const O& o, const P& p, const Q&... more) {
  if constexpr (sizeof...(Q) == 0) pair<NV, 1>(fresh, a, rows, depth, c, epilogue, o, p);
  else { pair<NV, 1>(fresh, a, rows, depth, c, no_epilogue(), o, p); strips<NV>(fresh, false, a, rows, depth, c, epilogue, next, more...); }
}
/** A strip of several right operands: one after the other if their columns stay in L1, else alternately. `next`: what is read after the last. */
template <int NV, class A, class N, class T, class O, class... P> FN void strips(bool fresh, bool cold, const A& a, N rows, ix depth, ix c, const T& epilogue, const void* next, const O& o, const P&... more) {
  if constexpr (pairs<O, P...> && Count<N>::least <= PAIRED_ROWS) if (rows > 0 && rows <= PAIRED_ROWS) return pairs_of<NV>(fresh, a, rows, depth, c, epilogue, next, o, more...);
  constexpr bool together = sizeof...(P) > 0 && !(is_fp4<typename O::B> || ... || is_fp4<typename P::B>);
  if constexpr (together && Count<N>::most > FEW_ROWS) if (rows > FEW_ROWS && depth * NV * LANES * O::B::template Step<NV * LANES>::bytes > L1_COLUMN_BYTES) return strip<NV>(fresh, cold, a, rows, depth, c, epilogue, next, o, more...);
  if constexpr (sizeof...(P) == 0) strip_alone<NV>(fresh, cold, a, rows, depth, c, epilogue, next, o);
  else { strip_alone<NV>(fresh, cold, a, rows, depth, c, no_epilogue(), first(more...).b.strip(c, depth), o); strips<NV>(fresh, false, a, rows, depth, c, epilogue, next, more...); }
}
/** The number of columns that all operands have: copies are as wide as the accumulator, but panels end with their matrix. */
template <class O, class... P> FN ix columns_of(const O& o, const P&... more) {
  if constexpr (sizeof...(P) == 0) return o.columns();
  else return ix_min(o.columns(), columns_of(more...));
}
/** acc += a @ b, with `then` run on each finished part. fresh: acc = a @ b, whatever acc held. */
template <class A, class N, class T, class O, class... P> FN void mma(bool fresh, const A& a, N rows, ix depth, const T& epilogue, const O& o, const P&... more) {
  constexpr int C = O::C, NV = vectors(C), REST = C / LANES % NV;
  const ix columns = columns_of(o, more...);
  NO_UNROLL for (ix c = 0; c + NV * LANES <= columns; c += NV * LANES) strips<NV>(fresh, c == 0 && is_cold(a), a, rows, depth, c, epilogue, o.b.after(c + NV * LANES, depth), o, more...);
  if constexpr (REST > 0) if (columns == C) strips<REST>(fresh, C < NV * LANES && is_cold(a), a, rows, depth, C - REST * LANES, epilogue, o.b.after(C, depth), o, more...);
}
