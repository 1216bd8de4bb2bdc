// The tile vocabulary on CUDA: what the words of the kernel IR mean where a task is a block's. sm_80 and later: cp.async, ldmatrix,
// mma.sync. Every function is called by all threads of a block, unless it says otherwise. After prelude, vector, math and lift.

// ---- sums and extremes ----
struct Sum {
  template <class T> static FN T start(T) { return 0; }
  static FN f32 of(f32 a, f32 b) { return a + b; }
  static FN i32 of(i32 a, i32 b) { return add_(a, b); }
  static FN i64 of(i64 a, i64 b) { return a + b; }
  template <class T, int N> static FN vec<T, N> of(vec<T, N> a, vec<T, N> b) { EACH a.v[i] = of(a.v[i], b.v[i]); return a; }
  static FN i32 of_warp(i32 x) { return __reduce_add_sync(0xffffffffu, x); }
};
struct Max {
  static FN f32 start(f32) { return -INF; }
  static FN i32 start(i32) { return -2147483647 - 1; }
  template <class V> static FN V of(V a, V b) { return max_(a, b); }
  static FN i32 of_warp(i32 x) { return __reduce_max_sync(0xffffffffu, x); }
};
struct Min {
  static FN f32 start(f32) { return INF; }
  static FN i32 start(i32) { return 2147483647; }
  template <class V> static FN V of(V a, V b) { return min_(a, b); }
  static FN i32 of_warp(i32 x) { return __reduce_min_sync(0xffffffffu, x); }
};
template <class Op, class T> FN T start_of(T x) { return Op::start(x); }
template <class Op, class T, int N> FN vec<T, N> start_of(vec<T, N>) { return splat<T, N>(Op::start(T())); }
/** A thread by itself: each of its lanes its own, in order. */
template <class Op, class F> FN auto fold_lane(ix n, F f) {
  auto r = start_of<Op>(decltype(f(0))());
  for (ix k = 0; k < n; k++) r = Op::of(r, f(k));
  return r;
}
template <class V, class F> FN void scan_lane(ix n, V value, F f) {
  auto sum = start_of<Sum>(decltype(value(0))());
  for (ix i = 0; i < n; i++) { auto x = value(i); f(i, sum); sum = Sum::of(sum, x); }
}
/** Over `width` neighbouring lanes of a warp, a power of two: always in the same tree. */
template <class Op, class T> FN T across(T x, i32 width) {
  for (i32 o = width >> 1; o; o >>= 1) x = Op::of(x, __shfl_xor_sync(0xffffffffu, x, o));
  return x;
}
/** Over a warp; a whole number in one instruction, into a register that all lanes share. */
template <class Op, class T> FN T across(T x) { return across<Op>(x, 32); }
template <class Op> FN i32 across(i32 x) { return Op::of_warp(x); }

// ---- points and folds of a line ----
/** f(v, j) runs with v a group of W, then a number for the tail. */
template <int W, class F> FN void par(ix n, F f) {
  for (ix j = (ix)threadIdx.x * W; j < n; j += (ix)blockDim.x * W)
    if constexpr (W == 1) f(f32{}, j);
    else if (j + W <= n) f(vec<f32, W>{}, j);
    else for (ix q = j; q < n; q++) f(f32{}, q);
}
/** The order is that of threads, warps and the tree: only n and the block decide it. */
template <class Op, int W, class F> FN auto fold(ix n, F f) {
  auto x = Op::start(decltype(f(f32{}, 0))());
  SHARED(decltype(x), part, [32]);
  for (ix j = (ix)threadIdx.x * W; j < n; j += (ix)blockDim.x * W)
    if constexpr (W == 1) x = Op::of(x, f(f32{}, j));
    else if (j + W <= n) { const auto r = f(vec<f32, W>{}, j); UNROLL for (int q = 0; q < W; q++) x = Op::of(x, r.v[q]); }
    else for (ix q = j; q < n; q++) x = Op::of(x, f(f32{}, q));
  x = across<Op>(x);
  if (blockDim.x == 32) return x;
  __syncthreads();  // the last fold's readers are done
  if (lane_id() == 0) part[warp_id()] = x;
  __syncthreads();
  return across<Op>(lane_id() < blockDim.x >> 5 ? part[lane_id()] : Op::start(x));
}
/** Strips of a block that are loaded together, so that memory is waited for once. */
static constexpr int STRIPS = 4;
/** Strips of a block, the total carried from one to the next. */
template <class V, class F> FN void scan(ix n, V value, F f) {
  auto carry = start_of<Sum>(decltype(value(0))());
  SHARED(decltype(carry), part, [32]);
  const i32 warps = blockDim.x >> 5;
  for (ix base = 0; base < n; base += (ix)blockDim.x * STRIPS) {
    decltype(carry) loaded[STRIPS];
    UNROLL for (int s = 0; s < STRIPS; s++) {
      const ix i = base + (ix)(s * blockDim.x + threadIdx.x);
      loaded[s] = i < n ? value(i) : Sum::start(carry);
    }
    UNROLL for (int s = 0; s < STRIPS; s++) {
      const ix i = base + (ix)(s * blockDim.x + threadIdx.x);
      if (i - (ix)threadIdx.x >= n) break;
      auto sum = loaded[s];
      UNROLL for (int o = 1; o < 32; o <<= 1) { const auto y = __shfl_up_sync(0xffffffffu, sum, o); if (lane_id() >= o) sum = Sum::of(sum, y); }
      auto before = __shfl_up_sync(0xffffffffu, sum, 1);
      if (lane_id() == 0) before = Sum::start(sum);
      if (lane_id() == 31) part[warp_id()] = sum;
      __syncthreads();
      auto start = carry;
      for (i32 w = 0; w < warps; w++) { if (w < warp_id()) start = Sum::of(start, part[w]); carry = Sum::of(carry, part[w]); }
      if (i < n) f(i, Sum::of(start, before));
      __syncthreads();
    }
  }
}
/** Counts alone, which have no order. */
template <class K> FN void tally(ix n, i32* counts, K key) {
  for (ix i = (ix)threadIdx.x; i < n; i += (ix)blockDim.x) atomicAdd(counts + key(i), 1);
}
/** Lanes of one key are ranked by their number, and warps take turns at what is counted: ranks follow the order of i. */
template <class K, class F> FN void tally(ix n, i32* counts, K key, F f) {
  const i32 warps = blockDim.x >> 5;
  for (ix base = 0; base < n; base += (ix)blockDim.x * STRIPS) {
    i32 keys[STRIPS];
    UNROLL for (int s = 0; s < STRIPS; s++) {
      const ix i = base + (ix)(s * blockDim.x + threadIdx.x);
      keys[s] = i < n ? (i32)key(i) : -1;
    }
    UNROLL for (int s = 0; s < STRIPS; s++) {
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

// ---- accumulators: WM x WN warps tile the block; a thread holds pairs of columns, as mma m16n8 leaves them ----
template <int BM, int BN, int WM, int WN> struct Acc {
  static constexpr int MT = BM / WM / 16, NT = BN / WN / 8;
  static_assert(MT * WM * 16 == BM && NT * WN * 8 == BN, "a warp takes whole tiles of 16 x 8");
  /** Groups of four columns that there are registers for to load beside it; beside several accumulators, for one. */
  static constexpr int EARLY = 4;
  f32 d[MT][NT][4];
  FN void fill(f32 x) { UNROLL for (int m = 0; m < MT; m++) UNROLL for (int n = 0; n < NT; n++) UNROLL for (int q = 0; q < 4; q++) d[m][n][q] = x; }
  FN vec<f32, 2>& at(vec<f32, 2>, int m, int n, int h, int) { return *(vec<f32, 2>*)&d[m][n][h * 2]; }
  FN f32& at(f32, int m, int n, int h, int l) { return d[m][n][h * 2 + l]; }
  /** Lanes trade pairs: an even one gets four columns of tile n, an odd one of tile n + 1. */
  FN vec<f32, 4> four(int m, int n, int h) const {
    const bool odd = lane_id() & 1;
    const f32 a = d[m][n][h * 2], b = d[m][n][h * 2 + 1], c = d[m][n + 1][h * 2], e = d[m][n + 1][h * 2 + 1];
    const f32 x = __shfl_xor_sync(0xffffffffu, odd ? a : c, 1), y = __shfl_xor_sync(0xffffffffu, odd ? b : e, 1);
    return {odd ? x : a, odd ? y : b, odd ? c : x, odd ? e : y};
  }
  static FN i32 first_row() { return warp_id() / WN % WM * MT * 16; }  // % tells the compiler the range: no full tile has guards
  static FN i32 first_col() { return warp_id() % WN * NT * 8; }
  static FN i32 row(int m, int h) { return first_row() + m * 16 + (lane_id() >> 2) + h * 8; }
  static FN i32 col(int n) { return first_col() + n * 8 + (lane_id() & 3) * 2; }
};
/** A number for each row of an accumulator, known to the four lanes that hold the row. */
template <int BM, int WM, int WN> struct Row {
  static constexpr int MT = BM / WM / 16;
  f32 d[MT][2];
  FN void fill(f32 x) { UNROLL for (int m = 0; m < MT; m++) d[m][0] = d[m][1] = x; }
  template <class V> FN f32& at(V, int m, int, int h, int) { return d[m][h]; }
  FN f32 four(int m, int, int h) const { return d[m][h]; }
  static FN i32 row(int m, int h) { return (warp_id() / WN % WM * MT + m) * 16 + (lane_id() >> 2) + h * 8; }
  static FN bool owner() { return warp_id() % WN == 0 && (lane_id() & 3) == 0; }
};
/** An accumulator of one row that no mma makes: groups of four columns, dealt to the threads. */
template <int C, int THREADS> struct Line {
  static constexpr int PER = (C + THREADS * 4 - 1) / (THREADS * 4);
  f32 d[PER][4];
  FN void fill(f32 x) { UNROLL for (int p = 0; p < PER; p++) UNROLL for (int q = 0; q < 4; q++) d[p][q] = x; }
  static FN ix col(int p) { return ((ix)threadIdx.x + p * THREADS) * 4; }
};

FN f32& lane_of(vec<f32, 4>& x, int l) { return x.v[l]; }
FN f32& lane_of(f32& x, int) { return x; }
/** A thread's pairs of four tiles from n on as one group, which `Traded` writes by 16 bytes. */
template <class T> FN vec<f32, 8> eight(const T& t, int m, int n, int h) {
  vec<f32, 8> r;
  UNROLL for (int q = 0; q < 8; q++) r.v[q] = t.d[m][n + q / 2][h * 2 + q % 2];
  return r;
}
template <int BM, int WM, int WN> FN f32 eight(const Row<BM, WM, WN>& t, int m, int, int h) { return t.d[m][h]; }
/** f(v, i, j, elements..) for each valid element, by pairs where W is 2; by fours, which fill whole sectors, where W is 4: then f changes no
    tile; by eights, which four lanes trade, where W is 8 and tiles allow it: then f runs for rows that are not valid, too, and stores nothing.
    WHOLE: `cols` is a multiple of W. */
template <int W, bool WHOLE = false, class F, class T, class... Ts> FN void each(ix rows, ix cols, F f, T& t, Ts&... ts) {
  if constexpr (W == 8 && WHOLE && T::NT % 4 == 0) {
    UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
      const ix i = T::row(m, h);
      UNROLL for (int n = 0; n < T::NT; n += 4) {
        const ix j = T::first_col() + n * 8;
        auto point = [&](auto... x) { f(Traded{i < rows ? cols - j : 0}, ix_min(i, rows - 1), j + Traded::chunk(), x...); };
        point(eight(t, m, n, h), eight(ts, m, n, h)...);
      }
    }
  } else if constexpr (W >= 4) {
    static_assert(T::NT % 2 == 0, "lanes trade columns of two tiles");
    UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) UNROLL for (int n = 0; n < T::NT; n += 2) {
      const ix i = T::row(m, h), j = T::first_col() + (n + (lane_id() & 1)) * 8 + (lane_id() & 2) * 2;
      auto point = [&](auto... x) {
        if (i < rows && (WHOLE ? j < cols : j + 4 <= cols)) f(vec<f32, 4>{}, i, j, x...);
        else if constexpr (!WHOLE) UNROLL for (int l = 0; l < 3; l++) if (i < rows && j + l < cols) f(f32{}, i, j + l, lane_of(x, l)...);
      };
      point(t.four(m, n, h), ts.four(m, n, h)...);
    }
  } else UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) UNROLL for (int n = 0; n < T::NT; n++) {
    const ix i = T::row(m, h), j = T::col(n);
    if (i >= rows) continue;
    auto one = [&](int l) { f(f32{}, i, j + l, t.at(f32{}, m, n, h, l), ts.at(f32{}, m, n, h, l)...); };
    if constexpr (W == 1) { if (j < cols) one(0); if (j + 1 < cols) one(1); }
    else {
      if (WHOLE ? j < cols : j + 1 < cols) f(vec<f32, 2>{}, i, j, t.at(vec<f32, 2>{}, m, n, h, 0), ts.at(vec<f32, 2>{}, m, n, h, 0)...);
      if constexpr (!WHOLE) if (j + 1 == cols) one(0);
    }
  }
}
template <class P, int B> struct Batch { P p[B]; };
template <int B, class F> FN auto batch(F make, int k) {
  typedef decltype(make(k)) P;
  if constexpr (B == 8) return Batch<P, 8>{{make(k), make(k + 1), make(k + 2), make(k + 3), make(k + 4), make(k + 5), make(k + 6), make(k + 7)}};
  else if constexpr (B == 4) return Batch<P, 4>{{make(k), make(k + 1), make(k + 2), make(k + 3)}};
  else if constexpr (B == 2) return Batch<P, 2>{{make(k), make(k + 1)}};
  else return Batch<P, 1>{{make(k)}};
}
/** f(i) loads what a row's points need and gives a function of (v, j), which loads what those of four columns need and gives one of their
    elements: a batch of them is loaded before the first is stored, for a store may be to what is loaded. `cols` is a multiple of four; f does
    not change a tile. It runs for rows that are not valid, too, and stores nothing. */
template <class F, class T, class... Ts> FN void each_early(ix rows, ix cols, F f, T& t, Ts&... ts) {
  static_assert(T::NT % 2 == 0, "lanes trade columns of two tiles");
  constexpr int N = T::NT / 2, MOST = sizeof...(Ts) > 0 ? 1 : T::EARLY;
  constexpr int B = N % MOST == 0 ? MOST : N % 2 == 0 ? 2 : 1;
  UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
    const ix i = T::row(m, h);
    const auto column = [](int k) { return (ix)T::first_col() + (k * 2 + (lane_id() & 1)) * 8 + (lane_id() & 2) * 2; };
    const auto row = f(ix_min(i, rows - 1));
    const auto load = [&](int k) { return row(Kept{{}, i < rows && column(k) < cols}, column(k)); };
    UNROLL for (int k = 0; k < N; k += B) {
      const auto loaded = batch<B>(load, k);
      const auto store = [&](const auto&... x) {
        UNROLL for (int q = 0; q < B; q++) loaded.p[q](x.p[q]...);
      };
      store(batch<B>([&](int n) { return t.four(m, n * 2, h); }, k), batch<B>([&](int n) { return ts.four(m, n * 2, h); }, k)...);
    }
  }
}
/** Of a line, by fours where W is 4. */
template <int W, bool WHOLE = false, class F, int C, int THREADS> FN void each(ix, ix cols, F f, Line<C, THREADS>& t) {
  UNROLL for (int p = 0; p < t.PER; p++) {
    const ix j = t.col(p);
    if (W >= 4 && j + 4 <= cols) { if constexpr (W >= 4) f(vec<f32, 4>{}, 0, j, *(vec<f32, 4>*)&t.d[p]); }
    else UNROLL for (int l = 0; l < 4; l++) if (j + l < cols) f(f32{}, 0, j + l, t.d[p][l]);
  }
}
/** f(owner, i, rows..) for each row; what it stores to memory, it stores where `owner`. */
template <class F, class T, class... Ts> FN void each_row(ix rows, F f, T& t, Ts&... ts) {
  UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
    const ix i = T::row(m, h);
    if (i < rows) f(T::owner(), i, t.at(f32{}, m, 0, h, 0), ts.at(f32{}, m, 0, h, 0)...);
  }
}
template <class Op, int BM, int WM, int WN, class F, class T, class... Ts> FN void fold_rows(Row<BM, WM, WN>& to, ix cols, F f, T& t, Ts&... ts) {
  static_assert(WN == 1, "a warp must hold whole rows");
  UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
    f32 x = Op::start(f32());
    UNROLL for (int n = 0; n < T::NT; n++) UNROLL for (int l = 0; l < 2; l++) {
      const ix i = T::row(m, h), j = T::col(n) + l;
      if (j < cols) x = Op::of(x, f(f32{}, i, j, t.at(f32{}, m, n, h, l), ts.at(f32{}, m, n, h, l)...));
    }
    to.d[m][h] = across<Op>(x, 4);
  }
}
