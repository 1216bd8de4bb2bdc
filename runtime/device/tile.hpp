// The tile operations of the kernel IR on the host, where a task runs on one thread. After vector.hpp, math.hpp and operands.hpp.
// An mma is cut into register tiles of up to 6 rows x 4 vectors (2 where there are 16 registers). An accumulator is a small array. Operands are copied
// only where they must be. The epilogue of an mma (`then`) runs on each register tile while it is in L1.
#if !defined(__clang__)  // g++ 12 believes that the tail of a part could run past its accumulator
#pragma GCC diagnostic ignored "-Waggressive-loop-optimizations"
#endif

/** x in every lane. */
FN vf all(vf, vf x) { return x; }
FN vf all(vf, f32 x) { return splat(x); }
FN vi all(vf, vi x) { return x; }
FN vi all(vf, i32 x) { return splat(x); }
FN vi all(vf, bool x) { return as<vi>(x); }
template <class X> FN X all(f32, X x) { return x; }
template <class X> FN auto all(Some, X x) { return all(vf{}, x); }
FN f32 round_bf16(f32 x) { return from_bf16(to_bf16(x)); }
FN vf round_bf16(vf x) { return real(to_bf16_bits(x) << 16); }

// ---- mma ----
/** A right operand with its accumulator. `add`: adds further products to the same rows and columns (see Plus and Taps). */
template <class RIGHT, int ROWS, int COLS, int KEPT = COLS> struct On {
  typedef RIGHT B;
  static constexpr int R = ROWS, C = COLS, kept = KEPT;
  static constexpr bool alone = true, by_six = false;
  const B& b; Acc<ROWS, COLS, KEPT>& acc;
  FN ix columns() const { return b.columns(C); }
  FN ix deep() const { return 0; }
  struct Next { FN ix pace() const { return 1 << 20; } };
  FN Next next(ix, ix, ix) const { return {}; }
  template <int NV> FN void add(ix, ix, ix, Wanted&, Next&) const {}
};
template <class B, int R, int C, int S> FN On<B, R, C, S> on(const B& b, Acc<R, C, S>& acc) { return {b, acc}; }
/** The width of a register tile for W columns, in vectors. */
constexpr int vectors(int W) { return W / LANES < TILE_VECTORS ? W / LANES : TILE_VECTORS; }
/** With at most so many rows memory takes longer than the products; then some lines are prefetched in each step of the depth. */
constexpr ix FEW = 4 * SIX;
/** Prefetches `lines` lines of p in each step, from step `turn` on of `next`. Into L2, which can have more outstanding requests than L1. */
struct Asks {
  const char* p; ix lines, turn; const char* next;
  FN ix till(ix k, ix depth) const { return lines > 0 ? k + 1 : depth; }
  FN void ask(ix k) {
    if (k == turn) p = next;
    ROLL for (ix x = 0; x < lines; x++, p += LINE) __builtin_prefetch(p, 0, 2);
  }
};
/** Keeps x in a register. Compilers otherwise load it again for each use, and then loads take longer than FMAs. */
FN void hold(vf& x) {
#if defined(__AVX512F__)
  asm("" : "+v"(x));
#elif defined(__x86_64__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#endif
}
/** One step of the depth: M rows times NV vectors of the right operand. */
template <class STEP, int M, int NV, class A> FN void multiply(vf (&s)[M][NV], const A& a, ix k, const typename STEP::Type* b) {
  vf w[NV];
  STEP::load(w, b);
  if (M > 1) UNROLL for (int v = 0; v < NV; v++) hold(w[v]);
  UNROLL for (int i = 0; i < M; i++) { const vf x = splat(a.at(i, k)); UNROLL for (int v = 0; v < NV; v++) s[i][v] = plus_product(a, s[i][v], x, w[v]); }
  asm volatile("");  // keeps steps apart: compilers that interleave them spill registers
}
/** All steps of the depth, two per iteration where there are six rows (5 to 10% less time on Intel: lines that miss L1 are fetched further ahead). */
template <class STEP, int M, int NV, class ASKS, class A> FN void steps(vf (&s)[M][NV], const A& a, const typename STEP::Type* b, ix depth, ASKS& asks) {
  constexpr int LD = STEP::apart;
  if constexpr (is_taps<A>) ROLL for (ix t = 0; t < a.n; t++) steps<STEP>(s, a.tap(t), a.b[t], depth, asks);
  else ROLL for (ix k = 0; k < depth;) {
    asks.ask(k);
    const ix end = asks.till(k, depth);
    if (M == SIX) ROLL for (; k + 2 <= end; k += 2, b += 2 * LD) { multiply<STEP>(s, a, k, b); multiply<STEP>(s, a, k + 1, b + LD); }
    ROLL for (; k < end; k++, b += LD) multiply<STEP>(s, a, k, b);
  }
}
/** Computes a register tile. C: columns of the accumulator. ASKS, its prefetches: Asks, or Wanted& if their state continues in the next tile. */
template <int M, int NV, int C, class STEP, class ASKS, class A> __attribute__((noinline)) void micro(bool fresh, A a, const typename STEP::Type* b, f32* acc, ix depth, ASKS asks) {
  vf s[M][NV];
  UNROLL for (int i = 0; i < M; i++) {
    UNROLL for (int v = 0; v < NV; v++) s[i][v] = fresh ? vf{} : *(vf*)(acc + i * C + v * LANES);
    STEP::enter(s[i]);
  }
  steps<STEP>(s, a, b, depth, asks);
  UNROLL for (int i = 0; i < M; i++) {
    STEP::leave(s[i]);
    UNROLL for (int v = 0; v < NV; v++) *(vf*)(acc + i * C + v * LANES) = s[i][v];
  }
}
/** A register tile of h rows (up to six) from row r on. */
template <int NV, int C, class STEP, class ASKS, class A> FN void rows_of(ix h, bool fresh, const A& a, ix r, const typename STEP::Type* b, f32* to, ix depth, ASKS asks) {
  switch (h) {
    case 1: return micro<1, NV, C, STEP, ASKS>(fresh, tile_at(a, r, depth), b, to, depth, asks);
    case 2: return micro<2, NV, C, STEP, ASKS>(fresh, tile_at(a, r, depth), b, to, depth, asks);
    case 3: return micro<3, NV, C, STEP, ASKS>(fresh, tile_at(a, r, depth), b, to, depth, asks);
    case 4: return micro<4, NV, C, STEP, ASKS>(fresh, tile_at(a, r, depth), b, to, depth, asks);
    case 5: return micro<5, NV, C, STEP, ASKS>(fresh, tile_at(a, r, depth), b, to, depth, asks);
    default: return micro<6, NV, C, STEP, ASKS>(fresh, tile_at(a, r, depth), b, to, depth, asks);
  }
}
template <class A> struct held { typedef const A& type; };
template <int R, int STEP> struct held<MovedRows<R, STEP>> { typedef MovedRows<R, STEP> type; };
/** One more pair of operands for an accumulator. */
template <class O, class A, class RIGHT> struct Plus : O {
  static constexpr bool alone = false, by_six = O::by_six || takes_six<A>;
  typename held<A>::type a; ix depth; const RIGHT& right;
  FN Plus(const O& o, const A& a, ix depth, const RIGHT& right) : O(o), a(a), depth(depth), right(right) {}
  FN ix columns() const { return ix_min(O::columns(), right.columns(O::C)); }
  FN ix deep() const { return O::deep() + depth; }
  struct Next {
    typename O::Next before; Fetch own;
    FN ix pace() const { return ix_min(before.pace(), Wanted::pace_of(own)); }
  };
  FN Next next(ix c, ix s, ix tiles) const { return {O::next(c, s, tiles), right.fetch(c, s, O::C, depth).over(tiles * depth)}; }
  template <int NV> FN void add(ix h, ix r, ix c, Wanted& wanted, Next& next) const {
    O::template add<NV>(h, r, c, wanted, next.before);
    rows_of<NV, O::C, typename RIGHT::template Step<NV * LANES>, Wanted&>(h, false, a, r, right.strip(c, depth), this->acc.d[r] + c, depth, wanted.with(next.own));
  }
};
template <class O, class A, class B> FN Plus<O, A, B> plus(const O& o, const A& a, ix depth, const B& right) { return {o, a, depth, right}; }
/** N more pairs of operands for an accumulator. The left operands are the rows `a`, each time beginning by[t] elements later. */
template <class O, class A, class RIGHT, int N> struct Taps : O {
  static constexpr bool alone = false;
  typedef typename O::Next Next;
  const A& a; ix depth; ix by[N]; RIGHT rights[N];
  FN ix columns() const { ix n = O::columns(); ROLL for (int t = 0; t < N; t++) n = ix_min(n, rights[t].columns(O::C)); return n; }
  FN ix deep() const { return O::deep() + N * depth; }
  template <int NV> FN void add(ix h, ix r, ix c, Wanted& wanted, Next& next) const {
    typedef typename RIGHT::template Step<NV * LANES> Step;
    Fetch nothing = {};
    O::template add<NV>(h, r, c, wanted, next);
    const typename Step::Type* b[N];
    ROLL for (int t = 0; t < N; t++) b[t] = rights[t].strip(c, depth);
    rows_of<NV, O::C, Step, Wanted&>(h, false, taps_of(a, by, b), r, nullptr, this->acc.d[r] + c, depth, wanted.with(nothing));
  }
};
template <int R, int S, class T, int N> FN TapRows<R, S, T> taps_of(const Rows<R, S>& rows, const ix (&by)[N], const T* const (&b)[N]) { return {rows, by, b, N}; }
/** Taps whose right operands differ in type are added one by one. */
template <class O, class A, class RIGHT, class... MORE> FN auto taps_apart(const O& o, const A& a, ix depth, const ix* by, const RIGHT& right, const MORE&... more) {
  const auto sum = plus(o, moved(a, *by), depth, right);
  if constexpr (sizeof...(MORE) == 0) return sum;
  else return taps_apart(sum, a, depth, by + 1, more...);
}
template <class O, class A, class RIGHT, class... MORE, int N> FN auto taps(const O& o, const A& a, ix depth, const ix (&by)[N], const RIGHT& right, const MORE&... more) {
  if constexpr ((is_same<RIGHT, MORE> && ...)) {
    Taps<O, A, RIGHT, N> all{o, a, depth, {}, {right, more...}};
    UNROLL for (int t = 0; t < N; t++) all.by[t] = by[t];
    return all;
  } else return taps_apart(o, a, depth, by, right, more...);
}
/** Rows r .. r + h, columns c .. c + w of an accumulator. */
struct Part { ix r, h, c, w; };
/** The first column of a part, of an operand in panels of W: parts are as wide as panels, so each is in one of them. */
template <int W> FN ix in_panel(Part p) { static_assert(TILE_VECTORS * LANES == W, "panels as wide as a register tile"); return p.c; }
/** `before` prefetches what the epilogue of a part reads, `after` is the epilogue. Both run only if `now`. */
template <class B, class T> struct Then {
  B before; T after; bool now;
  /** For a loop over the depth: only its last iteration runs the epilogue. */
  FN Then when(bool last) const { return {before, after, last}; }
  /** Runs the epilogue for a whole accumulator to which no product was added. */
  FN void whole(ix rows, ix columns) const { constexpr ix S = TILE_VECTORS * LANES; ROLL for (ix c = 0; c < columns; c += S) after({0, rows, c, S}); }
};
template <class X, class... P> FN const X& first(const X& x, const P&...) { return x; }
template <class B, class T> FN Then<B, T> then(B before, T after) { return {before, after, true}; }
FN auto nothing() { return then([](Part, auto) {}, [](Part) {}).when(false); }
/** The prefetch distance, in steps of the depth, for a strip that a single register tile reads. */
constexpr ix FAR = 64;
/**
 * With at most so many rows nothing is prefetched, since the hardware's prefetcher is as fast: on Zen 4 six (prefetches cost 5 to 11% of memory's
 * bandwidth, and 20% of L3's from two rows), on Emerald Rapids one (from two rows they bring 30% from memory).
 */
constexpr ix SILENT = ZEN ? SIX : 1;
/**
 * One strip of columns from c on, for few rows. `next`: what will be read after it, or null. A single register tile prefetches its own strip and the
 * start of the next; several together prefetch the whole next strip.
 */
template <int NV, class A, class T, class O> FN void few(bool fresh, const A& a, ix rows, ix depth, ix c, const T& then, const void* next, const O& o) {
  constexpr int S = NV * LANES, C = O::C;
  typedef typename O::B::template Step<S> Step;
  const auto* const b = o.b.strip(c, depth);
  const ix tiles = (rows + SIX - 1) / SIX, bytes = S * Step::bytes, width = (bytes + LINE - 1) / LINE, turn = ix_max(0, depth - FAR);
  const char* const then_wanted = (const char*)(next ? next : b);
  Asks asks = {tiles > 1 ? then_wanted : (const char*)(b + FAR * Step::apart), rows > SILENT ? (width + tiles - 1) / tiles : 0, tiles > 1 ? -1 : turn, then_wanted};
  ROLL for (ix r = 0; r < rows;) {
    const ix h = height(a, rows - r);
    if (then.now) then.before({r, h, c, S}, [](const void* p) { __builtin_prefetch(p, 1, 2); });
    rows_of<NV, C, Step, Asks>(h, fresh, a, r, b, o.acc.d[r] + c, depth, asks);
    if (then.now) then.after({r, h, c, S});
    r += h;
    asks.p += depth * asks.lines * LINE;
    if (asks.p >= then_wanted + depth * bytes) asks.lines = 0;
  }
}
/** Each step of the depth prefetches the corresponding row of the next operand, if known. All at once they would wait for each other. */
template <int LD, int S> struct RowAsks {
  const f32* next;
  FN ix till(ix k, ix depth) const { return next ? k + 1 : depth; }
  FN void ask(ix k) const { if (next) UNROLL for (int x = 0; x < S; x += 16) __builtin_prefetch(next + k * LD + x, 0, 2); }
};
/** One strip of columns from c on for M to R rows, which fit one register tile, with a right operand that is read in place. */
template <int NV, int M, class STEP, class A, class T, class O> FN void one_tile(bool fresh, const A& a, ix rows, ix depth, ix c, const T& then, const O& o) {
  if constexpr (M < O::R) if (rows > M) return one_tile<NV, M + 1, STEP>(fresh, a, rows, depth, c, then, o);
  constexpr int S = NV * LANES;
  const Part part = {0, rows, c, S};
  if (then.now) then.before(part, [](const void* p) { __builtin_prefetch(p, 1, 2); });
  micro<M, NV, O::C, STEP, RowAsks<STEP::apart, S>>(fresh, tile_at(a, 0, depth), o.b.p + c, o.acc.d[0] + c, depth, {o.b.next ? o.b.next + c : nullptr});
  if (then.now) then.after(part);
}
/** The right operands of a strip from column c on, which register tiles take in turn, with what to prefetch after them. */
template <int NV, class... O> struct Taken {
  FN Taken(ix, ix, ix) {}
  FN ix deep() const { return 0; }
  FN ix pace() const { return 1 << 20; }
  template <class A> FN void add(bool, ix, const A&, ix, Wanted&) {}
};
template <int NV, class O, class... P> struct Taken<NV, O, P...> {
  typedef typename O::B::template Step<NV * LANES> Step;
  const O& o; const typename Step::Type* b; ix c, depth; Fetch next; typename O::Next besides; Taken<NV, P...> more;
  FN Taken(ix c, ix depth, ix tiles, const O& o, const P&... p)
      : o(o), b(o.b.strip(c, depth)), c(c), depth(depth), next(o.b.fetch(c, NV * LANES, O::C, depth).over(tiles * depth)),
        besides(o.next(c, NV * LANES, tiles)), more(c, depth, tiles, p...) {}
  FN ix deep() const { return depth + o.deep() + more.deep(); }
  FN ix pace() const { return ix_min(Wanted::pace_of(next), ix_min(besides.pace(), more.pace())); }
  template <class A> FN void add(bool fresh, ix h, const A& a, ix r, Wanted& wanted) {
    rows_of<NV, O::C, Step, Wanted&>(h, fresh, a, r, b, o.acc.d[r] + c, depth, wanted.with(next));
    o.template add<NV>(h, r, c, wanted, besides);
    more.add(fresh, h, a, r, wanted);
  }
};
/** A strip for any number of rows. Each block of rows is multiplied by all operands in turn, so that rows or columns stay in L1. cold: prefetch rows too. */
template <int NV, class A, class T, class O, class... P> FN void strip(bool fresh, bool cold, const A& a, ix rows, ix depth, ix c, const T& then, const void* next, const O& o, const P&... more) {
  if constexpr (sizeof...(P) == 0 && O::B::follows && O::alone) if (rows <= FEW) return few<NV>(fresh, a, rows, depth, c, then, next, o);
  if constexpr (sizeof...(P) == 0 && is_major<typename O::B> && O::R <= SIX && O::alone) {
    if (rows > 0) one_tile<NV, 1, typename O::B::template Step<NV * LANES>>(fresh, a, rows, depth, c, then, o);
    return;
  }
  Taken<NV, O, P...> all(c, depth, (rows + SIX - 1) / SIX, o, more...);
  Wanted wanted;
  const i32 deep = (i32)all.deep(); const ix pace = all.pace();
  ROLL for (ix r = 0; r < rows;) {
    const ix h = (O::by_six || ... || P::by_six) ? ix_min(rows - r, SIX) : height(a, rows - r);
    wanted.clear();
    if (then.now) then.before({r, h, c, NV * LANES}, [&](const void* p) { wanted(p); });
    if (cold) ask_rows(a, r + h, ix_min(SIX, rows - r - h), depth, [&](const void* p) { wanted(p); });
    wanted.over(deep, pace);
    all.add(fresh, h, a, r, wanted);
    if (then.now) then.after({r, h, c, NV * LANES});
    r += h;
  }
}
/**
 * Up to so many rows take two operands alternately, a few steps of the depth of each, so that both are read as two continuous streams. If one strip
 * followed the other, the hardware's prefetcher, which takes some ten pages to get up to speed, would start again each time.
 */
constexpr ix PAIRED = SILENT < 3 ? SILENT : 3, PAIRED_STEPS = 4;
template <int M, int NV, int C, class STEP, class A, class E> __attribute__((noinline)) void micro_pair(bool fresh, A a, const E* b, const E* c, f32* acc, f32* more, ix depth) {
  constexpr int LD = STEP::apart;
  vf s[M][NV], t[M][NV];
  UNROLL for (int i = 0; i < M; i++) {
    UNROLL for (int v = 0; v < NV; v++) { s[i][v] = fresh ? vf{} : *(vf*)(acc + i * C + v * LANES); t[i][v] = fresh ? vf{} : *(vf*)(more + i * C + v * LANES); }
    STEP::enter(s[i]); STEP::enter(t[i]);
  }
  ROLL for (ix k = 0; k < depth; k += PAIRED_STEPS) {
    const ix end = ix_min(k + PAIRED_STEPS, depth);
    ROLL for (ix x = k; x < end; x++, b += LD) multiply<STEP>(s, a, x, b);
    ROLL for (ix x = k; x < end; x++, c += LD) multiply<STEP>(t, a, x, c);
  }
  UNROLL for (int i = 0; i < M; i++) {
    STEP::leave(s[i]); STEP::leave(t[i]);
    UNROLL for (int v = 0; v < NV; v++) { *(vf*)(acc + i * C + v * LANES) = s[i][v]; *(vf*)(more + i * C + v * LANES) = t[i][v]; }
  }
}
/** A strip of columns from c on of two operands, for up to PAIRED rows. */
template <int NV, int M, class A, class T, class O, class P> FN void pair(bool fresh, const A& a, ix rows, ix depth, ix c, const T& then, const O& o, const P& p) {
  if constexpr (M < PAIRED) if (rows > M) return pair<NV, M + 1>(fresh, a, rows, depth, c, then, o, p);
  const Part part = {0, rows, c, NV * LANES};
  if (then.now) then.before(part, [](const void* x) { __builtin_prefetch(x, 1, 2); });
  micro_pair<M, NV, O::C, typename O::B::template Step<NV * LANES>>(fresh, tile_at(a, 0, depth), o.b.strip(c, depth), p.b.strip(c, depth), o.acc.d[0] + c, p.acc.d[0] + c, depth);
  if (then.now) then.after(part);
}
template <class O, class... P> constexpr bool pairs = false;
template <class O, class P> constexpr bool pairs<O, P> = O::B::follows && O::alone && P::alone && is_same<typename O::B, typename P::B>;
/** Up to so many bytes of columns stay in L1 while all rows are multiplied by them. */
constexpr ix STAYS = 1 << 15;
/** A strip of several right operands: one after the other if their columns stay in L1, else alternately. `next`: what is read after the last. */
template <int NV, class A, class T, class O, class... P> FN void strips(bool fresh, bool cold, const A& a, ix rows, ix depth, ix c, const T& then, const void* next, const O& o, const P&... more) {
  if constexpr (pairs<O, P...>) if (rows > 0 && rows <= PAIRED) return pair<NV, 1>(fresh, a, rows, depth, c, then, o, more...);
  if constexpr (sizeof...(P) == 0) strip<NV>(fresh, cold, a, rows, depth, c, then, next, o);
  else if (rows > FEW && depth * NV * LANES * O::B::template Step<NV * LANES>::bytes > STAYS) strip<NV>(fresh, cold, a, rows, depth, c, then, next, o, more...);
  else { strip<NV>(fresh, cold, a, rows, depth, c, nothing(), first(more...).b.strip(c, depth), o); strips<NV>(fresh, false, a, rows, depth, c, then, next, more...); }
}
/** The number of columns that all operands have: copies are as wide as the accumulator, but panels end with their matrix. */
template <class O, class... P> FN ix columns_of(const O& o, const P&... more) {
  if constexpr (sizeof...(P) == 0) return o.columns();
  else return ix_min(o.columns(), columns_of(more...));
}
/** acc += a @ b, with `then` run on each finished part. fresh: acc = a @ b, whatever acc held. */
template <class A, class T, class O, class... P> FN void mma(bool fresh, const A& a, ix rows, ix depth, const T& then, const O& o, const P&... more) {
  constexpr int C = O::C, NV = vectors(C), REST = C / LANES % NV;
  const ix columns = columns_of(o, more...);
  ROLL for (ix c = 0; c + NV * LANES <= columns; c += NV * LANES) strips<NV>(fresh, c == 0 && is_cold(a), a, rows, depth, c, then, o.b.after(c + NV * LANES, depth), o, more...);
  if constexpr (REST > 0) if (columns == C) strips<REST>(fresh, C < NV * LANES && is_cold(a), a, rows, depth, C - REST * LANES, then, o.b.after(C, depth), o, more...);
}
