// ---- elementwise loops and folds. f(v, ..) is called with v a vector, then for the tail with v a scalar (parts of accumulators) or Some (masked) ----
/** Calls f for each element of a part, of which only the columns below `cols` exist. f gets columns relative to the part's first. */
template <int L, class N, class F, class... T> FN void each_in(TileCoord p, N cols, F f, T&... t) {
  const ix end = ix_min(p.w, cols - p.c);
  NO_UNROLL for (ix i = p.r; i < p.r + p.h; i++) {
    ix j = 0;
    if constexpr (L > 1) NO_UNROLL for (; j + L <= end; j += L) f(vf{}, i, j, t.at(vf{}, i, p.c + j)...);
    if constexpr (L == 1 || has_tail<N>) NO_UNROLL for (; j < end; j++) f(f32{}, i, j, t.at(f32{}, i, p.c + j)...);
  }
}
/** Calls f(i, j), which prefetches 16 elements (a cache line) from (i, j) on, for each line of a part. */
template <class F> FN void prefetch_tile(TileCoord p, F f) { NO_UNROLL for (ix i = p.r; i < p.r + p.h; i++) NO_UNROLL for (ix j = 0; j < p.w; j += 16) f(i, j); }
template <int L, class N, class F, class... T> FN void each(ix rows, N cols, F f, T&... t) { each_in<L>({0, rows, 0, cols}, cols, f, t...); }
template <class F, class... T> FN void each_row(ix rows, F f, T&... t) { NO_UNROLL for (ix i = 0; i < rows; i++) f(f32{}, i, t.at(f32{}, i, 0)...); }
struct Sum {
  static FN f32 identity(f32) { return 0.0f; }
  static FN i32 identity(i32) { return 0; }
  static FN ix identity(ix) { return 0; }
  template <class V> static FN V combine(V a, V b) { return a + b; }
  static FN f32 reduce_lanes(vf x) { return sum_(x); }
};
/** Stores sums of runs of 16 columns. Each call adds one more piece of a run, from column j on, in order; the first piece initialises the sum. */
FN void st_partial_sum(f32, f32* p, ix j, f32 x) { *p = j % 16 == 0 ? x : *p + x; }
FN void st_partial_sum(vf, f32* p, ix j, vf x) { st_partial_sum(0.0f, p, j, sum_(x)); }
struct Max {
  static FN f32 identity(f32) { return -__builtin_inff(); }
  static FN i32 identity(i32) { return -2147483647 - 1; }
  template <class V> static FN V combine(V a, V b) { return max_(a, b); }
  static FN f32 reduce_lanes(vf x) { return max_of(x); }
};
struct Min {
  static FN f32 identity(f32) { return __builtin_inff(); }
  static FN i32 identity(i32) { return 2147483647; }
  template <class V> static FN V combine(V a, V b) { return min_(a, b); }
  static FN f32 reduce_lanes(vf x) { return min_of(x); }
};
template <class Op> FN f32 reduce_lanes(vf x) { return Op::reduce_lanes(x); }
template <class Op> FN i32 reduce_lanes(vi x) { return reduce_lanes(x, [](vi a, vi b) { return Op::combine(a, b); }); }
/** The masked tail of a row, with the fold's neutral element in the unused lanes. */
template <class F, class R> FN auto rest(ix n, ix j, F f, R start) { const Tail s = {(i32)(n - j)}; return where(lane_mask(s), f(s, j), start); }
/** Four accumulators run side by side; then they, the tail and their lanes are combined, in an order that depends only on n. */
template <class Op, int L, class N, class F> FN auto fold(N n, F f) {
  auto r = Op::identity(decltype(f(f32{}, 0))());
  ix j = 0;
  if constexpr (L > 1) {
    auto x = broadcast(vf{}, r), y = x, z = x, w = x;
    NO_UNROLL for (; j + 4 * L <= n; j += 4 * L) { x = Op::combine(x, f(vf{}, j)); y = Op::combine(y, f(vf{}, j + L)); z = Op::combine(z, f(vf{}, j + 2 * L)); w = Op::combine(w, f(vf{}, j + 3 * L)); }
    NO_UNROLL for (; j + L <= n; j += L) x = Op::combine(x, f(vf{}, j));
    if constexpr (has_tail<N>) if (j < n) y = Op::combine(y, rest(n, j, f, r));
    r = reduce_lanes<Op>(Op::combine(Op::combine(x, y), Op::combine(z, w)));
  } else NO_UNROLL for (; j < n; j++) r = Op::combine(r, f(f32{}, j));
  return r;
}
/** A fold of an f with side effects (it also stores). One vector at a time: f is then instantiated at one place only, so compilers always inline it. */
template <class Op, int L, class N, class F> FN auto fold_with_stores(N n, F f) {
  auto r = Op::identity(decltype(f(f32{}, 0))());
  ix j = 0;
  if constexpr (L > 1) {
    auto x = broadcast(vf{}, r);
    NO_UNROLL for (; j + L <= n; j += L) x = Op::combine(x, f(vf{}, j));
    if constexpr (has_tail<N>) if (j < n) x = Op::combine(x, rest(n, j, f, r));
    r = reduce_lanes<Op>(x);
  } else NO_UNROLL for (; j < n; j++) r = Op::combine(r, f(f32{}, j));
  return r;
}
template <class A, class B> struct Both { A first; B second; };
/** fold_with_stores by f and fold by g, as one loop where that is faster (FUSED_FOLDS). Then g is folded in another order than `fold` has. */
template <class Op, class Op2, int L, class N, class F, class G> FN auto fold_both(N n, F f, G g) {
  typedef decltype(f(f32{}, 0)) A; typedef decltype(g(f32{}, 0)) B;
  if constexpr (!FUSED_FOLDS || L == 1) {
    const A a = fold_with_stores<Op, L>(n, f);
    return Both<A, B>{a, fold<Op2, L>(n, g)};
  } else {
    auto x = broadcast(vf{}, Op::identity(A())); auto y = broadcast(vf{}, Op2::identity(B()));
    ix j = 0;
    NO_UNROLL for (; j + L <= n; j += L) { x = Op::combine(x, f(vf{}, j)); y = Op2::combine(y, g(vf{}, j)); }
    if constexpr (has_tail<N>) if (j < n) { x = Op::combine(x, rest(n, j, f, Op::identity(A()))); y = Op2::combine(y, rest(n, j, g, Op2::identity(B()))); }
    return Both<A, B>{reduce_lanes<Op>(x), reduce_lanes<Op2>(y)};
  }
}
template <class Op, class T> FN T identity_of(T x) { return Op::identity(x); }
template <class Op> FN vf identity_of(vf) { return splat(Op::identity(f32())); }
template <class Op> FN vi identity_of(vi) { return splat(Op::identity(i32())); }
/** A fold in which each lane folds for itself: even and odd elements in two accumulators, which are combined at the end. */
template <class Op, class F> FN auto fold_lane(ix n, F f) {
  auto r = identity_of<Op>(decltype(f(0))()), s = r;
  ix k = 0;
  NO_UNROLL for (; k + 2 <= n; k += 2) { r = Op::combine(r, f(k)); s = Op::combine(s, f(k + 1)); }
  if (k < n) r = Op::combine(r, f(k));
  return Op::combine(r, s);
}
template <class Op, int R, class N, class F, class... T> FN void fold_rows(PerRow<R>& to, N cols, F f, T&... t) {
  NO_UNROLL for (ix i = 0; i < R; i++) to.d[i] = fold<Op, LANES>(cols, [&](auto v, ix j) { return f(v, i, j, t.at(v, i, j)...); });
}
template <class V, class F> FN void scan(ix n, V value, F f) {
  if (n <= 0) return;
  auto sum = identity_of<Sum>(decltype(value(0))());
  NO_UNROLL for (ix i = 0; i < n; i++) { auto x = value(i); f(i, sum); sum = sum + x; }
}
template <class K> FN void tally(ix n, i32* counts, K key) { NO_UNROLL for (ix i = 0; i < n; i++) counts[key(i)]++; }
template <class K, class F> FN void tally(ix n, i32* counts, K key, F f) { NO_UNROLL for (ix i = 0; i < n; i++) f(i, ix(counts[key(i)]++)); }
