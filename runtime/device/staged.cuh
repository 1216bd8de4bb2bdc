// Operands of an mma in shared memory, software pipelines that load them, and the scheduler of ragged tiles. After tile.cuh.
// A tile is R rows of C elements of E (f32, bf16 or i32) in the order of global memory. Its 16-byte chunks are XOR-swizzled, so that neither ldmatrix nor
// the copies have bank conflicts. ROW_MAJOR: its rows are the operand's rows; COL_MAJOR: they are the operand's columns.
constexpr bool ROW_MAJOR = false, COL_MAJOR = true;
/** Stores 16 bytes to shared memory: 4 f32, or 8 f32 rounded to bf16. */
FN void st_chunk(u8* p, vec<f32, 4> x) { *(vec<f32, 4>*)p = x; }
FN void st_chunk(u8* p, vec<f32, 8> x) {
  vec<u32, 4> w;
  UNROLL for (int q = 0; q < 4; q++) w.v[q] = pack_bf16(x.v[2 * q], x.v[2 * q + 1]);
  *(vec<u32, 4>*)p = w;
}

/** What the chunk index of row r is XORed with: different for any eight adjacent rows. BY_PAIRS: no four adjacent rows share a pair of chunks either, for
    lanes that load columns element by element or two by two: of all tiles with tf32 (load_fragment_tf32), else of those that are loaded by load_terms. */
constexpr bool BY_PAIRS = true;
template <bool PAIRS> FN u32 swizzle(u32 r) {
#ifdef TF32
  constexpr bool BOTH = true;
#else
  constexpr bool BOTH = PAIRS;
#endif
  return BOTH ? (r << 1 & 6) ^ (r >> 2 & 1) * 3 : r & 7;
}
/** A tile in shared memory, (R, C) as it lies there, as an operand of an mma. */
template <class E, int R, int C, bool TRANSPOSED, bool PAIRS = false> struct TileView {
  typedef E element;
  static constexpr int CHUNK = 16 / sizeof(E), ROW_CHUNKS = C / CHUNK, SWIZZLE_MASK = (ROW_CHUNKS < 8 ? ROW_CHUNKS : 8) - 1;
  const u8* mem;
  static FN u32 swizzled(u32 r) {
    if constexpr (ROW_CHUNKS < 8) return r / (8 / ROW_CHUNKS) & SWIZZLE_MASK;
    else return swizzle<PAIRS>(r);
  }
  /** Where chunk ch of row r is, in chunks. */
  static FN u32 chunk_index(u32 r, u32 ch) { return r * ROW_CHUNKS + (ch ^ swizzled(r)); }
  /** The elements of a tile of one row, which is not swizzled. */
  FN const E* data() const { static_assert(R == 1, "a line"); return (const E*)mem; }
  /** Element (r, c) as it lies in memory. */
  FN const f32* at(i32 r, i32 c) const { return (const f32*)(mem + chunk_index(r, c / 4) * 16) + c % 4; }
  /** x = left operand [i, k .. k + 3]. */
  FN void load_left(i32 i, int k, f32 (&x)[4]) const {
    if constexpr (TRANSPOSED) UNROLL for (int q = 0; q < 4; q++) x[q] = *at(k + q, i);
    else *(vec<f32, 4>*)x = *(const vec<f32, 4>*)at(i, k);
  }
  /** y = right operand [k .. k + 3, j .. j + 1]. */
  FN void load_right(i32 j, int k, f32 (&y)[4][2]) const {
    if constexpr (TRANSPOSED) UNROLL for (int l = 0; l < 2; l++) {
      const vec<f32, 4> x = *(const vec<f32, 4>*)at(j + l, k);
      UNROLL for (int q = 0; q < 4; q++) y[q][l] = x.v[q];
    }
    else UNROLL for (int q = 0; q < 4; q++) *(vec<f32, 2>*)y[q] = *(const vec<f32, 2>*)at(k + q, j);
  }
  /** x, y = right operand [k, j], [k + 1, j]. */
  FN void load_pair(i32 j, int k, f32& x, f32& y) const {
    if constexpr (TRANSPOSED) { const vec<f32, 2> both = *(const vec<f32, 2>*)at(j, k); x = both.v[0]; y = both.v[1]; }
    else { x = *at(k, j); y = *at(k + 1, j); }
  }
  /** r = the mma fragments of a 16 x 16 block by ldmatrix: depth 16 ks .., rows of a left operand or columns (RIGHT) of a right one from
      first + 8 * eights on (first: the warp's; eights: even). DOWN: the depth runs down the rows in memory. The lane's part of the address does not
      depend on ks and eights: in an unrolled loop a load costs at most an add, a xor and an immediate offset. */
  template <bool RIGHT> FN void load_fragment(i32 first, int ks, int eights, u32 (&r)[4]) const {
    constexpr bool DOWN = RIGHT != TRANSPOSED;
    const u32 l = lane_id(), i = TRANSPOSED ? (l >> 4) * 8 + (l & 7) : l & 15, ch = TRANSPOSED ? l >> 3 & 1 : l >> 4;
    const u32 lane = (DOWN ? chunk_index(i, first / 8 + ch) : chunk_index(first + i, ch)) * 16;
    const int rows = DOWN ? ks * 16 : eights * 8, chunks = DOWN ? eights : ks * 2;
    const u32 at = ((shared_address(mem) + lane) ^ (chunks & SWIZZLE_MASK) * 16) + (rows * ROW_CHUNKS + (chunks & ~SWIZZLE_MASK)) * 16;
    if constexpr (DOWN) ldmatrix_x4_trans(r, at); else ldmatrix_x4(r, at);
  }
};
/** The same tile as the transposed operand. */
template <class E, int R, int C, bool TRANSPOSED, bool PAIRS> FN TileView<E, R, C, !TRANSPOSED, PAIRS> transposed(const TileView<E, R, C, TRANSPOSED, PAIRS>& s) { return {s.mem}; }
/** S stages (a ring buffer) of a tile in shared memory, and the cp.async that fill them: each thread of the block copies CHUNKS_PER_THREAD chunks of a stage.
    PITCH: elements between rows in global memory if that is a constant, else 0: then a thread keeps a pointer for each of its chunks. */
template <class E, int R, int C, int S, int THREADS, bool TRANSPOSED, int PITCH, bool PAIRS = false> struct SharedTile {
  typedef TileView<E, R, C, TRANSPOSED, PAIRS> View;
  static constexpr int CHUNK = 16 / sizeof(E), ROW_CHUNKS = C / CHUNK, BYTES = R * C * sizeof(E), CHUNKS_PER_THREAD = (R * ROW_CHUNKS + THREADS - 1) / THREADS, ROW_STEP = THREADS / ROW_CHUNKS;
  static_assert(THREADS % ROW_CHUNKS == 0, "all chunks of a thread are in one column of chunks");
  u8* mem;
  const E* from[PITCH ? 1 : CHUNKS_PER_THREAD];
  i32 indices[(R + 31) / 32];
  FN SharedTile(u8* mem) : mem(mem) {}
  FN View operator[](i32 s) const { return {mem + s * BYTES}; }
  /** What a product reads of stage s; `tile`: where codes were widened to. */
  FN View view(i32 s, i32) const { return (*this)[s]; }
  /** Calls f(q, row, column, byte offset in the stage) for each chunk q of this thread. */
  template <class F> FN void chunks(F f) const {
    const u32 tid = threadIdx.x % THREADS, r = tid / ROW_CHUNKS, ch = tid % ROW_CHUNKS;  // %: a known range
    UNROLL for (int q = 0; q < CHUNKS_PER_THREAD; q++)
      if (R % ROW_STEP == 0 || r + q * ROW_STEP < R) f(q, i32(r + q * ROW_STEP), i32(ch * CHUNK), View::chunk_index(r + q * ROW_STEP, ch) * 16);
  }
  /** How many bytes of a chunk are valid: `row`: its row is; `cols`: how many columns are from its first on. The rest is filled with zeros. */
  static FN u32 bytes(bool row, ix cols) { return row ? (cols >= CHUNK ? 16 : cols > 0 ? (u32)cols * sizeof(E) : 0) : 0; }
  /** Computes the addresses of this thread's chunks before a loop; f(row, column): the address of an element. f reads memory, if it does, only for
      rows < `rows`. */
  template <class F> FN void bind(ix rows, F f) {
    if constexpr (PITCH > 0) from[0] = f(0, 0);
    else chunks([&](int q, i32 r, i32 c, u32) { from[q] = f(ix_min(r, rows - 1), c); });
  }
  /** Loads stage s from the bound addresses + `step` elements. Elements outside of rows x cols are zeros. */
  FN void load(i32 s, ix step, ix rows, ix cols) const {
    chunks([&](int q, i32 r, i32 c, u32 at) { cp_async(shared_address(mem) + s * BYTES + at, (PITCH ? from[0] + (step + (r - q * ROW_STEP) * PITCH + c) + q * ROW_STEP * PITCH : from[q] + step), bytes(r < rows, cols - c)); });
  }
  // A gather whose row indices change in each iteration of a loop: bind_columns once, prefetch_indices one iteration ahead, gather.
  /** f(column): the address of an element of row 0. */
  template <class F> FN void bind_columns(F f) { from[0] = f((ix)(threadIdx.x % ROW_CHUNKS * CHUNK)); }
  /** Loads the index f(row) of every row of the next stage, one row in 32 per lane. */
  template <class F> FN void prefetch_indices(ix rows, F f) {
    if (rows > 0) UNROLL for (int g = 0; g < R / 32; g++) indices[g] = f(ix_min((ix)lane_id() + g * 32, rows - 1));
  }
  /** Loads stage s; f(index): the offset of that row in elements. */
  template <class F> FN void gather(i32 s, ix rows, ix cols, F f) const {
    static_assert(R % 32 == 0 && 32 % ROW_STEP == 0, "the index of a chunk's row is in a register known at compile time");
    ix starts[R / 32];
    UNROLL for (int g = 0; g < R / 32; g++) starts[g] = f(indices[g]);
    chunks([&](int q, i32 r, i32 c, u32 at) {
      cp_async(shared_address(mem) + s * BYTES + at, from[0] + __shfl_sync(0xffffffffu, starts[q * ROW_STEP / 32], r & 31), bytes(r < rows, cols - c));
    });
  }
  /** Loads stage s; f(row, column): the address of an element. */
  template <class F> FN void load(i32 s, ix rows, ix cols, F f) const {
    const E* start;
    chunks([&](int q, i32 r, i32 c, u32 at) {
      if (!PITCH) start = f(ix_min(r, rows - 1), c);
      else if (q == 0) start = f(r, c);
      cp_async(shared_address(mem) + s * BYTES + at, start + q * ROW_STEP * PITCH, bytes(r < rows, cols - c));
    });
  }
  /** Stores computed elements f(row, column) to stage s; also for addresses that are not aligned to 16 bytes. */
  template <class F> FN void fill(i32 s, ix rows, ix cols, F f) const {
    chunks([&](int, i32 r, i32 c, u32 at) {
      vec<f32, CHUNK> x;
      UNROLL for (int q = 0; q < CHUNK; q++) x.v[q] = r < rows && c + q < cols ? f(r, c + q) : 0.0f;
      st_chunk(mem + s * BYTES + at, x);
    });
  }
};
/** Waits until all copies of the block are done and visible to it. */
FN void cp_async_wait_and_sync() { cp_async_commit(); cp_async_wait<0>(); __syncthreads(); }
/** Starts the loads of the first STEPS iterations, one commit group each: load(k, s) fills stage s. */
template <int STEPS, class L> FN void pipeline_prologue(ix from, ix to, ix step, L load) {
  UNROLL for (i32 s = 0; s < STEPS; s++) { if (from + s * step < to) load(from + s * step, s); cp_async_commit(); }
}
/** A loop over k with S stages: the loads of iteration i + S - 1 are started before compute(k, s) of iteration i. pipeline_prologue<S - 1> must come before.
    The barrier at the top of an iteration shows that all warps have left the stage that is refilled. All stages are free at the end. */
template <int S, class L, class F> FN void pipeline(ix from, ix to, ix step, L load, F compute) {
  static_assert(S > 1, "stages");
  constexpr int AHEAD = S - 1;
  i32 cur = 0;
  NO_UNROLL for (ix at = from; at < to; at += step) {
    cp_async_wait<AHEAD - 1>(); __syncthreads();
    if (to - at > AHEAD * step) load(at + AHEAD * step, cur == 0 ? AHEAD : cur - 1);
    cp_async_commit();
    compute(at, cur);
    cur = cur == AHEAD ? 0 : cur + 1;
  }
  __syncthreads();
}

/** The tile scheduler of grouped products: numbers the tiles of `tile_rows` rows of all groups in order (empty groups have none) and finds tile t:
    rows row .. end of `group`. offsets: (groups + 1) i32, where groups begin, in units of unit_rows rows. Lane l of a warp keeps group window + l,
    so offsets are read once per 32 groups. */
struct RaggedTiles {
  const i32* offsets;
  i32 groups, unit_rows, tile_rows, window = -32, group = 0;
  ix row = 0, end = 0;  // end: the end of the group, not of the tile
  /** Of the lane's group: the number of tiles up to its end, its first row minus tile_rows times the tiles before it, and its last row + 1. */
  i32 lane_tiles = 0;
  ix lane_origin = 0, lane_end = 0;
  FN RaggedTiles(const i32* offsets, i32 groups, i32 unit_rows, i32 tile_rows) : offsets(offsets), groups(groups), unit_rows(unit_rows), tile_rows(tile_rows) {}
  /** Finds tile t; false if there is none. t must not decrease between calls. */
  FN bool seek(i32 t) {
    for (;;) {
      const u32 hit = __ballot_sync(0xffffffffu, lane_tiles > t);
      if (hit) {
        const i32 l = __ffs(hit) - 1;
        group = window + l;
        row = __shfl_sync(0xffffffffu, lane_origin, l) + (ix)t * tile_rows;
        end = __shfl_sync(0xffffffffu, lane_end, l);
        return true;
      }
      if (window + 32 >= groups) return false;
      load_window();
    }
  }
  /** Loads the next 32 groups; a warp scan counts their tiles. */
  FN void load_window() {
    window += 32;
    const i32 g = window + (i32)lane_id(), last = g < groups ? g : groups - 1;
    const ix from = (ix)offsets[last] * unit_rows;
    lane_end = g < groups ? (ix)offsets[last + 1] * unit_rows : from;
    const i32 blocks = (i32)((lane_end - from + tile_rows - 1) / tile_rows);
    const i32 before = __shfl_sync(0xffffffffu, lane_tiles, 31);
    lane_tiles = blocks;
    UNROLL for (int o = 1; o < 32; o <<= 1) { const i32 y = __shfl_up_sync(0xffffffffu, lane_tiles, o); if (lane_id() >= o) lane_tiles += y; }
    lane_tiles += before;
    lane_origin = from - (ix)(lane_tiles - blocks) * tile_rows;
  }
};
