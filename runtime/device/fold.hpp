// ---- elementwise loops and folds. f(v, ..) is called with v a vector, then for the tail with v a scalar (parts of accumulators) or Some (masked) ----
/** Calls f for each element of a part, of which only the columns below `cols` exist. f gets columns relative to the part's first. */
template <int L, class F, class... T> FN void part(Part p, ix cols, F f, T&... t) {
  const ix end = ix_min(p.w, cols - p.c);
  ROLL for (ix i = p.r; i < p.r + p.h; i++) {
    ix j = 0;
    if constexpr (L > 1) ROLL for (; j + L <= end; j += L) f(vf{}, i, j, t.at(vf{}, i, p.c + j)...);
    ROLL for (; j < end; j++) f(f32{}, i, j, t.at(f32{}, i, p.c + j)...);
  }
}
/** Calls f(i, j), which prefetches 16 elements (a cache line) from (i, j) on, for each line of a part. */
template <class F> FN void ask(Part p, F f) { ROLL for (ix i = p.r; i < p.r + p.h; i++) ROLL for (ix j = 0; j < p.w; j += 16) f(i, j); }
template <int L, class F, class... T> FN void each(ix rows, ix cols, F f, T&... t) { part<L>({0, rows, 0, cols}, cols, f, t...); }
template <class F, class... T> FN void each_row(ix rows, F f, T&... t) { ROLL for (ix i = 0; i < rows; i++) f(f32{}, i, t.at(f32{}, i, 0)...); }
struct Sum {
  static FN f32 start(f32) { return 0.0f; }
  static FN i32 start(i32) { return 0; }
  static FN ix start(ix) { return 0; }
  template <class V> static FN V of(V a, V b) { return a + b; }
  static FN f32 across(vf x) { return sum_(x); }
};
/** Stores sums of runs of 16 columns. Each call adds one more piece of a run, from column j on, in order; the first piece initialises the sum. */
FN void st_sum(f32, f32* p, ix j, f32 x) { *p = j % 16 == 0 ? x : *p + x; }
FN void st_sum(vf, f32* p, ix j, vf x) { st_sum(0.0f, p, j, sum_(x)); }
struct Max {
  static FN f32 start(f32) { return -__builtin_inff(); }
  static FN i32 start(i32) { return -2147483647 - 1; }
  template <class V> static FN V of(V a, V b) { return max_(a, b); }
  static FN f32 across(vf x) { return max_of(x); }
};
struct Min {
  static FN f32 start(f32) { return __builtin_inff(); }
  static FN i32 start(i32) { return 2147483647; }
  template <class V> static FN V of(V a, V b) { return min_(a, b); }
  static FN f32 across(vf x) { return min_of(x); }
};
template <class Op> FN f32 across(vf x) { return Op::across(x); }
template <class Op> FN i32 across(vi x) { return across(x, [](vi a, vi b) { return Op::of(a, b); }); }
/** The masked tail of a row, with the fold's neutral element in the unused lanes. */
template <class F, class R> FN auto rest(ix n, ix j, F f, R start) { const Some s = {(i32)(n - j)}; return where(among(s), f(s, j), start); }
/** Four accumulators run side by side; then they, the tail and their lanes are combined, in an order that depends only on n. */
template <class Op, int L, class F> FN auto fold(ix n, F f) {
  auto r = Op::start(decltype(f(f32{}, 0))());
  ix j = 0;
  if constexpr (L > 1) {
    auto x = all(vf{}, r), y = x, z = x, w = x;
    ROLL for (; j + 4 * L <= n; j += 4 * L) { x = Op::of(x, f(vf{}, j)); y = Op::of(y, f(vf{}, j + L)); z = Op::of(z, f(vf{}, j + 2 * L)); w = Op::of(w, f(vf{}, j + 3 * L)); }
    ROLL for (; j + L <= n; j += L) x = Op::of(x, f(vf{}, j));
    if (j < n) y = Op::of(y, rest(n, j, f, r));
    r = across<Op>(Op::of(Op::of(x, y), Op::of(z, w)));
  } else ROLL for (; j < n; j++) r = Op::of(r, f(f32{}, j));
  return r;
}
/** A fold of an f with side effects (it also stores). One vector at a time: f is then instantiated at one place only, so compilers always inline it. */
template <class Op, int L, class F> FN auto fold_along(ix n, F f) {
  auto r = Op::start(decltype(f(f32{}, 0))());
  ix j = 0;
  if constexpr (L > 1) {
    auto x = all(vf{}, r);
    ROLL for (; j + L <= n; j += L) x = Op::of(x, f(vf{}, j));
    if (j < n) x = Op::of(x, rest(n, j, f, r));
    r = across<Op>(x);
  } else ROLL for (; j < n; j++) r = Op::of(r, f(f32{}, j));
  return r;
}
template <class A, class B> struct Both { A first; B second; };
/** fold_along by f and fold by g, as one loop where that is faster (TOGETHER). Then g is folded in another order than `fold` has. */
template <class Op, class Op2, int L, class F, class G> FN auto fold_both(ix n, F f, G g) {
  typedef decltype(f(f32{}, 0)) A; typedef decltype(g(f32{}, 0)) B;
  if constexpr (!TOGETHER || L == 1) {
    const A a = fold_along<Op, L>(n, f);
    return Both<A, B>{a, fold<Op2, L>(n, g)};
  } else {
    auto x = all(vf{}, Op::start(A())); auto y = all(vf{}, Op2::start(B()));
    ix j = 0;
    ROLL for (; j + L <= n; j += L) { x = Op::of(x, f(vf{}, j)); y = Op2::of(y, g(vf{}, j)); }
    if (j < n) { x = Op::of(x, rest(n, j, f, Op::start(A()))); y = Op2::of(y, rest(n, j, g, Op2::start(B()))); }
    return Both<A, B>{across<Op>(x), across<Op2>(y)};
  }
}
template <class Op, class T> FN T start_of(T x) { return Op::start(x); }
template <class Op> FN vf start_of(vf) { return splat(Op::start(f32())); }
template <class Op> FN vi start_of(vi) { return splat(Op::start(i32())); }
/** A fold in which each lane folds for itself: even and odd elements in two accumulators, which are combined at the end. */
template <class Op, class F> FN auto fold_lane(ix n, F f) {
  auto r = start_of<Op>(decltype(f(0))()), s = r;
  ix k = 0;
  ROLL for (; k + 2 <= n; k += 2) { r = Op::of(r, f(k)); s = Op::of(s, f(k + 1)); }
  if (k < n) r = Op::of(r, f(k));
  return Op::of(r, s);
}
template <class Op, int R, class F, class... T> FN void fold_rows(Row<R>& to, ix cols, F f, T&... t) {
  ROLL for (ix i = 0; i < R; i++) to.d[i] = fold<Op, LANES>(cols, [&](auto v, ix j) { return f(v, i, j, t.at(v, i, j)...); });
}
template <class V, class F> FN void scan(ix n, V value, F f) {
  if (n <= 0) return;
  auto sum = start_of<Sum>(decltype(value(0))());
  ROLL for (ix i = 0; i < n; i++) { auto x = value(i); f(i, sum); sum = sum + x; }
}
template <class K> FN void tally(ix n, i32* counts, K key) { ROLL for (ix i = 0; i < n; i++) counts[key(i)]++; }
template <class K, class F> FN void tally(ix n, i32* counts, K key, F f) { ROLL for (ix i = 0; i < n; i++) f(i, ix(counts[key(i)]++)); }
