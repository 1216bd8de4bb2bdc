// Warp-specialised bf16 contractions for sm_90a: one producer warpgroup fills stages of shared memory (TMA, or cp.async where rows are gathered), G = 1 or 2
// consumer warpgroups multiply from them by wgmma; full and empty mbarriers per stage. Epilogues are those of tile.cuh. After mma.cuh and sm90.cuh.

/** Threads of the producer warpgroup, the last of the block: after 128 G consumers. */
constexpr i32 PRODUCERS = 128;
template <int G> FN bool is_producer() { return threadIdx.x >= G * 128; }
/** Registers per thread move from the producers to the consumers: with G = 2 each has 168 before; with G = 1, two blocks per SM, 128. A kernel that spills is
    compiled again with 56, for producers that gather elements of several axes. */
#ifndef PRODUCER_REGISTERS
#define PRODUCER_REGISTERS 40
#endif
FN void producer_setmaxnreg() { setmaxnreg_dec<PRODUCER_REGISTERS>(); }
template <int G> FN void consumer_setmaxnreg() { setmaxnreg_inc<((G == 1 ? 2 * 128 : 3 * 168) - PRODUCER_REGISTERS) / G>(); }

/** An accumulator (BM, BN) f32 of wgmma: m64 tiles, the m-th of warpgroup g has rows (g + m * G) * 64 ... */
template <int BM, int BN, int G> struct WgmmaAcc : Acc<BM, BN, 4 * G, 1> {
  static constexpr int LOADS_AHEAD = G == 2 ? 8 : 2;
  static FN i32 row(int m, int h) { return (threadIdx.x / 128 + m * G) * 64 + warp_id() % 4 * 16 + (lane_id() >> 2) + h * 8; }
};
/** x, equal in all lanes, as a value that the compiler knows to be uniform: it serialises wgmma in control flow that could diverge. */
FN i32 warp_uniform(i32 x) { return __shfl_sync(0xffffffffu, x, 0); }

/** What a consumer warpgroup multiplies of a stage at once: all columns, or half N of 256 (of two right operands of 128: the N-th). */
struct AllColumns { i32 group; };
template <int N> struct ColumnHalf { i32 group; };

/** A ring of S stages with a full and an empty mbarrier each. Full: after `arrivals` arrivals and all expected bytes. Empty: after each of the 4 G consumer
    warps has released it. PARTS = 3: a stage has barriers for each of three parts (0: the first half of the right operands' columns, 1: the left operand,
    2: the second half), so that a part is refilled half an iteration earlier. */
template <int S, int G, int PARTS = 1> struct MbarrierPipeline {
  u32 bars;
  i32 s = 0, pending = 0;  // the current stage; stages whose cp.async are in flight
  u32 phase = 0;  // parity of the current round through the ring
  /** The most stages whose cp.async are in flight. */
  static constexpr int IN_FLIGHT = S > 3 ? 2 : 1;
  FN MbarrierPipeline(u8* mem, u32 arrivals) : bars(shared_address(mem)) {
    if (threadIdx.x == 0) {
      UNROLL for (int i = 0; i < S * PARTS; i++) { mbarrier_init(bars + i * 8, arrivals); mbarrier_init(bars + (S * PARTS + i) * 8, 4 * G); }
      fence_mbarrier_init();
    }
    __syncthreads();
  }
  FN u32 full(i32 i, i32 part = 0) const { return bars + (i * PARTS + part) * 8; }
  FN u32 empty(i32 i, i32 part = 0) const { return full(i, part) + S * PARTS * 8; }
  FN void next() { if (++s == S) { s = 0; phase ^= 1; } }
  /** At least one, of zeros: a loop that may not run needs copies of the accumulators, and these serialise wgmma. */
  static FN i32 iterations(ix from, ix to, ix step) { const i32 n = (i32)((to - from + step - 1) / step); return warp_uniform(n < 1 ? 1 : n); }
  /** The thread that issues TMA loads. */
  static FN bool is_elected() { return threadIdx.x == G * 128; }
  /** The producer loop if all operands come by TMA: load(k, s) acquires stage s and issues its loads. */
  template <class F> FN void produce(ix from, ix to, ix step, F load) {
    if (is_elected()) NO_UNROLL for (ix k = from; k < to; k += step) { load(k, s); next(); }
  }
  /** Waits until the part is empty, expects `bytes`, and returns its full barrier for the TMA loads. */
  FN u32 acquire(u32 bytes, i32 part = 0) const {
    mbarrier_wait(empty(s, part), phase ^ 1);
    mbarrier_expect_tx(full(s, part), bytes);
    return full(s, part);
  }
  /** The producer loop if some operands come by cp.async, which all producers issue; TMA brings BYTES of a stage. A warp arrives when its own copies are done. */
  template <u32 BYTES, class F> FN void produce_cp_async(ix from, ix to, ix step, F load) {
    const i32 n = iterations(from, to, step);
    NO_UNROLL for (i32 i = 0; i < n; i++) {
      mbarrier_wait(empty(s), phase ^ 1);
      if (BYTES && is_elected()) mbarrier_expect_tx(full(s), BYTES);
      load(from + i * step, s);
      cp_async_commit();
      if (pending == IN_FLIGHT) { cp_async_wait<IN_FLIGHT>(); arrive_full(s < IN_FLIGHT ? s + S - IN_FLIGHT : s - IN_FLIGHT); }
      else pending++;
      next();
    }
  }
  /** This warp's copies to stage i are done. */
  FN void arrive_full(i32 i) const { fence_proxy_async(); __syncwarp(); if (lane_id() == 0) mbarrier_arrive(full(i)); }
  /** Arrives for the stages that are still in flight after the last task. */
  FN void producer_tail() {
    cp_async_wait<0>();
    for (; pending > 0; pending--) arrive_full(s < pending ? s + S - pending : s - pending);
  }
  /** The consumer loop: multiply(s, which) issues the wgmma of stage s. One group stays in flight while the next is issued; a stage (part) is released
      when its own group is complete. Accumulators must have been filled: NVRTC before 12.9 serialises the wgmma of undefined ones. */
  template <class F> FN void consume(ix from, ix to, ix step, F multiply) {
    const i32 n = iterations(from, to, step), group = warp_uniform(threadIdx.x / 128);
    i32 i = 0, last = -1;
    NO_UNROLL do {
      if constexpr (PARTS == 1) issue([&] { mbarrier_wait(full(s), phase); }, [&] { multiply(s, AllColumns{group}); });
      else issue([&] { mbarrier_wait(full(s, 0), phase); mbarrier_wait(full(s, 1), phase); }, [&] { multiply(s, ColumnHalf<0>{group}); });
      release_rest(last);
      if constexpr (PARTS == 3) {
        issue([&] { mbarrier_wait(full(s, 2), phase); }, [&] { multiply(s, ColumnHalf<1>{group}); });
        release(s, 0);
      }
      last = s;
      next();
    } while (++i < n);
    wgmma_wait<0>();
    release_rest(last);
  }
  template <class W, class F> static FN void issue(W wait, F multiply) {
    wait();
    wgmma_fence();
    multiply();
    wgmma_commit();
    wgmma_wait<1>();
  }
  FN void release(i32 i, i32 part) const { if (i >= 0 && lane_id() == 0) mbarrier_arrive(empty(i, part)); }
  /** Releases all parts of a stage that the last group read. */
  FN void release_rest(i32 i) const { UNROLL for (int part = PARTS == 3; part < PARTS; part++) release(i, part); }
};

constexpr bool K_MAJOR = false, MN_MAJOR = true;
/** Stages of a bf16 operand tile for wgmma: R rows of C elements in the order of global memory, as panels of 64 columns (128 bytes per row) with the 128-byte
    swizzle of TMA and wgmma. K_MAJOR: a row has the depth contiguous; MN_MAJOR: a row is one step of the depth. PITCH: elements between rows in global
    memory if that is a constant, else 0: then a thread keeps a pointer for each of its chunks. */
template <int R, int C, bool MN, int PITCH> struct WgmmaTile {
  static constexpr bool IS_MN_MAJOR = MN;
  static constexpr u32 PANEL_BYTES = R * 128, BYTES = PANEL_BYTES * (C / 64), HALF_BYTES = 128 * 128;
  static constexpr int ROW_CHUNKS = C / 8, ROW_STEP = PRODUCERS / ROW_CHUNKS, CHUNKS_PER_THREAD = R / ROW_STEP;
  static_assert(R % 8 == 0 && C % 64 == 0 && PRODUCERS % ROW_CHUNKS == 0 && R % ROW_STEP == 0, "whole swizzle atoms of 8 rows, whole panels");
  u32 mem;
  const bf16* from[PITCH ? 1 : CHUNKS_PER_THREAD];
  i32 indices[(R + 31) / 32];
  FN WgmmaTile(u8* mem) : mem(shared_address(mem)) {}
  /** The matrix descriptor of depth 16 ks .. and rows (columns) first .., a multiple of 64. Leading byte offset (used if MN-major): between panels.
      Stride byte offset: between swizzle atoms of 8 rows. Swizzle mode 1: 128 bytes. */
  FN u64 descriptor(i32 s, i32 first, int ks) const {
    const u32 at = mem + s * BYTES + (MN ? first / 64 * PANEL_BYTES + ks * 2048 : first * 128 + ks * 32);
    return (u64)(at >> 4 & 0x3fff) | (u64)(MN ? PANEL_BYTES >> 4 : 1) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
  }
  /** Issues the TMA loads of a half (128 rows or columns) of stage s; x (innermost) and `rest`: coordinates of its first element. */
  template <int HALF, class... X> FN void load_box(i32 s, u32 full, const TensorMap* map, i32 x, X... rest) const {
    const u32 to = mem + s * BYTES + HALF * HALF_BYTES;
    UNROLL for (int c = 0; c < (MN ? 2 : 1); c++) tma_load(to + c * PANEL_BYTES, map, full, x + c * 64, rest...);
  }
  /** Calls f(q, row, column, byte offset in the stage) for each 16-byte chunk q of this producer thread. */
  template <class F> FN void chunks(F f) const {
    const u32 tid = threadIdx.x % PRODUCERS, r = tid / ROW_CHUNKS, ch = tid % ROW_CHUNKS, at = ch / 8 * PANEL_BYTES + r * 128;
    UNROLL for (int q = 0; q < CHUNKS_PER_THREAD; q++) f(q, i32(r + q * ROW_STEP), i32(ch * 8), at + q * ROW_STEP * 128 + ((ch ^ (r + q * ROW_STEP)) & 7) * 16);
  }
  static FN u32 bytes(bool row, ix cols) { return row ? (cols >= 8 ? 16 : cols > 0 ? (u32)cols * 2 : 0) : 0; }
  // bind, load, prefetch_indices, gather: by cp.async, as those of SharedTile (staged.cuh). Elements outside of rows x cols are zeros.
  template <class F> FN void bind(ix rows, F f) {
    chunks([&](int q, i32 r, i32 c, u32) { if (!PITCH) from[q] = f(ix_min(r, rows - 1), c); else if (!q) from[0] = f(r, c); });
  }
  FN void load(i32 s, ix step, ix rows, ix cols) const {
    chunks([&](int q, i32 r, i32 c, u32 at) { cp_async(mem + s * BYTES + at, from[PITCH ? 0 : q] + step + (ix)q * ROW_STEP * PITCH, bytes(r < rows, cols - c)); });
  }
  template <class F> FN void prefetch_indices(ix rows, F f) {
    if (rows > 0) UNROLL for (int g = 0; g < R / 32; g++) indices[g] = f(ix_min((ix)lane_id() + g * 32, rows - 1));
  }
  template <class F> FN void gather(i32 s, ix rows, ix cols, F f) const {
    static_assert(32 % ROW_STEP == 0, "the index of a chunk's row is in a register known at compile time");
    chunks([&](int q, i32 r, i32 c, u32 at) {
      cp_async(mem + s * BYTES + at, f(__shfl_sync(0xffffffffu, indices[q * ROW_STEP / 32], r & 31), c), bytes(r < rows, cols - c));
    });
  }
  template <class F> FN void load(i32 s, ix rows, ix cols, F f) const {
    const bf16* first;
    chunks([&](int q, i32 r, i32 c, u32 at) {
      if (!PITCH) first = f(ix_min(r, rows - 1), c);
      else if (q == 0) first = f(r, c);
      cp_async(mem + s * BYTES + at, first + q * ROW_STEP * PITCH, bytes(r < rows, cols - c));
    });
  }
};

/** A right operand and its accumulator. */
template <class B, class C> struct WgmmaRhs { const B& b; C& acc; };
template <class B, class C> FN WgmmaRhs<B, C> wgmma_rhs(const B& b, C& acc) { return {b, acc}; }
/** Issues the wgmma of stage s for accumulator columns 8 FIRST .. 8 (FIRST + NT). */
template <int FIRST, int NT, class A, class B, class C, class... P> FN void wgmma_columns(i32 s, i32 group, const A& a, const WgmmaRhs<B, C>& p, const P&... ps) {
  constexpr int MT = C::MT, G = 2 / MT;
  static_assert(MT * G == 2, "128 rows");
  typedef f32 (&Tiles)[NT][4];
  UNROLL for (int ks = 0; ks < 4; ks++) UNROLL for (int m = 0; m < MT; m++) {
    const u64 left = a.descriptor(s, (group + m * G) * 64, ks);
    wgmma<A::IS_MN_MAJOR, B::IS_MN_MAJOR>((Tiles)p.acc.d[m][FIRST], left, p.b.descriptor(s, FIRST * 8, ks));
    (wgmma<A::IS_MN_MAJOR, B::IS_MN_MAJOR>((Tiles)ps.acc.d[m][FIRST], left, ps.b.descriptor(s, FIRST * 8, ks)), ...);
  }
}
/** acc (128, N) f32 += a (128, 64) bf16 @ b (64, N) bf16 of stage s, for each wgmma_rhs(b, acc). Asynchronous. */
template <class A, class B, class C, class... P> FN void wgmma_stage(i32 s, AllColumns which, const A& a, const WgmmaRhs<B, C>& p, const P&... ps) {
  wgmma_columns<0, C::NT>(s, which.group, a, p, ps...);
}
template <int N, class A, class B, class C> FN void wgmma_stage(i32 s, ColumnHalf<N> which, const A& a, const WgmmaRhs<B, C>& p) { wgmma_columns<N * 16, 16>(s, which.group, a, p); }
template <int N, class A, class P, class Q> FN void wgmma_stage(i32 s, ColumnHalf<N> which, const A& a, const P& p, const Q& q) {
  if constexpr (N == 0) wgmma_columns<0, 16>(s, which.group, a, p);
  else wgmma_columns<0, 16>(s, which.group, a, q);
}
