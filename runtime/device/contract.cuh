// The main loop of a bf16 contraction that does nothing but multiply: cp.async stages in shared memory, and register fragments that are double-buffered,
// also across the barrier between two stages: the mma of one k-step (16) overlap with the ldmatrix of the next. After mma.cuh.

template <bool B> struct BoolConstant { static constexpr bool value = B; };
/** A right operand, its accumulator, and the fragments of two k-steps. */
template <class B, class C> struct RhsFragments {
  const B& b;
  C& acc;
  u32 r[2][C::NT / 2][4];
  /** From stage s, or the tile that codes were widened to. */
  FN void load(i32 s, i32 tile, int ks) { UNROLL for (int n = 0; n < C::NT; n += 2) b.view(s, tile).template load_fragment<true>(C::first_col(), ks, n, r[ks % 2][n / 2]); }
  template <int MT> FN void multiply(int ks, const u32 (&a)[MT][4]) {
    UNROLL for (int n = 0; n < C::NT; n++) UNROLL for (int m = 0; m < MT; m++)
      mma_bf16(acc.d[m][n], a[m], r[ks % 2][n / 2][n % 2 * 2], r[ks % 2][n / 2][n % 2 * 2 + 1]);
  }
};
template <class B, class C> FN RhsFragments<B, C> rhs_fragments(const B& b, C& acc) { return {b, acc}; }
struct NoCodes { FN void operator()(i32, i32) const {} };
template <class W> constexpr bool WIDENS = true;
template <> constexpr bool WIDENS<NoCodes> = false;
/** acc (M, N) f32 += a (M, K) bf16 @ b (K, N) bf16 for each rhs_fragments(b, acc), where k runs from `from` to `to` by `step` = DEPTH.
    load(k, s) starts the copies of stage s; pipeline_prologue<S> must have started the first S. The barrier of a stage comes as soon as its last
    fragments are in registers: then the stage is refilled, and the first fragments of the next stage are loaded. All stages are free at the end.
    widen(s, tile): widens what is codes in stage s to one of two tiles, each thread what it copied itself, a stage ahead. SHARED_STAGES: it reads what
    other threads copied too, so all threads have waited for that stage a round before, or, of two stages, at a barrier of its own. */
template <int S, int DEPTH, bool SHARED_STAGES = false, class L, class W, class A, class B, class C, class... P>
FN void mma_pipeline_of_codes(ix from, ix to, ix step, L load, W widen, const A& a, RhsFragments<B, C> p, P... ps) {
  constexpr int KS = DEPTH / 16;
  constexpr bool EARLY = SHARED_STAGES && S > 2;
  static_assert(S > 1 && KS % 2 == 0, "an even number of k-steps per stage: fragment buffers alternate");
  const i32 n = (i32)((to - from + step - 1) / step);
  if (n <= 0) return;
  u32 x[2][C::MT][4];
  auto fetch = [&](i32 s, i32 tile, int ks) INLINE {
    UNROLL for (int m = 0; m < C::MT; m++) a.view(s, tile).template load_fragment<false>(C::first_row(), ks, m * 2, x[ks % 2][m]);
    p.load(s, tile, ks);
    (ps.load(s, tile, ks), ...);
  };
  i32 s = 0, tile = 0;
  auto round = [&](i32 i, auto loads, auto last) INLINE {
    const i32 next = s + 1 == S ? 0 : s + 1;
    if constexpr (WIDENS<W> && !last.value) {
      if constexpr (!EARLY) cp_async_wait<S - 2>();
      if constexpr (SHARED_STAGES && !EARLY) __syncthreads();
      widen(next, tile ^ 1);
    }
    UNROLL for (int ks = 0; ks < KS; ks++) {
      if (ks + 1 < KS) fetch(s, tile, ks + 1);
      else {
        if constexpr (!WIDENS<W> || EARLY) cp_async_wait<EARLY ? S - 3 : S - 2>();
        __syncthreads();
        if constexpr (loads.value) load(from + (i + S) * step, s);
        cp_async_commit();
        if constexpr (!last.value) fetch(next, tile ^ 1, 0);
      }
      p.multiply(ks, x[ks % 2]);
      (ps.multiply(ks, x[ks % 2]), ...);
    }
    s = next;
    tile ^= 1;
  };
  cp_async_wait<EARLY ? S - 2 : S - 1>();
  if constexpr (SHARED_STAGES) __syncthreads();
  widen(0, 0);
  __syncthreads();
  fetch(0, 0, 0);
  i32 i = 0;
  NO_UNROLL for (; i + S < n; i++) round(i, BoolConstant<true>{}, BoolConstant<false>{});
  NO_UNROLL for (; i + 1 < n; i++) round(i, BoolConstant<false>{}, BoolConstant<false>{});
  round(i, BoolConstant<false>{}, BoolConstant<true>{});
}
/** Where no operand is codes. */
template <int S, int DEPTH, class L, class A, class... P> FN void mma_pipeline(ix from, ix to, ix step, L load, const A& a, P... ps) {
  mma_pipeline_of_codes<S, DEPTH>(from, to, step, load, NoCodes{}, a, ps...);
}
