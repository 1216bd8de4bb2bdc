// The tile vocabulary on CUDA: what the words of the kernel IR mean where a task is a block's. sm_80 and later: cp.async, ldmatrix,
// mma.sync. Every function is called by all threads of a block, unless it says otherwise. After prelude, vector, math and lift.

// ---- sums and extremes ----
struct Sum {
  template <class T> static FN T start(T) { return 0; }
  template <class V> static FN V of(V a, V b) { return a + b; }
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
  for (ix i = 0; i < n; i++) { auto x = value(i); f(i, sum); sum = sum + x; }
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
/** Strips of a block, the total carried from one to the next. */
template <class V, class F> FN void scan(ix n, V value, F f) {
  auto carry = start_of<Sum>(decltype(value(0))());
  SHARED(decltype(carry), part, [32]);
  const i32 warps = blockDim.x >> 5;
  for (ix base = 0; base < n; base += blockDim.x) {
    const ix i = base + threadIdx.x;
    auto x = carry;
    x = i < n ? value(i) : Sum::start(x);
    auto sum = x;
    UNROLL for (int o = 1; o < 32; o <<= 1) { const auto y = __shfl_up_sync(0xffffffffu, sum, o); if (lane_id() >= o) sum = sum + y; }
    auto before = __shfl_up_sync(0xffffffffu, sum, 1);
    if (lane_id() == 0) before = Sum::start(x);
    if (lane_id() == 31) part[warp_id()] = sum;
    __syncthreads();
    auto start = carry;
    for (i32 w = 0; w < warps; w++) { if (w < warp_id()) start = start + part[w]; carry = carry + part[w]; }
    if (i < n) f(i, start + before);
    __syncthreads();
  }
}
/** Warps take turns, and lanes of one key are ranked by their number: ranks follow the order of i. */
template <class K, class F> FN void tally(ix n, i32* counts, K key, F f) {
  const i32 warps = blockDim.x >> 5;
  for (ix base = 0; base < n; base += blockDim.x) {
    const ix i = base + threadIdx.x;
    const i32 k = i < n ? (i32)key(i) : -1;
    for (i32 w = 0; w < warps; w++) {
      if (w == warp_id()) {
        const u32 same = __match_any_sync(0xffffffffu, k);
        const i32 first = __ffs(same) - 1, below = __popc(same & ((1u << lane_id()) - 1u));
        i32 rank = 0;
        if (k >= 0 && (i32)lane_id() == first) { rank = counts[k]; counts[k] = rank + __popc(same); }
        rank = __shfl_sync(0xffffffffu, rank, first) + below;
        if (k >= 0) f(i, (ix)rank);
      }
      __syncthreads();
    }
  }
}

// ---- accumulators: WM x WN warps tile the block; a thread holds pairs of columns, as mma m16n8 leaves them ----
template <int BM, int BN, int WM, int WN> struct Acc {
  static constexpr int MT = BM / WM / 16, NT = BN / WN / 8;
  static_assert(MT * WM * 16 == BM && NT * WN * 8 == BN, "a warp takes whole tiles of 16 x 8");
  /** Groups of four columns that there are registers for to load beside it. */
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
        auto point = [&](auto... x) { f(Traded{i < rows ? cols - j : 0}, ix_max(ix_min(i, rows - 1), 0), j + Traded::chunk(), x...); };
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
/** f(v, i, j) loads what the points of four columns need, and gives a function of their elements: a batch of them is loaded before the first is
    stored, for a store may be to what is loaded. `cols` is a multiple of four; f does not change a tile. */
template <class F, class T, class... Ts> FN void each_early(ix rows, ix cols, F f, T& t, Ts&... ts) {
  static_assert(T::NT % 2 == 0, "lanes trade columns of two tiles");
  constexpr int N = T::NT / 2, B = N % T::EARLY == 0 ? T::EARLY : N % 2 == 0 ? 2 : 1;
  UNROLL for (int m = 0; m < T::MT; m++) UNROLL for (int h = 0; h < 2; h++) {
    const ix i = T::row(m, h);
    const auto column = [](int k) { return (ix)T::first_col() + (k * 2 + (lane_id() & 1)) * 8 + (lane_id() & 2) * 2; };
    const auto load = [&](int k) { return f(vec<f32, 4>{}, ix_max(ix_min(i, rows - 1), 0), ix_max(ix_min(column(k), cols - 4), 0)); };
    UNROLL for (int k = 0; k < N; k += B) {
      const auto loaded = batch<B>(load, k);
      const auto store = [&](const auto&... x) {
        if (i < rows) UNROLL for (int q = 0; q < B; q++) if (column(k + q) < cols) loaded.p[q](x.p[q]...);
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

// ---- operands: S stages in shared memory, of R rows of C elements in memory order, 16-byte chunks swizzled so that no two lanes of a
// fragment meet in a bank. TRANSPOSED: the rows in memory are the operand's columns. ----
FN void st_chunk(u8* p, vec<f32, 4> x) { *(vec<f32, 4>*)p = x; }
FN void st_chunk(u8* p, vec<f32, 8> x) {
  vec<u32, 4> w;
  UNROLL for (int q = 0; q < 4; q++) w.v[q] = pack_bf16(x.v[2 * q], x.v[2 * q + 1]);
  *(vec<u32, 4>*)p = w;
}

/** What a row's chunks are moved by: no two of eight rows by the same. In tf32 nor do four rows share pairs of chunks, which lanes load down. */
#ifdef TF32
#define SWIZZLE(r) (((r) << 1 & 6) ^ ((r) >> 2 & 1) * 3)
#else
#define SWIZZLE(r) ((r) & 7)
#endif
/** One stage, as an mma sees it. */
template <class E, int R, int C, bool TRANSPOSED> struct Staged {
  typedef E element;
  static constexpr int PER = 16 / sizeof(E), CH = C / PER, SW = (CH < 8 ? CH : 8) - 1;
  const u8* mem;
  static FN u32 moved(u32 r) {
    if constexpr (CH < 8) return r / (8 / CH) & SW;
    else return SWIZZLE(r);
  }
  static FN u32 place(u32 r, u32 ch) { return r * CH + (ch ^ moved(r)); }
  FN const f32* number(i32 r, i32 c) const { return (const f32*)(mem + place(r, c / 4) * 16) + c % 4; }
  /** Four values along the depth of one row of a left operand. */
  FN void left(i32 i, int k, f32 (&x)[4]) const {
    if constexpr (TRANSPOSED) UNROLL for (int q = 0; q < 4; q++) x[q] = *number(k + q, i);
    else *(vec<f32, 4>*)x = *(const vec<f32, 4>*)number(i, k);
  }
  /** Four values along the depth of two columns of a right operand. */
  FN void right(i32 j, int k, f32 (&y)[4][2]) const {
    if constexpr (TRANSPOSED) UNROLL for (int l = 0; l < 2; l++) {
      const vec<f32, 4> x = *(const vec<f32, 4>*)number(j + l, k);
      UNROLL for (int q = 0; q < 4; q++) y[q][l] = x.v[q];
    }
    else UNROLL for (int q = 0; q < 4; q++) *(vec<f32, 2>*)y[q] = *(const vec<f32, 2>*)number(k + q, j);
  }
  /** Two numbers, one below the other along the depth, of a column of a right operand. */
  FN void pair(i32 j, int k, f32& x, f32& y) const {
    if constexpr (TRANSPOSED) { const vec<f32, 2> both = *(const vec<f32, 2>*)number(j, k); x = both.v[0]; y = both.v[1]; }
    else { x = *number(k, j); y = *number(k + 1, j); }
  }
  /** A 16x16 fragment at depth 16 ks, `eights` (even) past the warp's `first` row of a left operand or column of a RIGHT one. DOWN: depth
      runs down the rows. What depends on the lane does not change in a loop: a load costs at most an add, an xor and an immediate. */
  template <bool RIGHT> FN void fragment(i32 first, int ks, int eights, u32 (&r)[4]) const {
    constexpr bool DOWN = RIGHT != TRANSPOSED;
    const u32 l = lane_id(), i = TRANSPOSED ? (l >> 4) * 8 + (l & 7) : l & 15, ch = TRANSPOSED ? l >> 3 & 1 : l >> 4;
    const u32 lane = (DOWN ? place(i, first / 8 + ch) : place(first + i, ch)) * 16;
    const int rows = DOWN ? ks * 16 : eights * 8, chunks = DOWN ? eights : ks * 2;
    const u32 at = ((shared_address(mem) + lane) ^ (chunks & SW) * 16) + (rows * CH + (chunks & ~SW)) * 16;
    if constexpr (DOWN) ldmatrix_x4_trans(r, at); else ldmatrix_x4(r, at);
  }
};
/** The same memory, as its transpose. */
template <class E, int R, int C, bool TRANSPOSED> FN Staged<E, R, C, !TRANSPOSED> turned(const Staged<E, R, C, TRANSPOSED>& s) { return {s.mem}; }
/** PITCH: elements from one row to the next where that is a constant, else 0 (a gather: a thread keeps a pointer for each chunk). */
template <class E, int R, int C, int S, int THREADS, bool TRANSPOSED, int PITCH> struct Stage {
  static constexpr int N = 16 / sizeof(E), CH = C / N, BYTES = R * C * sizeof(E), PER = (R * CH + THREADS - 1) / THREADS, STEP = THREADS / CH;
  static_assert(THREADS % CH == 0, "a thread's chunks lie in one column");
  u8* mem;
  const E* from[PITCH ? 1 : PER];
  i32 numbers[(R + 31) / 32];
  FN Stage(u8* mem) : mem(mem) {}
  FN Staged<E, R, C, TRANSPOSED> operator[](i32 s) const { return {mem + s * BYTES}; }
  /** f(q, row, column, byte in the stage) for each chunk of the thread. */
  template <class F> FN void chunks(F f) const {
    const u32 tid = threadIdx.x % THREADS, r = tid / CH, ch = tid % CH;  // % tells the compiler the range
    UNROLL for (int q = 0; q < PER; q++)
      if (R % STEP == 0 || r + q * STEP < R) f(q, i32(r + q * STEP), i32(ch * N), Staged<E, R, C, TRANSPOSED>::place(r + q * STEP, ch) * 16);
  }
  static FN u32 bytes(bool row, ix cols) { return row ? (cols >= N ? 16 : cols > 0 ? (u32)cols * sizeof(E) : 0) : 0; }
  /** Each thread keeps the addresses of its chunks; loads then only step. Rows past `rows` are copied as zeros: never read, nor their indices. */
  template <class F> FN void bind(ix rows, F f) {
    if constexpr (PITCH > 0) from[0] = f(0, 0);
    else chunks([&](int q, i32 r, i32 c, u32) { from[q] = f(ix_max(ix_min(r, rows - 1), 0), c); });
  }
  FN void load(i32 s, ix step, ix rows, ix cols) const {
    chunks([&](int q, i32 r, i32 c, u32 at) { copy_async(shared_address(mem) + s * BYTES + at, (PITCH ? from[0] + (step + (r - q * STEP) * PITCH + c) + q * STEP * PITCH : from[q] + step), bytes(r < rows, cols - c)); });
  }
  /** A gather along a loop: what a thread's chunks lie behind the beginnings of their rows. */
  template <class F> FN void columns(F f) { from[0] = f((ix)(threadIdx.x % CH * N)); }
  /** A lane fetches the number that one row in 32 is found by, a round before the rows. */
  template <class F> FN void look(ix rows, F f) {
    if (rows > 0) UNROLL for (int g = 0; g < R / 32; g++) numbers[g] = f(ix_min((ix)lane_id() + g * 32, rows - 1));
  }
  /** f(number): where the row begins. */
  template <class F> FN void gather(i32 s, ix rows, ix cols, F f) const {
    static_assert(R % 32 == 0 && 32 % STEP == 0, "a chunk's row is in one register");
    ix starts[R / 32];
    UNROLL for (int g = 0; g < R / 32; g++) starts[g] = f(numbers[g]);
    chunks([&](int q, i32 r, i32 c, u32 at) {
      copy_async(shared_address(mem) + s * BYTES + at, from[0] + __shfl_sync(0xffffffffu, starts[q * STEP / 32], r & 31), bytes(r < rows, cols - c));
    });
  }
  template <class F> FN void load(i32 s, ix rows, ix cols, F f) const {
    chunks([&](int, i32 r, i32 c, u32 at) { copy_async(shared_address(mem) + s * BYTES + at, f(ix_max(ix_min(r, rows - 1), 0), c), bytes(r < rows, cols - c)); });
  }
  /** Any value, or an address that is not aligned: through registers. */
  template <class F> FN void put(i32 s, ix rows, ix cols, F f) const {
    chunks([&](int, i32 r, i32 c, u32 at) {
      vec<f32, N> x;
      UNROLL for (int q = 0; q < N; q++) x.v[q] = r < rows && c + q < cols ? f(r, c + q) : 0.0f;
      st_chunk(mem + s * BYTES + at, x);
    });
  }
};
FN void staged() { copies_commit(); copies_wait<0>(); __syncthreads(); }
/** The first steps' loads, with which a pipeline then begins. */
template <int STEPS, class L> FN void load_first(ix from, ix to, ix step, L load) {
  UNROLL for (i32 s = 0; s < STEPS; s++) { if (from + s * step < to) load(from + s * step, s); copies_commit(); }
}
/** Loads run S - 1 steps ahead of compute. A stage is refilled when the barrier shows that everyone has done with it. After it, all of them are free. */
template <int S, class L, class F> FN void pipeline(ix from, ix to, ix step, L load, F compute) {
  static_assert(S > 1, "stages");
  constexpr int AHEAD = S - 1;
  i32 cur = 0;
  KEEP_ROLLED for (ix at = from; at < to; at += step) {
    copies_wait<AHEAD - 1>(); __syncthreads();
    if (to - at > AHEAD * step) load(at + AHEAD * step, cur == 0 ? AHEAD : cur - 1);
    copies_commit();
    compute(at, cur);
    cur = cur == AHEAD ? 0 : cur + 1;
  }
  copies_wait<0>(); __syncthreads();
}

// ---- blocks of `step` rows of ragged groups, in order. Offsets count `unit` rows each. A lane knows one of 32 groups, so that memory is asked
// only once for all the blocks of these. ----
struct Ragged {
  const i32* offsets;
  i32 groups, unit, step, window = -32, e = 0;
  ix at = 0, to = 0;
  /** Of the lane's group: blocks up to its end, the row that block 0 would begin at if all were its own, and its end. */
  i32 upto = 0;
  ix origin = 0, end = 0;
  FN Ragged(const i32* offsets, i32 groups, i32 unit, i32 step) : offsets(offsets), groups(groups), unit(unit), step(step) {}
  /** Where block t is; false where there is none. t never falls. */
  FN bool seek(i32 t) {
    for (;;) {
      const u32 hit = __ballot_sync(0xffffffffu, upto > t);
      if (hit) {
        const i32 l = __ffs(hit) - 1;
        e = window + l;
        at = __shfl_sync(0xffffffffu, origin, l) + (ix)t * step;
        to = __shfl_sync(0xffffffffu, end, l);
        return true;
      }
      if (window + 32 >= groups) return false;
      look();
    }
  }
  /** The next 32 groups. */
  FN void look() {
    window += 32;
    const i32 g = window + (i32)lane_id(), last = g < groups ? g : groups - 1;
    const ix from = (ix)offsets[last] * unit;
    end = g < groups ? (ix)offsets[last + 1] * unit : from;
    const i32 blocks = (i32)((end - from + step - 1) / step);
    const i32 before = __shfl_sync(0xffffffffu, upto, 31);
    upto = blocks;
    UNROLL for (int o = 1; o < 32; o <<= 1) { const i32 y = __shfl_up_sync(0xffffffffu, upto, o); if (lane_id() >= o) upto += y; }
    upto += before;
    origin = from - (ix)(upto - blocks) * step;
  }
};

// ---- mma: f32 by FMA, each sum in the order of its depth; bf16 by tensor cores, which a right operand of f32 passes in three parts ----
template <class B, class C> struct On { B b; C& acc; };
template <class B, class C> FN On<B, C> on(B b, C& acc) { return {b, acc}; }

/** An accumulator as a left operand in shared memory; warps hold whole rows, so each reads what it wrote itself. */
template <int BM, int BN, int WM, int WN> FN Staged<f32, BM, BN, false> held(const Acc<BM, BN, WM, WN>& a, u8* mem) {
  static_assert(WN == 1, "a warp must hold whole rows");
  Staged<f32, BM, BN, false> to{mem};
  __syncwarp();
  UNROLL for (int m = 0; m < a.MT; m++) UNROLL for (int n = 0; n < a.NT; n++) UNROLL for (int h = 0; h < 2; h++)
    *(vec<f32, 2>*)to.number(a.row(m, h), a.col(n)) = {a.d[m][n][h * 2], a.d[m][n][h * 2 + 1]};
  __syncwarp();
  return to;
}
template <int MT, class B, class C> FN void mma_numbers(int k, const f32 (&x)[MT][2][4], const On<B, C>& p) {
  UNROLL for (int n = 0; n < C::NT; n++) {
    f32 y[4][2];
    p.b.right(C::col(n), k, y);
    UNROLL for (int q = 0; q < 4; q++) UNROLL for (int m = 0; m < MT; m++) UNROLL for (int h = 0; h < 2; h++) UNROLL for (int l = 0; l < 2; l++)
      p.acc.d[m][n][h * 2 + l] = mad(x[m][h][q], y[q][l], p.acc.d[m][n][h * 2 + l]);
  }
}
template <class C, class E, int R, int K, bool T> FN void fragment_of(const Staged<E, R, K, T>& a, int ks, int m, u32 (&r)[4]) { a.template fragment<false>(C::first_row(), ks, m * 2, r); }
/** An accumulator as a left operand: the same layout, rounded. */
template <class C, int BM, int BN, int WM, int WN> FN void fragment_of(const Acc<BM, BN, WM, WN>& a, int ks, int m, u32 (&r)[4]) {
  static_assert(WN == 1, "a warp must hold whole rows");
  UNROLL for (int q = 0; q < 4; q++) r[q] = pack_bf16(a.d[m][2 * ks + q / 2][q % 2 * 2], a.d[m][2 * ks + q / 2][q % 2 * 2 + 1]);
}
template <int MT, class E, int R, int K, bool T, class C> FN void mma_fragments(int ks, const u32 (&a)[MT][4], const On<Staged<E, R, K, T>, C>& p) {
  static_assert(C::NT % 2 == 0, "a fragment holds 16 columns");
  UNROLL for (int n = 0; n < C::NT; n += 2) {
    u32 b[4];
    p.b.template fragment<true>(C::first_col(), ks, n, b);
    UNROLL for (int m = 0; m < MT; m++) { mma_bf16(p.acc.d[m][n], a[m], b[0], b[1]); mma_bf16(p.acc.d[m][n + 1], a[m], b[2], b[3]); }
  }
}
/** Two numbers as three words of two bf16, which sum to them exactly: 8 of their 24 bits each. */
FN void parts_of(f32 x, f32 y, u32 (&part)[3]) {
  UNROLL for (int i = 0; i < 3; i++) {
    const u32 high = 0xffff0000u, a = (u32)bits(x) & high, b = (u32)bits(y) & high;
    part[i] = a >> 16 | b;
    x -= real((i32)a);
    y -= real((i32)b);
  }
}
/** A left operand of bf16, a right one of f32: what is lost is lost in the sums, which are of f32. */
template <int MT, int R, int K, bool T, class C> FN void mma_fragments(int ks, const u32 (&a)[MT][4], const On<Staged<f32, R, K, T>, C>& p) {
  const i32 column = C::first_col() + (i32)(lane_id() >> 2), depth = ks * 16 + (i32)(lane_id() & 3) * 2;
  UNROLL for (int n = 0; n < C::NT; n++) {
    f32 x[2][2];
    u32 part[2][3];
    UNROLL for (int h = 0; h < 2; h++) { p.b.pair(column + n * 8, depth + h * 8, x[h][0], x[h][1]); parts_of(x[h][0], x[h][1], part[h]); }
    UNROLL for (int i = 2; i >= 0; i--) UNROLL for (int m = 0; m < MT; m++) mma_bf16(p.acc.d[m][n], a[m], part[0][i], part[1][i]);
  }
}
template <class A> struct IsNumbers { static constexpr bool value = false; };
template <int R, int K, bool T> struct IsNumbers<Staged<f32, R, K, T>> { static constexpr bool value = true; };
/** acc += a @ b for each pair: DEPTH deep, zeros beyond what is valid. */
template <int DEPTH, class A, class B, class C, class... P> FN void mma(const A& a, const On<B, C>& p, const P&... ps) {
  if constexpr (IsNumbers<A>::value) {
    _Pragma("unroll 1") for (int k = 0; k < DEPTH; k += 4) {
      f32 x[C::MT][2][4];
      UNROLL for (int m = 0; m < C::MT; m++) UNROLL for (int h = 0; h < 2; h++) a.left(C::row(m, h), k, x[m][h]);
      mma_numbers(k, x, p);
      (mma_numbers(k, x, ps), ...);
    }
  } else {
    UNROLL for (int ks = 0; ks < DEPTH / 16; ks++) {
      u32 x[C::MT][4];
      UNROLL for (int m = 0; m < C::MT; m++) fragment_of<C>(a, ks, m, x[m]);
      mma_fragments(ks, x, p);
      (mma_fragments(ks, x, ps), ...);
    }
  }
}
