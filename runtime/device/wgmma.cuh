// The tile vocabulary on sm_90a, for contractions of bf16: what stage, mma and a loop over depth mean where one warpgroup fills stages of
// shared memory and G others (1 or 2) multiply from them. All that follows the loop is tile.cuh's. After tile.cuh and sm90.cuh.

/** Threads of a block that produce; they come after the 128 G that consume. */
constexpr i32 PRODUCERS = 128;
/** Whether the thread is one that produces. It gives registers to those that consume: 168 for all become 40 and 232; in one of two blocks of a
    multiprocessor, 128 become 40 and 216. */
template <int G> FN bool produces() { return threadIdx.x >= G * 128; }
FN void produce_with_few() { give_registers<40>(); }
template <int G> FN void consume_with_many() { take_registers<G == 1 ? 216 : 232>(); }

/** An accumulator whose rows G warpgroups hold by 64. */
template <int BM, int BN, int G> struct Held : Acc<BM, BN, 4 * G, 1> {
  static constexpr int EARLY = G == 2 ? 8 : 2;
  static FN i32 row(int m, int h) { return (threadIdx.x / 128 + m * G) * 64 + warp_id() % 4 * 16 + (lane_id() >> 2) + h * 8; }
};
/** What all threads of a warp have in common, so that the compiler sees it: it keeps wgmma in flight only where no warp can diverge. */
FN i32 of_warp(i32 x) { return __shfl_sync(0xffffffffu, x, 0); }

/** Products of a stage, of the warpgroup with this number: all, or those of 128 of 256 columns. */
struct Whole { i32 group; };
template <int N> struct Half { i32 group; };

/** S stages: each is filled when `arrivals` have come and all bytes that were expected, and empty when all
    warps that consume have left it: a warp waits for its own part of a product only. Where P is 3, that is said of each part of a stage
    (0: the first 128 columns of what is on the right, 1: what is on the left, 2: the other columns), so that loads begin half a round earlier. */
template <int S, int G, int P = 1> struct Pipe {
  u32 bars;
  i32 s = 0, pending = 0;
  u32 phase = 0;
  /** Stages that copies of 16 bytes are still on their way to, at most. */
  static constexpr int BEHIND = S > 3 ? 2 : 1;
  FN Pipe(u8* mem, u32 arrivals) : bars(shared_address(mem)) {
    if (threadIdx.x == 0) {
      UNROLL for (int i = 0; i < S * P; i++) { barrier_init(bars + i * 8, arrivals); barrier_init(bars + (S * P + i) * 8, 4 * G); }
      barriers_ready();
    }
    __syncthreads();
  }
  FN u32 full(i32 i, i32 part = 0) const { return bars + (i * P + part) * 8; }
  FN u32 empty(i32 i, i32 part = 0) const { return full(i, part) + S * P * 8; }
  FN void next() { if (++s == S) { s = 0; phase ^= 1; } }
  /** One at least, of zeros: accumulators that a loop may leave as they were would have to be moved, and wgmma would wait for that. */
  static FN i32 rounds(ix from, ix to, ix step) { const i32 n = (i32)((to - from + step - 1) / step); return of_warp(n < 1 ? 1 : n); }
  /** The thread that asks for copies by TMA. */
  static FN bool first() { return threadIdx.x == G * 128; }
  /** All that one thread does by TMA. */
  template <class F> FN void produce(ix from, ix to, ix step, F load) {
    if (first()) KEEP_ROLLED for (ix k = from; k < to; k += step) { load(k, s); next(); }
  }
  /** The barrier of a part that is to be filled by so many bytes, when it is empty. */
  FN u32 ask(u32 bytes, i32 part = 0) const {
    barrier_wait(empty(s, part), phase ^ 1);
    barrier_expect(full(s, part), bytes);
    return full(s, part);
  }
  /** Where all producers copy by 16 bytes too: a warp has filled a stage when its copies to it are done. */
  template <u32 BYTES, class F> FN void gather(ix from, ix to, ix step, F load) {
    const i32 n = rounds(from, to, step);
    KEEP_ROLLED for (i32 i = 0; i < n; i++) {
      barrier_wait(empty(s), phase ^ 1);
      if (BYTES && first()) barrier_expect(full(s), BYTES);
      load(from + i * step, s);
      copies_commit();
      if (pending == BEHIND) { copies_wait<BEHIND>(); filled(s < BEHIND ? s + S - BEHIND : s - BEHIND); }
      else pending++;
      next();
    }
  }
  FN void filled(i32 i) const { proxy_fence(); __syncwarp(); if (lane_id() == 0) barrier_arrive(full(i)); }
  /** The last stages. */
  FN void drain() {
    copies_wait<0>();
    for (; pending > 0; pending--) filled(s < pending ? s + S - pending : s - pending);
  }
  /** The products of one stage, or half of them, run while the next are issued; a part is left when its own are done. */
  template <class F> FN void consume(ix from, ix to, ix step, F multiply) {
    const i32 n = rounds(from, to, step), group = of_warp(threadIdx.x / 128);
    i32 i = 0, last = -1;
    KEEP_ROLLED do {
      const ix k = from + i * step;
      if constexpr (P == 1) issue([&] { barrier_wait(full(s), phase); }, [&] { multiply(k, s, Whole{group}); });
      else issue([&] { barrier_wait(full(s, 0), phase); barrier_wait(full(s, 1), phase); }, [&] { multiply(k, s, Half<0>{group}); });
      leave_rest(last);
      if constexpr (P == 3) {
        issue([&] { barrier_wait(full(s, 2), phase); }, [&] { multiply(k, s, Half<1>{group}); });
        leave(s, 0);
      }
      last = s;
      next();
    } while (++i < n);
    wgmma_wait<0>();
    leave_rest(last);
  }
  template <class W, class F> static FN void issue(W wait, F multiply) {
    wait();
    wgmma_fence();
    multiply();
    wgmma_commit();
    wgmma_wait<1>();
  }
  FN void leave(i32 i, i32 part) const { if (i >= 0 && lane_id() == 0) barrier_arrive(empty(i, part)); }
  /** All parts but what the first half alone reads. */
  FN void leave_rest(i32 i) const { UNROLL for (int part = P == 3; part < P; part++) leave(i, part); }
};

/** An operand: stages of R rows in memory order of C elements, as slabs of 64 columns, whose rows of 128 bytes are swizzled as TMA and wgmma
    do it. MN: the rows run along the depth, and what lies together is a left operand's rows, or a right one's columns. PITCH: elements from one
    row to the next where that is a constant, else 0 (a gather: a thread keeps a pointer for each chunk). */
template <int R, int C, bool MN, int PITCH> struct Slabs {
  static constexpr bool ACROSS = MN;
  static constexpr u32 SLAB = R * 128, BYTES = SLAB * (C / 64), HALF_BYTES = 128 * 128;
  static constexpr int CH = C / 8, STEP = PRODUCERS / CH, PER = R / STEP;
  static_assert(R % 8 == 0 && C % 64 == 0 && PRODUCERS % CH == 0 && R % STEP == 0, "whole patterns of 8 rows, whole slabs");
  u32 mem;
  const bf16* from[PITCH ? 1 : PER];
  i32 numbers[(R + 31) / 32];
  FN Slabs(u8* mem) : mem(shared_address(mem)) {}
  /** The depth of 16 ks, from row or column `first` on, which is a multiple of 64. LBO, the bytes from one slab to the next, counts where MN;
      SBO, from one pattern of 8 rows to the next. */
  FN u64 descriptor(i32 s, i32 first, int ks) const {
    const u32 at = mem + s * BYTES + (MN ? first / 64 * SLAB + ks * 2048 : first * 128 + ks * 32);
    return (u64)(at >> 4 & 0x3fff) | (u64)(MN ? SLAB >> 4 : 1) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
  }
  /** By TMA, a half or all of it, 128 rows or columns: the box begins at x (along the row) and the other coordinates. */
  template <int HALF, class... X> FN void box(i32 s, u32 full, const TensorMap* map, i32 x, X... rest) const {
    const u32 to = mem + s * BYTES + HALF * HALF_BYTES;
    UNROLL for (int c = 0; c < (MN ? 2 : 1); c++) box_load(to + c * SLAB, map, full, x + c * 64, rest...);
  }
  /** f(q, row, column, byte of the stage) for each chunk of a producer. */
  template <class F> FN void chunks(F f) const {
    const u32 tid = threadIdx.x % PRODUCERS, r = tid / CH, ch = tid % CH, at = ch / 8 * SLAB + r * 128;
    UNROLL for (int q = 0; q < PER; q++) f(q, i32(r + q * STEP), i32(ch * 8), at + q * STEP * 128 + ((ch ^ (r + q * STEP)) & 7) * 16);
  }
  static FN u32 bytes(bool row, ix cols) { return row ? (cols >= 8 ? 16 : cols > 0 ? (u32)cols * 2 : 0) : 0; }
  /** By copies of 16 bytes, from addresses that a loop moves on. Rows past `rows` are zeros. */
  template <class F> FN void bind(ix rows, F f) {
    chunks([&](int q, i32 r, i32 c, u32) { if (!PITCH) from[q] = f(ix_max(ix_min(r, rows - 1), 0), c); else if (!q) from[0] = f(r, c); });
  }
  FN void load(i32 s, ix step, ix rows, ix cols) const {
    chunks([&](int q, i32 r, i32 c, u32 at) { copy_async(mem + s * BYTES + at, from[PITCH ? 0 : q] + step + (ix)q * STEP * PITCH, bytes(r < rows, cols - c)); });
  }
  /** A gather along a loop: a lane fetches the number that one row in 32 is found by, a round before the rows. */
  template <class F> FN void look(ix rows, F f) {
    if (rows > 0) UNROLL for (int g = 0; g < R / 32; g++) numbers[g] = f(ix_min((ix)lane_id() + g * 32, rows - 1));
  }
  template <class F> FN void gather(i32 s, ix rows, ix cols, F f) const {
    static_assert(32 % STEP == 0, "a chunk's number is in one register");
    chunks([&](int q, i32 r, i32 c, u32 at) {
      copy_async(mem + s * BYTES + at, f(__shfl_sync(0xffffffffu, numbers[q * STEP / 32], r & 31), c), bytes(r < rows, cols - c));
    });
  }
  template <class F> FN void load(i32 s, ix rows, ix cols, F f) const {
    const bf16* first;
    chunks([&](int q, i32 r, i32 c, u32 at) {
      if (!PITCH) first = f(ix_max(ix_min(r, rows - 1), 0), c);
      else if (q == 0) first = f(r, c);
      copy_async(mem + s * BYTES + at, first + q * STEP * PITCH, bytes(r < rows, cols - c));
    });
  }
};

template <class B, class C> struct Right { const B& b; C& acc; };
template <class B, class C> FN Right<B, C> by(const B& b, C& acc) { return {b, acc}; }
/** Of tiles of 8 columns, NT from the first on. */
template <int FIRST, int NT, class A, class B, class C, class... P> FN void products(i32 s, i32 group, u32 adds, const A& a, const Right<B, C>& p, const P&... ps) {
  constexpr int MT = C::MT, G = 2 / MT;
  static_assert(MT * G == 2, "128 rows");
  typedef f32 (&Tiles)[NT][4];
  UNROLL for (int ks = 0; ks < 4; ks++) UNROLL for (int m = 0; m < MT; m++) {
    const u64 left = a.descriptor(s, (group + m * G) * 64, ks);
    wgmma<A::ACROSS, B::ACROSS>((Tiles)p.acc.d[m][FIRST], left, p.b.descriptor(s, FIRST * 8, ks), ks ? 1 : adds);
    (wgmma<A::ACROSS, B::ACROSS>((Tiles)ps.acc.d[m][FIRST], left, ps.b.descriptor(s, FIRST * 8, ks), ks ? 1 : adds), ...);
  }
}
/** acc += a @ b of stage s for each pair, 64 deep; starts the accumulators where `adds` is 0. */
template <class A, class B, class C, class... P> FN void multiply(i32 s, u32 adds, Whole which, const A& a, const Right<B, C>& p, const P&... ps) {
  products<0, C::NT>(s, which.group, adds, a, p, ps...);
}
template <int N, class A, class B, class C> FN void multiply(i32 s, u32 adds, Half<N> which, const A& a, const Right<B, C>& p) { products<N * 16, 16>(s, which.group, adds, a, p); }
template <int N, class A, class P, class Q> FN void multiply(i32 s, u32 adds, Half<N> which, const A& a, const P& p, const Q& q) {
  if constexpr (N == 0) products<0, 16>(s, which.group, adds, a, p);
  else products<0, 16>(s, which.group, adds, a, q);
}
