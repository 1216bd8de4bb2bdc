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
/**
 * `par` for a loop over row number `row`, the loop-th of `loops`: calls f(v, j, ahead); ahead: what is prefetched. On Zen 5 every second of long rows takes
 * its blocks from the last to the first, so that L1 still holds the weights that the row before took last (a layernorm of 4096 takes 5% less).
 */
template <int L, class N, class F> FN void par_back_and_forth(N n, ix row, ix loop, ix loops, F f) {
  if constexpr (L == 1 || !ZEN5) par<L>(n, [&](auto v, ix j) { f(v, j, prefetch_share(n, j, loop, loops)); });
  else {
    constexpr ix BLOCK = 512;
    const bool back = n >= LONG_ROW && row % 2 != 0;
    const ix end = n / L * L, blocks = (end + BLOCK - 1) / BLOCK;
    ix nth = 0;
    NO_UNROLL for (ix b = 0; b < blocks; b++) {
      const ix from = BLOCK * (back ? blocks - 1 - b : b), to = ix_min(from + BLOCK, end);
      NO_UNROLL for (ix j = from; j < to; j += L, nth += L) f(vf{}, j, prefetch_share(n, j, loop, loops, 1, nth));
    }
    if constexpr (has_tail<N>) if (end < n) f(Tail{(i32)(n - end)}, end, Prefetch{});
  }
}
/** Calls f(i, j), which prefetches 16 elements (a cache line) from (i, j) on, for each line of a part. */
template <class F> FN void prefetch_tile(TileCoord p, F f) { NO_UNROLL for (ix i = p.r; i < p.r + p.h; i++) NO_UNROLL for (ix j = 0; j < p.w; j += 16) f(i, j); }
template <int L, class N, class F, class... T> FN void each(ix rows, N cols, F f, T&... t) { each_in<L>({0, rows, 0, cols}, cols, f, t...); }
template <class F, class... T> FN void each_row(ix rows, F f, T&... t) { NO_UNROLL for (ix i = 0; i < rows; i++) f(f32{}, i, t.at(f32{}, i, 0)...); }
/** Numbers that one loop folds, each by itself. (GCC keeps members in registers, but not the elements of an array.) */
template <class T, int N> struct Several { T first; Several<T, N - 1> rest; };
template <class T> struct Several<T, 1> { T first; };
template <class T> FN Several<T, 1> several_(T x) { return {x}; }
template <class T, class... R> FN Several<T, 1 + sizeof...(R)> several_(T x, R... rest) { return {x, several_(rest...)}; }
template <int I, class T, int N> FN T part_(const Several<T, N>& all) { if constexpr (I == 0) return all.first; else return part_<I - 1>(all.rest); }
/** The results of f for the numbers of both, one by one. */
template <class F, class A, class B> FN auto each_of(F f, const Several<A, 1>& a, const Several<B, 1>& b) { return several_(f(a.first, b.first)); }
template <class F, class A, class B, int N> FN auto each_of(F f, const Several<A, N>& a, const Several<B, N>& b) -> Several<decltype(f(a.first, b.first)), N> {
  return {f(a.first, b.first), each_of(f, a.rest, b.rest)};
}
template <class T, int N> FN auto operator+(const Several<T, N>& a, const Several<T, N>& b) { return each_of([](T x, T y) { return x + y; }, a, b); }
template <int N> FN auto broadcast(vf v, const Several<f32, N>& all) { return each_of([=](f32 x, f32) { return broadcast(v, x); }, all, all); }
template <class C, int N> FN auto where(C c, const Several<vf, N>& a, const Several<f32, N>& b) { return each_of([=](vf x, f32 y) { return where(c, x, y); }, a, b); }
struct Sum {
  template <int N, class T> static FN Several<T, N> identity(const Several<T, N>& all) { return each_of([](T, T) { return T(); }, all, all); }
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
template <class Op, int N> FN auto reduce_lanes(const Several<vf, N>& all) { return each_of([](vf x, vf) { return reduce_lanes<Op>(x); }, all, all); }
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
/**
 * Calls store(v, j, ahead) for the elements of row number `row`, and folds value(v, j, ahead) over the next one; `tensors`: of how many the row is made. One
 * loop, but two on Zen 5 for long rows (an rmsnorm of 4096 takes 12% less, of 8192 18%) and for two tensors or more (10 to 28%). The order of the fold is
 * that of `fold`.
 */
template <class Op, int L, class N, class S, class F> FN auto store_and_fold(N n, ix tensors, ix row, S store, F value) {
  if constexpr (L > 1) if (!ZEN5 || (tensors == 1 && n < LONG_ROW)) {
    const auto r = Op::identity(decltype(value(f32{}, 0, Prefetch{}))());
    auto x = broadcast(vf{}, r), y = x, z = x, w = x;
    const Prefetch ahead = {prefetch_bytes(n), TIMES};
    const ix rounds = n / (4 * L) * (4 * L);
    ix j = 0;
    NO_UNROLL for (; j + L <= n; j += L) {
      store(vf{}, j, ahead);
      const auto next = Op::combine(x, value(vf{}, j, ahead));
      if (j < rounds) { x = y; y = z; z = w; w = next; } else x = next;
    }
    const auto last = [&](auto v, ix k) { return value(v, k, ahead); };
    if constexpr (has_tail<N>) if (j < n) { store(Tail{(i32)(n - j)}, j, ahead); y = Op::combine(y, rest(n, j, last, r)); }
    return reduce_lanes<Op>(Op::combine(Op::combine(x, y), Op::combine(z, w)));
  }
  par_back_and_forth<L>(n, row, 0, 1, store);
  return fold<Op, L>(n, [&](auto v, ix j) { return value(v, j, Prefetch{}); });
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
struct Moments { f32 sum, squares; };
/** The sum of the elements from `from` on, and that of the squares of their distances from their mean, in two loops. */
template <int L, class N, class F> FN Moments moments_apart(N n, ix from, F f) {
  const f32 sum = fold<Sum, L>(n - from, [&](auto v, ix k) { return f(v, from + k); }), mean = sum / (f32)(n - from);
  return {sum, fold<Sum, L>(n - from, [&](auto v, ix k) { const auto d = f(v, from + k) - mean; return d * d; })};
}
/** Adds four elements of each lane to the mean, and to twice the sum of squares, of `blocks` times as many; weight = 1 / (blocks + 1). */
FN void add_moments(vf& mean, vf& twice, const vf (&x)[4], f32 blocks, f32 weight) {
  const vf a = x[0] + x[1], b = x[2] + x[3], p = x[0] - x[1], q = x[2] - x[3], between = a - b, d = (a + b) * 0.25f - mean;
  twice = fma_(p, p, fma_(q, q, fma_(between * 0.5f, between, twice)));
  twice = fma_(d * (8.0f * blocks * weight), d, twice);
  mean = fma_(d, splat(weight), mean);
}
/** The elements that are added in one round: four accumulators, each of four vectors. */
constexpr ix MOMENTS_ROUND = 16 * LANES;
/**
 * The same in one loop: means and squares of blocks are merged (Chan, Golub and LeVeque 1979), so nothing cancels. What is left of the row has loops of
 * its own, and so has a row of numbers whose squares overflow.
 */
template <class N, class F> FN Moments moments_together(N n, F f) {
  vf mean[4] = {}, twice[4] = {}, all = {}, squares = {};
  f32 blocks = 0.0f;
  ix j = 0;
  NO_UNROLL for (; j + MOMENTS_ROUND <= n; j += MOMENTS_ROUND) {
    const f32 weight = 1.0f / (blocks + 1.0f);
    UNROLL for (int a = 0; a < 4; a++) {
      vf x[4];
      UNROLL for (int i = 0; i < 4; i++) x[i] = f(vf{}, j + (4 * a + i) * LANES);
      add_moments(mean[a], twice[a], x, blocks, weight);
    }
    blocks += 1.0f;
  }
  UNROLL for (int a = 0; a < 4; a++) all += mean[a] * 0.25f;
  UNROLL for (int a = 0; a < 4; a++) { const vf d = mean[a] - all; squares = fma_(d * d, splat(4.0f * blocks), fma_(twice[a], splat(0.5f), squares)); }
  const f32 lanes = sum_(all), own = lanes / LANES, of_lane = (f32)(j / LANES);
  const vf d = all - own;
  const Moments most = {lanes * of_lane, sum_(fma_(d * d, splat(of_lane), squares))};
  if (!(most.squares < __builtin_inff())) j = 0; // an infinity, or means and squares that overflow where a row's own do not
  if (j == n) return most;
  const Moments rest = moments_apart<LANES>(n, j, f);
  if (j == 0) return rest;
  const f32 apart = rest.sum / (f32)(n - j) - own;
  return {most.sum + rest.sum, most.squares + rest.squares + apart * apart * ((f32)j * (f32)(n - j) / (f32)n)};
}
/**
 * The sum of a row of n, and that of the squares of the distances from its mean. The order depends on n alone. One loop only with AVX-512, and not for
 * short rows (a layernorm from memory takes 6% less on Zen 5, from the cache as long): with AVX2 it takes 15% more.
 */
template <int L, class N, class F> FN Moments moments(N n, F f) {
  if constexpr (L == 16) if (n >= 2 * MOMENTS_ROUND) return moments_together(n, f);
  return moments_apart<L>(n, 0, f);
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
