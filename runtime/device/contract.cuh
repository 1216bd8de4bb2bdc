// A loop over the depth of a contraction of bf16, where nothing else is done in it: tensor cores multiply one depth of 16 while the fragments
// of the next are loaded, across the barrier between two stages too. After tile.cuh.

template <bool B> struct Is { static constexpr bool value = B; };
/** A right operand with its accumulator, and its fragments of two depths. */
template <class B, class C> struct Factor {
  const B& b;
  C& acc;
  u32 r[2][C::NT / 2][4];
  FN void load(i32 s, int ks) { UNROLL for (int n = 0; n < C::NT; n += 2) b[s].template fragment<true>(C::first_col(), ks, n, r[ks % 2][n / 2]); }
  template <int MT> FN void multiply(int ks, const u32 (&a)[MT][4]) {
    UNROLL for (int n = 0; n < C::NT; n++) UNROLL for (int m = 0; m < MT; m++)
      mma_bf16(acc.d[m][n], a[m], r[ks % 2][n / 2][n % 2 * 2], r[ks % 2][n / 2][n % 2 * 2 + 1]);
  }
};
template <class B, class C> FN Factor<B, C> factor(const B& b, C& acc) { return {b, acc}; }
/** acc += a @ b for each pair, S stages of a depth of DEPTH in shared memory, which `load_first<S>` has asked for. The barrier of a step comes
    when the last of its fragments are loaded: then its stage is free, and the next step's first fragments are loaded while the last are
    multiplied. After the loop all stages are free. */
template <int S, int DEPTH, class L, class A, class B, class C, class... P>
FN void contract(ix from, ix to, ix step, L load, const A& a, Factor<B, C> p, P... ps) {
  constexpr int KS = DEPTH / 16;
  static_assert(S > 1 && KS % 2 == 0, "fragments of two depths take turns");
  const i32 n = (i32)((to - from + step - 1) / step);
  if (n <= 0) return;
  u32 x[2][C::MT][4];
  auto fetch = [&](i32 s, int ks) INLINE {
    UNROLL for (int m = 0; m < C::MT; m++) a[s].template fragment<false>(C::first_row(), ks, m * 2, x[ks % 2][m]);
    p.load(s, ks);
    (ps.load(s, ks), ...);
  };
  i32 s = 0;
  auto round = [&](i32 i, auto loads, auto last) INLINE {
    const i32 next = s + 1 == S ? 0 : s + 1;
    UNROLL for (int ks = 0; ks < KS; ks++) {
      if (ks + 1 < KS) fetch(s, ks + 1);
      else {
        copies_wait<S - 2>(); __syncthreads();
        if constexpr (loads.value) load(from + (i + S) * step, s);
        copies_commit();
        if constexpr (!last.value) fetch(next, 0);
      }
      p.multiply(ks, x[ks % 2]);
      (ps.multiply(ks, x[ks % 2]), ...);
    }
    s = next;
  };
  copies_wait<S - 1>(); __syncthreads();
  fetch(0, 0);
  i32 i = 0;
  KEEP_ROLLED for (; i + S < n; i++) round(i, Is<true>{}, Is<false>{});
  KEEP_ROLLED for (; i + 1 < n; i++) round(i, Is<false>{}, Is<false>{});
  round(i, Is<false>{}, Is<true>{});
}
