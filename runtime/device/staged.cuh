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
  /** Of one row. */
  FN const E* elements() const { static_assert(R == 1, "a line"); return (const E*)mem; }
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
    const E* start;
    chunks([&](int q, i32 r, i32 c, u32 at) {
      if (!PITCH) start = f(ix_max(ix_min(r, rows - 1), 0), c);
      else if (q == 0) start = f(r, c);
      copy_async(shared_address(mem) + s * BYTES + at, start + q * STEP * PITCH, bytes(r < rows, cols - c));
    });
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
  __syncthreads();
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
