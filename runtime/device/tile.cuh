// The kernel IR's loops, folds, scans and accumulators on CUDA, where a task is done by a thread block. All threads of the block call each function,
// unless it says otherwise. Any sm_80 or later. After lift.cuh.

// ---- reductions: an operation has `identity`, `combine`, and for i32 `reduce_warp` (redux.sync) ----
struct Sum {
  template <class T> static FN T identity(T) { return 0; }
  static FN f32 combine(f32 a, f32 b) { return a + b; }
  static FN i32 combine(i32 a, i32 b) { return add_(a, b); }
  static FN i64 combine(i64 a, i64 b) { return a + b; }
  template <class T, int N> static FN vec<T, N> combine(vec<T, N> a, vec<T, N> b) { FOR_LANES a.v[i] = combine(a.v[i], b.v[i]); return a; }
  static FN i32 reduce_warp(i32 x) { return __reduce_add_sync(0xffffffffu, x); }
};
struct Max {
  static FN f32 identity(f32) { return -INF; }
  static FN i32 identity(i32) { return -2147483647 - 1; }
  template <class V> static FN V combine(V a, V b) { return max_(a, b); }
  static FN i32 reduce_warp(i32 x) { return __reduce_max_sync(0xffffffffu, x); }
};
struct Min {
  static FN f32 identity(f32) { return INF; }
  static FN i32 identity(i32) { return 2147483647; }
  template <class V> static FN V combine(V a, V b) { return min_(a, b); }
  static FN i32 reduce_warp(i32 x) { return __reduce_min_sync(0xffffffffu, x); }
};
template <class Op, class T> FN T identity_of(T x) { return Op::identity(x); }
template <class Op, class T, int N> FN vec<T, N> identity_of(vec<T, N>) { return splat<T, N>(Op::identity(T())); }
/** Folds f(0) .. f(n - 1) in order, in each thread (and element of a vec) separately. */
template <class Op, class F> FN auto fold_lane(ix n, F f) {
  auto r = identity_of<Op>(decltype(f(0))());
  for (ix k = 0; k < n; k++) r = Op::combine(r, f(k));
  return r;
}
/** Exclusive prefix sums in each thread separately: f(i, sum of value(0) .. value(i - 1)). */
template <class V, class F> FN void scan_lane(ix n, V value, F f) {
  auto sum = identity_of<Sum>(decltype(value(0))());
  for (ix i = 0; i < n; i++) { auto x = value(i); f(i, sum); sum = Sum::combine(sum, x); }
}
/** Reduces over `width` neighbouring lanes of a warp (a power of two) by a butterfly, so always in the same order; all lanes get the result. */
template <class Op, class T> FN T reduce_lanes(T x, i32 width) {
  for (i32 o = width >> 1; o; o >>= 1) x = Op::combine(x, __shfl_xor_sync(0xffffffffu, x, o));
  return x;
}
/** Over a warp; i32 by redux.sync, whose result is in a uniform register. */
template <class Op, class T> FN T reduce_lanes(T x) { return reduce_lanes<Op>(x, 32); }
template <class Op> FN i32 reduce_lanes(i32 x) { return Op::reduce_warp(x); }

// ---- loops over the elements of a line ----
/** Calls f(v, j) for j < n: v is a vec of the W elements from j on, or f32{} for single elements of the tail. */
template <int W, class F> FN void par(ix n, F f) {
  for (ix j = (ix)threadIdx.x * W; j < n; j += (ix)blockDim.x * W)
    if constexpr (W == 1) f(f32{}, j);
    else if (j + W <= n) f(vec<f32, W>{}, j);
    else for (ix q = j; q < n; q++) f(f32{}, q);
}
/** A pointer of which the compiler knows nothing: ptxas takes minutes, for sm_100a, where loops read an array of the thread that another one wrote. */
template <class T> FN T* hidden(T* p) { T* volatile q = p; return q; }
/** Folds f(v, j) over those j < n that one of `parts` threads has: groups of W, in turn. */
template <class Op, int W, class F> FN auto fold_part(ix n, i32 part, i32 parts, F f) {
  auto x = Op::identity(decltype(f(f32{}, 0))());
  for (ix j = (ix)part * W; j < n; j += (ix)parts * W)
    if constexpr (W == 1) x = Op::combine(x, f(f32{}, j));
    else if (j + W <= n) { const auto r = f(vec<f32, W>{}, j); UNROLL for (int q = 0; q < W; q++) x = Op::combine(x, r.v[q]); }
    else for (ix q = j; q < n; q++) x = Op::combine(x, f(f32{}, q));
  return x;
}
/** Folds f(v, j) over j < n; all threads get the result. Order: each thread its own elements, then lanes, then warps; it depends on n and the block only. */
template <class Op, int W, class F> FN auto fold(ix n, F f) {
  auto x = reduce_lanes<Op>(fold_part<Op, W>(n, threadIdx.x, blockDim.x, f));
  SHARED(decltype(x), partial, [32]);
  if (blockDim.x == 32) return x;
  __syncthreads();  // the previous fold has been read
  if (lane_id() == 0) partial[warp_id()] = x;
  __syncthreads();
  return reduce_lanes<Op>(lane_id() < blockDim.x >> 5 ? partial[lane_id()] : Op::identity(x));
}
/** As `par`, but L neighbouring lanes (a power of two) share each element: f(is the first of them, j). All lanes of a warp take part in all rounds, so that
    fold_shared can exchange; those past the end repeat the last element, and are not the first. */
template <int L, class F> FN void par_shared(ix n, F f) {
  for (ix start = 0; start < n; start += (ix)blockDim.x / L) {
    const ix j = start + (ix)threadIdx.x / L;
    f(threadIdx.x % L == 0 && j < n, ix_min(j, n - 1));
  }
}
/** Folds f(v, k) over k < n by the L lanes that share an element; all of them get the result. */
template <class Op, int W, int L, class F> FN auto fold_shared(ix n, F f) {
  return reduce_lanes<Op>(fold_part<Op, W>(n, threadIdx.x % L, L, f), L);
}
/** Elements that a thread loads before it processes the first, to overlap their latencies. */
static constexpr int ITEMS_PER_THREAD = 4;
/** Exclusive prefix sums by a block: f(i, sum of value(0) .. value(i - 1)). Warp scans, then the sums of warps in order; the total is carried on. */
template <class V, class F> FN void scan(ix n, V value, F f) {
  auto carry = identity_of<Sum>(decltype(value(0))());
  SHARED(decltype(carry), warp_sums, [32]);
  const i32 warps = blockDim.x >> 5;
  for (ix base = 0; base < n; base += (ix)blockDim.x * ITEMS_PER_THREAD) {
    decltype(carry) loaded[ITEMS_PER_THREAD];
    UNROLL for (int s = 0; s < ITEMS_PER_THREAD; s++) {
      const ix i = base + (ix)(s * blockDim.x + threadIdx.x);
      loaded[s] = i < n ? value(i) : Sum::identity(carry);
    }
    UNROLL for (int s = 0; s < ITEMS_PER_THREAD; s++) {
      const ix i = base + (ix)(s * blockDim.x + threadIdx.x);
      if (i - (ix)threadIdx.x >= n) break;
      auto sum = loaded[s];
      UNROLL for (int o = 1; o < 32; o <<= 1) { const auto y = __shfl_up_sync(0xffffffffu, sum, o); if (lane_id() >= o) sum = Sum::combine(sum, y); }
      auto before = __shfl_up_sync(0xffffffffu, sum, 1);
      if (lane_id() == 0) before = Sum::identity(sum);
      if (lane_id() == 31) warp_sums[warp_id()] = sum;
      __syncthreads();
      auto start = carry;
      for (i32 w = 0; w < warps; w++) { if (w < warp_id()) start = Sum::combine(start, warp_sums[w]); carry = Sum::combine(carry, warp_sums[w]); }
      if (i < n) f(i, Sum::combine(start, before));
      __syncthreads();
    }
  }
}
/** Histogram: counts[key(i)]++ for i < n. counts: shared memory. */
template <class K> FN void tally(ix n, i32* counts, K key) {
  for (ix i = (ix)threadIdx.x; i < n; i += (ix)blockDim.x) atomicAdd(counts + key(i), 1);
}
/** Stable ranks, as in a counting sort: f(i, counts[key(i)]++) in the order of i. __match_any_sync ranks equal keys in a warp; warps take turns. */
template <class K, class F> FN void tally(ix n, i32* counts, K key, F f) {
  const i32 warps = blockDim.x >> 5;
  for (ix base = 0; base < n; base += (ix)blockDim.x * ITEMS_PER_THREAD) {
    i32 keys[ITEMS_PER_THREAD];
    UNROLL for (int s = 0; s < ITEMS_PER_THREAD; s++) {
      const ix i = base + (ix)(s * blockDim.x + threadIdx.x);
      keys[s] = i < n ? (i32)key(i) : -1;
    }
    UNROLL for (int s = 0; s < ITEMS_PER_THREAD; s++) {
      const ix i = base + (ix)(s * blockDim.x + threadIdx.x);
      if (i - (ix)threadIdx.x >= n) break;
      const i32 k = keys[s];
      const u32 same = __match_any_sync(0xffffffffu, k);
      const i32 first = __ffs(same) - 1, all = __popc(same), below = __popc(same & ((1u << lane_id()) - 1u));
      i32 rank = 0;
      for (i32 w = 0; w < warps; w++) {
        if (w == warp_id() && k >= 0 && (i32)lane_id() == first) { rank = counts[k]; counts[k] = rank + all; }
        __syncthreads();
      }
      rank = __shfl_sync(0xffffffffu, rank, first) + below;
      if (k >= 0) f(i, (ix)rank);
    }
  }
}

/** An accumulator (BM, BN) f32 in registers of the block: WM x WN warps, each MT x NT tiles of 16 x 8 in the layout of mma m16n8: element h * 2 + l of
    d[m][n] is row lane / 4 + 8 h, column lane % 4 * 2 + l of the tile. */
template <int BM, int BN, int WM, int WN> struct Acc {
  static constexpr int MT = BM / WM / 16, NT = BN / WN / 8;
  static constexpr bool HOLDS_ROWS = WN == 1;
  static_assert(MT * WM * 16 == BM && NT * WN * 8 == BN, "a warp takes whole tiles of 16 x 8");
  static_assert(WN == 1 || (NT & (NT - 1)) == 0, "the first column of a warp does not change how load_fragment's addresses are swizzled");
  /** Groups of four columns for which an epilogue (each_prefetched) loads ahead; with several accumulators, one. */
  static constexpr int LOADS_AHEAD = 4;
  f32 d[MT][NT][4];
  FN void fill(f32 x) { UNROLL for (int m = 0; m < MT; m++) UNROLL for (int n = 0; n < NT; n++) UNROLL for (int q = 0; q < 4; q++) d[m][n][q] = x; }
  FN vec<f32, 2>& at(vec<f32, 2>, int m, int n, int h, int) { return *(vec<f32, 2>*)&d[m][n][h * 2]; }
  FN f32& at(f32, int m, int n, int h, int l) { return d[m][n][h * 2 + l]; }
  /** Four adjacent columns per lane, by exchange of pairs with the neighbour: even lanes get tile n, odd ones tile n + 1. */
  FN vec<f32, 4> four_columns(int m, int n, int h) const {
    const bool odd = lane_id() & 1;
    const f32 a = d[m][n][h * 2], b = d[m][n][h * 2 + 1], c = d[m][n + 1][h * 2], e = d[m][n + 1][h * 2 + 1];
    const f32 x = __shfl_xor_sync(0xffffffffu, odd ? a : c, 1), y = __shfl_xor_sync(0xffffffffu, odd ? b : e, 1);
    return {odd ? x : a, odd ? y : b, odd ? c : x, odd ? e : y};
  }
  static FN i32 first_row() { return warp_id() / WN % WM * MT * 16; }  // % WM: a known range lets the compiler drop row guards of full tiles
  static FN i32 first_col() { return warp_id() % WN * NT * 8; }
  static FN i32 row(int m, int h) { return first_row() + m * 16 + (lane_id() >> 2) + h * 8; }
  static FN i32 col(int n) { return first_col() + n * 8 + (lane_id() & 3) * 2; }
};
/** One f32 per row of an accumulator whose warps hold whole rows (a running max or sum), replicated in the quad that holds the row, and in all other
    warps than the first WM. */
template <int BM, int WM> struct PerRow {
  static constexpr int MT = BM / WM / 16;
  f32 d[MT][2];
  FN void fill(f32 x) { UNROLL for (int m = 0; m < MT; m++) d[m][0] = d[m][1] = x; }
  template <class V> FN f32& at(V, int m, int, int h, int) { return d[m][h]; }
  FN f32 four_columns(int m, int, int h) const { return d[m][h]; }
  static FN i32 row(int m, int h) { return (warp_id() % WM * MT + m) * 16 + (lane_id() >> 2) + h * 8; }
  static FN bool owner() { return (lane_id() & 3) == 0 && warp_id() < WM; }
};
/** An accumulator of one row, (1, C), that no mma writes: groups of four columns, distributed over the threads. */
template <int C, int THREADS> struct RowAcc {
  static constexpr int PER = (C + THREADS * 4 - 1) / (THREADS * 4);
  f32 d[PER][4];
  FN void fill(f32 x) { UNROLL for (int p = 0; p < PER; p++) UNROLL for (int q = 0; q < 4; q++) d[p][q] = x; }
  static FN ix col(int p) { return ((ix)threadIdx.x + p * THREADS) * 4; }
};

FN f32& lane_value(vec<f32, 4>& x, int l) { return x.v[l]; }
FN f32& lane_value(f32& x, int) { return x; }
/** The lane's 8 columns of tiles n .. n + 3, a QuadGroup. */
template <class T> FN vec<f32, 8> eight_columns(const T& t, int m, int n, int h) {
  vec<f32, 8> r;
  UNROLL for (int q = 0; q < 8; q++) r.v[q] = t.d[m][n + q / 2][h * 2 + q % 2];
  return r;
}
template <int BM, int WM> FN f32 eight_columns(const PerRow<BM, WM>& t, int m, int, int h) { return t.d[m][h]; }
/** The template argument of `each` where `cols` is a multiple of W, so no group is partial. */
constexpr bool FULL_GROUPS = true;
/** The widest group of `each`: a kernel that spills in a long epilogue is compiled again for 4. */
#ifndef WIDEST_GROUP
#define WIDEST_GROUP 8
#endif
/** Calls f(v, i, j, elements of the accumulators..) for each valid element i < rows, j < cols, in groups of W columns. 2: pairs as they lie in registers.
    4: 16 bytes of f32, exchanged between neighbours; f must not write accumulators. 8: a QuadGroup, where NT allows it, else 4; f is also called for
    rows that are not valid, and its stores do nothing. */
template <int W, bool FULL = false, class F, class T, class... Ts> FN void each(ix rows, ix cols, F f, T& t, Ts&... ts) {
  if constexpr (W == 8 && WIDEST_GROUP == 8 && FULL && T::NT % 4 == 0) {
    UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
      const ix i = T::row(m, h);
      UNROLL for (int n = 0; n < T::NT; n += 4) {
        const ix j = T::first_col() + n * 8;
        auto point = [&](auto... x) { f(QuadGroup{i < rows ? cols - j : 0}, ix_min(i, rows - 1), j + QuadGroup::chunk(), x...); };
        point(eight_columns(t, m, n, h), eight_columns(ts, m, n, h)...);
      }
    }
  } else if constexpr (W >= 4) {
    static_assert(T::NT % 2 == 0, "neighbouring lanes exchange columns of two tiles");
    UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) UNROLL for (int n = 0; n < T::NT; n += 2) {
      const ix i = T::row(m, h), j = T::first_col() + (n + (lane_id() & 1)) * 8 + (lane_id() & 2) * 2;
      auto point = [&](auto... x) {
        if (i < rows && (FULL ? j < cols : j + 4 <= cols)) f(vec<f32, 4>{}, i, j, x...);
        else if constexpr (!FULL) UNROLL for (int l = 0; l < 3; l++) if (i < rows && j + l < cols) f(f32{}, i, j + l, lane_value(x, l)...);
      };
      point(t.four_columns(m, n, h), ts.four_columns(m, n, h)...);
    }
  } else {
    UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) UNROLL for (int n = 0; n < T::NT; n++) {
      const ix i = T::row(m, h), j = T::col(n);
      if (i >= rows) continue;
      auto one = [&](int l) { f(f32{}, i, j + l, t.at(f32{}, m, n, h, l), ts.at(f32{}, m, n, h, l)...); };
      if constexpr (W == 1) { if (j < cols) one(0); if (j + 1 < cols) one(1); }
      else {
        if (FULL ? j < cols : j + 1 < cols) f(vec<f32, 2>{}, i, j, t.at(vec<f32, 2>{}, m, n, h, 0), ts.at(vec<f32, 2>{}, m, n, h, 0)...);
        if constexpr (!FULL) if (j + 1 == cols) one(0);
      }
    }
  }
}
/** {make(k), .., make(k + B - 1)}, called in that order. */
template <class P, int B> struct Batch { P p[B]; };
template <int B, class F> FN auto batch(F make, int k) {
  typedef decltype(make(k)) P;
  if constexpr (B == 8) return Batch<P, 8>{{make(k), make(k + 1), make(k + 2), make(k + 3), make(k + 4), make(k + 5), make(k + 6), make(k + 7)}};
  else if constexpr (B == 4) return Batch<P, 4>{{make(k), make(k + 1), make(k + 2), make(k + 3)}};
  else if constexpr (B == 2) return Batch<P, 2>{{make(k), make(k + 1)}};
  else return Batch<P, 1>{{make(k)}};
}
/** `each` with loads ahead of stores, for epilogues that read memory: f(i) does the loads of row i and returns a function of (v, j), which does the loads
    of four columns and returns a function of the accumulators' elements, which computes and stores. A batch is loaded before its first store, since
    the compiler must assume that they alias. cols is a multiple of 4; f must not write accumulators; v is a Predicated, not valid outside of rows. */
template <class F, class T, class... Ts> FN void each_prefetched(ix rows, ix cols, F f, T& t, Ts&... ts) {
  static_assert(T::NT % 2 == 0, "neighbouring lanes exchange columns of two tiles");
  constexpr int N = T::NT / 2, MOST = sizeof...(Ts) > 0 ? 1 : T::LOADS_AHEAD;
  constexpr int B = N % MOST == 0 ? MOST : N % 2 == 0 ? 2 : 1;
  UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
    const ix i = T::row(m, h);
    const auto column = [](int k) { return (ix)T::first_col() + (k * 2 + (lane_id() & 1)) * 8 + (lane_id() & 2) * 2; };
    const auto row = f(ix_min(i, rows - 1));
    const auto load = [&](int k) { return row(Predicated{{}, i < rows && column(k) < cols}, column(k)); };
    UNROLL for (int k = 0; k < N; k += B) {
      const auto loaded = batch<B>(load, k);
      const auto store = [&](const auto&... x) {
        UNROLL for (int q = 0; q < B; q++) loaded.p[q](x.p[q]...);
      };
      store(batch<B>([&](int n) { return t.four_columns(m, n * 2, h); }, k), batch<B>([&](int n) { return ts.four_columns(m, n * 2, h); }, k)...);
    }
  }
}
/** The same for a RowAcc, in groups of four if W is 4. */
template <int W, bool FULL = false, class F, int C, int THREADS> FN void each(ix, ix cols, F f, RowAcc<C, THREADS>& t) {
  UNROLL for (int p = 0; p < t.PER; p++) {
    const ix j = t.col(p);
    if (W >= 4 && j + 4 <= cols) { if constexpr (W >= 4) f(vec<f32, 4>{}, 0, j, *(vec<f32, 4>*)&t.d[p]); }
    else UNROLL for (int l = 0; l < 4; l++) if (j + l < cols) f(f32{}, 0, j + l, t.d[p][l]);
  }
}
/** Calls f(owner, i, per-row values..) for each row i < rows, in all lanes that hold the row; only the owner may store to memory. */
template <class F, class T, class... Ts> FN void each_row(ix rows, F f, T& t, Ts&... ts) {
  UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
    const ix i = T::row(m, h);
    if (i < rows) f(T::owner(), i, t.at(f32{}, m, 0, h, 0), ts.at(f32{}, m, 0, h, 0)...);
  }
}
/** to[i] = fold of f(v, i, j, elements..) over j < cols. */
template <class Op, int BM, int WM, class F, class T, class... Ts> FN void fold_rows(PerRow<BM, WM>& to, ix cols, F f, T& t, Ts&... ts) {
  static_assert(T::HOLDS_ROWS, "a warp must hold whole rows");
  UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
    f32 x = Op::identity(f32());
    UNROLL for (int n = 0; n < T::NT; n++) UNROLL for (int l = 0; l < 2; l++) {
      const ix i = T::row(m, h), j = T::col(n) + l;
      if (j < cols) x = Op::combine(x, f(f32{}, i, j, t.at(f32{}, m, n, h, l), ts.at(f32{}, m, n, h, l)...));
    }
    to.d[m][h] = reduce_lanes<Op>(x, 4);
  }
}
