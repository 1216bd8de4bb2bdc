// Weights of 8 bits on CUDA: elements that are codes (i8) in memory, and operands of an mma that lie so in global memory. An operand is copied as codes,
// 16 at a time; each thread then widens what it copied into a tile of bf16 (exact: 8 bits hold a code) that all read. After contract.cuh.

// ---- elements ----
FN i8 to_i8(f32 x) { return (i8)truncate(x); }
FN f32 ld(f32, const i8* p) { return (f32)*p; }
template <int N> FN vec<f32, N> ld(vec<f32, N>, const i8* p) { const vec<i8, N> x = *(const vec<i8, N>*)p; vec<f32, N> r; FOR_LANES r.v[i] = (f32)x.v[i]; return r; }
FN void st(f32, i8* p, f32 x) { *p = to_i8(x); }
template <int N> FN void st(vec<f32, N>, i8* p, vec<f32, N> x) { vec<i8, N> r; FOR_LANES r.v[i] = to_i8(x.v[i]); *(vec<i8, N>*)p = r; }

// ---- operands ----
/** Stores 16 codes to shared memory. */
FN void st_chunk(u8* p, vec<f32, 16> x) {
  vec<i8, 16> r;
  UNROLL for (int i = 0; i < 16; i++) r.v[i] = to_i8(x.v[i]);
  *(vec<i8, 16>*)p = r;
}
/** Two codes, in the low bytes of the halves of a word, as bf16: (128 + the low 7 bits) - (128, or 256 where the sign is set). */
FN u32 code_pair_to_bf16(u32 w) {
  u32 r;
  const u32 above = (w & 0x007f007fu) | 0x43004300u, sign = (w & 0x00800080u) | 0x43004300u, minus_one = 0xbf80bf80u;
  PTX_PURE("fma.rn.bf16x2 %0, %1, %2, %3;", OUTS(W_U32(r)), INS(R_U32(sign), R_U32(minus_one), R_U32(above)));
  return r;
}
/** Chunk i of 16 codes that have become E, in shared memory. */
template <class E> struct WideChunk;
template <> struct WideChunk<bf16> {
  static FN void store(u8* p, vec<u32, 4> codes, int i) {
    vec<u32, 4> r;
    UNROLL for (int q = 0; q < 4; q++) r.v[q] = code_pair_to_bf16(__byte_perm(codes.v[2 * i + q / 2], 0, q % 2 ? 0x4342 : 0x4140));
    *(vec<u32, 4>*)p = r;
  }
};
template <> struct WideChunk<f32> {
  static FN void store(u8* p, vec<u32, 4> codes, int i) {
    vec<f32, 4> r;
    UNROLL for (int q = 0; q < 4; q++) r.v[q] = (f32)(i8)(codes.v[i] >> 8 * q);
    *(vec<f32, 4>*)p = r;
  }
};
/** S stages of codes, and tiles of E that they are widened to: two in a pipeline, so that one is filled while warps still read the other. */
template <class E, int R, int C, int S, int THREADS, bool TRANSPOSED, int PITCH> struct CodeTile : SharedTile<i8, R, C, S, THREADS, TRANSPOSED, PITCH> {
  typedef SharedTile<i8, R, C, S, THREADS, TRANSPOSED, PITCH> Codes;
  typedef TileView<E, R, C, TRANSPOSED> View;
  static constexpr int WIDE_BYTES = R * C * sizeof(E);
  FN CodeTile(u8* mem) : Codes(mem) {}
  FN u8* wide(i32 n) const { return this->mem + S * Codes::BYTES + n * WIDE_BYTES; }
  FN View operator[](i32 n) const { return {wide(n)}; }
  FN View view(i32, i32 tile) const { return (*this)[tile]; }
  /** Widens what this thread copied to stage s, once these copies are done, to tile n. */
  FN void widen(i32 s, i32 n) const {
    this->chunks([&](int, i32 r, i32 c, u32 at) {
      vec<u32, 4> codes = *(const vec<u32, 4>*)(this->mem + s * Codes::BYTES + at);
      const i32 first = c / View::CHUNK;
      if constexpr (View::CHUNK == 8 && View::ROW_CHUNKS > 8) {
        // eight lanes store 16 chunks of a row: half of them begin with their second, or pairs would store to the same banks
        const i32 turn = first >> 3 & 1;
        if (turn) codes = {codes.v[2], codes.v[3], codes.v[0], codes.v[1]};
        UNROLL for (int i = 0; i < 2; i++) WideChunk<E>::store(wide(n) + View::chunk_index(r, first + (i ^ turn)) * 16, codes, i);
      }
      else UNROLL for (int i = 0; i < 16 / View::CHUNK; i++) WideChunk<E>::store(wide(n) + View::chunk_index(r, first + i) * 16, codes, i);
    });
  }
};

// ---- codes of 4 bits: a byte holds those of two rows, the even one's in its low bits; 32 rows of a column share a scale of bf16 ----
FN u32 mul_bf16_pairs(u32 a, u32 b) {
  u32 r;
  const u32 minus_zero = 0x80008000u;
  PTX_PURE("fma.rn.bf16x2 %0, %1, %2, %3;", OUTS(W_U32(r)), INS(R_U32(a), R_U32(b), R_U32(minus_zero)));
  return r;
}
/** The codes in the high four bits of two bytes (0 and 1, or 2 and 3) of a word, whose low ones are 0, as bf16: sign, exponent and fraction move to those of
    bf16, of which the number is 2^126 times too small (so 0.5 is a denormal number before). */
FN u32 fp4_pair_to_bf16(u32 bytes, int pair) {
  const u32 x = __byte_perm(bytes, 0, pair ? 0x3424 : 0x1404);
  return mul_bf16_pairs((x | x >> 6) & 0x81c081c0u, 0x7e807e80u);
}
/** Stores a chunk of numbers E of one row, whose codes are in the high bits of the bytes from codes[0] on; `scales`: those of its columns. */
FN void store_fp4(bf16*, u8* p, const u32* codes, const u8* scales) {
  const vec<u32, 4> s = *(const vec<u32, 4>*)scales;
  vec<u32, 4> r;
  UNROLL for (int q = 0; q < 4; q++) r.v[q] = mul_bf16_pairs(fp4_pair_to_bf16(codes[q / 2], q % 2), s.v[q]);
  *(vec<u32, 4>*)p = r;
}
FN void store_fp4(f32*, u8* p, const u32* codes, const u8* scales) {
  const vec<u32, 2> s = *(const vec<u32, 2>*)scales;
  vec<f32, 4> r;
  UNROLL for (int q = 0; q < 2; q++) {
    const u32 x = fp4_pair_to_bf16(codes[0], q), high = 0xffff0000u;
    r.v[2 * q] = from_bits((i32)(x << 16)) * from_bits((i32)(s.v[q] << 16));
    r.v[2 * q + 1] = from_bits((i32)(x & high)) * from_bits((i32)(s.v[q] & high));
  }
  *(vec<f32, 4>*)p = r;
}
/** As CodeTile, of R x C numbers: rows of its stages are bytes of two rows each. */
template <class E, int R, int C, int S, int THREADS, bool TRANSPOSED, int PITCH> struct Fp4Tile : SharedTile<i8, R / 2, C, S, THREADS, TRANSPOSED, PITCH> {
  typedef SharedTile<i8, R / 2, C, S, THREADS, TRANSPOSED, PITCH> Codes;
  typedef TileView<E, R, C, TRANSPOSED> View;
  /** Chunks of E that 16 codes of a row become. */
  static constexpr int CHUNKS = 16 / View::CHUNK;
  FN Fp4Tile(u8* mem) : Codes(mem) {}
  FN u8* wide(i32 n) const { return this->mem + S * Codes::BYTES + n * (i32)(R * C * sizeof(E)); }
  FN View operator[](i32 n) const { return {wide(n)}; }
  FN View view(i32, i32 tile) const { return (*this)[tile]; }
  /** Where a lane begins among its chunks of a row, and of its two rows, so that no two of eight lanes store to the same banks. */
  static FN u32 first_chunk() {
    const u32 l = lane_id();
    if constexpr (CHUNKS == 2) return C >= 64 ? l >> 2 & 1 : 0;
    else return C >= 128 ? l >> 1 & 3 : C == 64 ? l >> 1 & 1 : C == 32 ? l >> 2 & 1 : 0;
  }
  static FN u32 first_row() { return C * sizeof(E) <= 64 ? lane_id() >> 2 & 1 : 0; }
  /** Widens what this thread copied to stage s to tile n. All threads' copies of the stage's `scales` (R / 32 rows) are visible. */
  template <class Scales> FN void widen(i32 s, i32 n, const Scales& scales) const {
    const u32 turn = first_chunk(), odd = first_row();
    this->chunks([&](int, i32 r, i32 c, u32 at) {
      vec<u32, 4> w = *(const vec<u32, 4>*)(this->mem + s * Codes::BYTES + at);
      if (CHUNKS == 4 && turn & 1) w = {w.v[1], w.v[0], w.v[3], w.v[2]};
      if (CHUNKS == 4 ? turn & 2 : turn) w = {w.v[2], w.v[3], w.v[0], w.v[1]};
      if (odd) UNROLL for (int q = 0; q < 4; q++) w.v[q] = (w.v[q] >> 4 & 0x0f0f0f0fu) | (w.v[q] << 4 & 0xf0f0f0f0u);
      UNROLL for (int i = 0; i < CHUNKS; i++) {
        const u32 column = c + (i ^ turn) * View::CHUNK;
        const u8* scale = scales[s].mem + Scales::View::chunk_index(r / 16, column / 8) * 16 + column % 8 * 2;
        UNROLL for (int h = 0; h < 2; h++) {
          u32 codes[4 / CHUNKS];
          UNROLL for (int q = 0; q < 4 / CHUNKS; q++) codes[q] = (h ? w.v[i * (4 / CHUNKS) + q] : w.v[i * (4 / CHUNKS) + q] << 4) & 0xf0f0f0f0u;
          store_fp4((E*)0, wide(n) + View::chunk_index(r * 2 + (h ^ odd), column / View::CHUNK) * 16, codes, scale);
        }
      }
    });
  }
};
constexpr bool SHARED_SCALES = true;
/** As `pipeline` above, where operands are codes: widen(s, n) makes tile n of stage s, and compute(k, s, n) reads it. SHARED_STAGES: widen reads what other threads
    copied too, so all threads have waited for a stage a round before, or, of two stages, at a barrier of its own. */
template <int S, bool SHARED_STAGES = false, class L, class W, class F> FN void pipeline(ix from, ix to, ix step, L load, W widen, F compute) {
  static_assert(S > 1, "stages");
  constexpr int AHEAD = S - 1;
  constexpr bool EARLY = SHARED_STAGES && S > 2;
  i32 cur = 0, tile = 0;
  if constexpr (EARLY) { cp_async_wait<AHEAD - 1>(); __syncthreads(); }
  NO_UNROLL for (ix at = from; at < to; at += step) {
    cp_async_wait<EARLY ? AHEAD - 2 : AHEAD - 1>();
    if constexpr (SHARED_STAGES && !EARLY) __syncthreads();
    widen(cur, tile);
    __syncthreads();
    if (to - at > AHEAD * step) load(at + AHEAD * step, cur == 0 ? AHEAD : cur - 1);
    cp_async_commit();
    compute(at, cur, tile);
    cur = cur == AHEAD ? 0 : cur + 1;
    tile ^= 1;
  }
  __syncthreads();
}

// ---- f32 @ codes: tensor cores, the f32 as the exact sum of three bf16 ----
/** The a fragments of the three terms for rows 16 m .. of the warp and k-step ks. */
template <class C, int R, int K, bool T> FN void load_terms(const TileView<f32, R, K, T, BY_PAIRS>& a, int ks, int m, u32 (&r)[3][4]) {
  UNROLL for (int q = 0; q < 4; q++) {
    f32 x, y;
    u32 part[3];
    transposed(a).load_pair(C::row(m, q % 2), ks * 16 + (i32)(lane_id() & 3) * 2 + q / 2 * 8, x, y);
    split_bf16x3(x, y, part);
    UNROLL for (int i = 0; i < 3; i++) r[i][q] = part[i];
  }
}
/** One k-step: all products are exact, the sums are rounded to f32. The smallest terms are added first. */
template <int MT, class B, class C> FN void mma_terms(int ks, const u32 (&a)[MT][3][4], const Rhs<B, C>& p) {
  static_assert(C::NT % 2 == 0, "a fragment holds 16 columns");
  UNROLL for (int n = 0; n < C::NT; n += 2) {
    u32 b[4];
    p.b.template load_fragment<true>(C::first_col(), ks, n, b);
    UNROLL for (int i = 2; i >= 0; i--) UNROLL for (int m = 0; m < MT; m++) {
      mma_bf16(p.acc.d[m][n], a[m][i], b[0], b[1]);
      mma_bf16(p.acc.d[m][n + 1], a[m][i], b[2], b[3]);
    }
  }
}
/** acc (M, N) f32 += a (M, DEPTH) f32 @ b (DEPTH, N) bf16 for each rhs(b, acc). Elements outside of the valid region must be zero. */
template <int DEPTH, class A, class B, class C, class... P> FN void mma_left_terms(const A& a, const Rhs<B, C>& p, const P&... ps) {
  UNROLL for (int ks = 0; ks < DEPTH / 16; ks++) {
    u32 x[C::MT][3][4];
    UNROLL for (int m = 0; m < C::MT; m++) load_terms<C>(a, ks, m, x[m]);
    mma_terms(ks, x, p);
    (mma_terms(ks, x, ps), ...);
  }
}
