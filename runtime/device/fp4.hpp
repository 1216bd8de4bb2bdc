// Products by weights of 4 bits that lie in panels (compiler/graph/codes.ts). After operands.hpp. Of each group of 32 steps of the depth the products by numbers
// of codes are summed first; that sum is multiplied by the group's scale and added. So any number of rows, however cut, gives the same bits.

/** Rows of bytes of a group. */
constexpr ix FP4_BYTES = 16;
/** `n` columns in panels of W, which are `step` bytes apart, and their scales. `next`: codes that will be read after the last panel, or null. */
template <int W> struct Fp4Panels {
  static constexpr bool follows = false;
  static constexpr int width = W;
  const i8* codes; const bf16* scales; ix step, n; const i8* next;
  FN ix columns(ix) const { return n; }
  FN const i8* strip(ix c, ix) const { return codes + c / W * step + c % W; }
  FN const bf16* strip_scales(ix c) const { return scales + c / W * (step / FP4_BYTES) + c % W; }
  FN const i8* after(ix c, ix depth) const { return c < n ? strip(c, depth) : next; }
};
template <int W> FN Fp4Panels<W> fp4_panels(const i8* codes, const bf16* scales, ix step, ix n, const void* next) { return {codes, scales, step, n, (const i8*)next}; }
template <class B> constexpr bool is_fp4 = false;
template <int W> constexpr bool is_fp4<Fp4Panels<W>> = true;

/** Vectors of columns in order, and their scales. */
template <int NV> struct Fp4Columns {
  static FN void scales(vf (&s)[NV], const bf16* p) { UNROLL for (int v = 0; v < NV; v++) s[v] = ld(vf{}, p + v * LANES); }
  /** Permute sums from the order of columns to that of `load`, and back. */
  static FN void permute_in(vf (&)[NV]) {}
  static FN void permute_out(vf (&)[NV]) {}
};
FN vi fp4_bytes(const i8* p) { return widen_unsigned(*(const vc_at*)p); }
/** How NV vectors of columns are decoded; WORDS: as words of two steps of the depth. `load` gives step x of the bytes at p, each of which is `steps` steps. */
template <bool WORDS, int NV> struct Fp4Step : Fp4Columns<NV> {
  static constexpr int steps = 2;
  static FN void load(vf (&w)[NV], const i8* p, int x) { UNROLL for (int v = 0; v < NV; v++) w[v] = fp4_number(fp4_bytes(p + v * LANES) >> 4 * x); }
};
#if LANES == 16
/** A line of bytes is words of four columns, of which vector v has column v: so few shifts do what widening instructions would. */
template <> struct Fp4Step<false, 4> {
  static constexpr int steps = 2;
  static FN void load(vf (&w)[4], const i8* p, int x) { const vi words = bits(ld_words(p)); UNROLL for (int v = 0; v < 4; v++) w[v] = fp4_number(words >> (8 * v + 4 * x)); }
  static FN void scales(vf (&s)[4], const bf16* p) {
    const vf a = ld_words(p), b = ld_words(p + 2 * LANES), even = MIX(UNZIP, 0, a, b), odd = MIX(UNZIP, 1, a, b);
    UNROLL for (int h = 0; h < 2; h++) { s[h] = number_of<2>(even, h); s[2 + h] = number_of<2>(odd, h); }
  }
  static FN void permute_in(vf (&s)[4]) {
    const vf a = MIX(UNZIP, 0, s[0], s[1]), b = MIX(UNZIP, 1, s[0], s[1]), c = MIX(UNZIP, 0, s[2], s[3]), d = MIX(UNZIP, 1, s[2], s[3]);
    s[0] = MIX(UNZIP, 0, a, c); s[1] = MIX(UNZIP, 0, b, d); s[2] = MIX(UNZIP, 1, a, c); s[3] = MIX(UNZIP, 1, b, d);
  }
  static FN void permute_out(vf (&s)[4]) {
    const vf a = MIX(ZIP, 0, s[0], s[2]), b = MIX(ZIP, 1, s[0], s[2]), c = MIX(ZIP, 0, s[1], s[3]), d = MIX(ZIP, 1, s[1], s[3]);
    s[0] = MIX(ZIP, 0, a, c); s[1] = MIX(ZIP, 1, a, c); s[2] = MIX(ZIP, 0, b, d); s[3] = MIX(ZIP, 1, b, d);
  }
};
#elif LANES == 4
/** All 16 columns of a register tile at once: the two bytes of each number as bf16 (`fp4_number`), which are then joined. */
template <> struct Fp4Step<false, 4> : Fp4Columns<4> {
  static constexpr int steps = 2;
  static FN void load(vf (&w)[4], const i8* p, int x) {
    const v16b bytes = *(const v16b_at*)p, codes = x == 0 ? bytes : bytes >> 4, size = codes & 7;
    const v16b lower = size << 6 & (v16b)(size > 1), upper = (((size >> 2) + 0x3f) & (v16b)(size > 0)) | (codes & 8) << 4;
    const v8h low = zip_low(lower, upper), high = zip_high(lower, upper), none = {};
    w[0] = from_bits(zip_low(none, low)); w[1] = from_bits(zip_high(none, low));
    w[2] = from_bits(zip_low(none, high)); w[3] = from_bits(zip_high(none, high));
  }
};
#endif
template <class A> constexpr bool in_words_at = false;
#if defined(__AVX512BF16__) && LANES == 16
template <class A> constexpr bool in_words_at<WordsAt<A>> = true;
template <int NV> struct Fp4Step<true, NV> : Fp4Columns<NV> {
  static constexpr int steps = 1;
  static FN void load(vf (&w)[NV], const i8* p, int) { UNROLL for (int v = 0; v < NV; v++) w[v] = fp4_words(fp4_bytes(p + v * LANES)); }
};
#endif
/** Lines that each group of a tile prefetches, from p on. */
struct Fp4Prefetch { const i8* p; ix lines; };
/** Adds the products of one group, from byte k on, to M rows by NV vectors of sums. Its bytes are LD elements of T apart. */
template <class STEP, int M, int NV, int C, int LD, class A, class T> FN void add_fp4_group(const A& a, ix k, const T* codes, const bf16* scales, f32* acc) {
  vf t[M][NV] = {}, w[NV];
  NO_UNROLL for (const ix end = k + FP4_BYTES; k < end; k++, codes += LD) UNROLL for (int x = 0; x < STEP::steps; x++) {
    STEP::load(w, codes, x);
    if (M > 1) UNROLL for (int v = 0; v < NV; v++) keep_in_register(w[v]);
    UNROLL for (int i = 0; i < M; i++) { const vf y = splat(a.at(i, STEP::steps * k + x)); UNROLL for (int v = 0; v < NV; v++) t[i][v] = plus_product(a, t[i][v], y, w[v]); }
    asm volatile("");  // as in `multiply`
  }
  STEP::scales(w, scales);
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int v = 0; v < NV; v++) { vf& s = *(vf*)(acc + i * C + v * LANES); s = fma_(t[i][v], w[v], s); }
}
/** The same, not inlined, so that nothing else takes registers. */
template <class STEP, int M, int NV, int C, int LD, class A, class T> NOINLINE void add_fp4_group_alone(A a, ix k, const T* codes, const bf16* scales, f32* acc) { add_fp4_group<STEP, M, NV, C, LD>(a, k, codes, scales, acc); }
/** M rows by NV vectors of columns. `bytes`: half the depth. The sums of a group are in registers, all others in memory. */
template <int M, int NV, int C, int W, class A> NOINLINE void micro_kernel_fp4(bool fresh, A a, const i8* codes, const bf16* scales, f32* acc, ix bytes, Fp4Prefetch ahead) {
  typedef Fp4Step<in_words_at<A>, NV> Step;
  typedef vf Sums[NV];
  UNROLL for (int i = 0; i < M; i++) { Sums& s = *(Sums*)(acc + i * C); if (fresh) UNROLL for (int v = 0; v < NV; v++) s[v] = vf{}; else Step::permute_in(s); }
  NO_UNROLL for (ix k = 0; k < bytes; k += FP4_BYTES, codes += FP4_BYTES * W, scales += W) {
    NO_UNROLL for (ix x = 0; x < ahead.lines; x++, ahead.p += LINE) __builtin_prefetch(ahead.p, 0, 2);
    if constexpr (M <= 3) add_fp4_group<Step, M, NV, C, W>(a, k, codes, scales, acc);
    else add_fp4_group_alone<Step, M, NV, C, W>(a, k, codes, scales, acc);
  }
  UNROLL for (int i = 0; i < M; i++) Step::permute_out(*(Sums*)(acc + i * C));
}
/** Calls f with the number of rows, 1 to MR, as a constant. */
template <int M> struct Height { static constexpr int rows = M; };
template <int M = 1, class F> FN void dispatch_height(ix h, F f) {
  if constexpr (M < MR) if (h > M) return dispatch_height<M + 1>(h, f);
  f(Height<M>{});
}
/** Words that are decoded already. */
template <int NV> struct Fp4Words : Fp4Columns<NV> {
  static constexpr int steps = 1;
  static FN void load(vf (&w)[NV], const f32* p, int) { UNROLL for (int v = 0; v < NV; v++) w[v] = ld(vf{}, p + v * LANES); }
};
/** Of words, more rows than these share what is decoded: a group at a time, into L1. (Numbers of f32 are decoded beside the products, which take twice as long.) */
constexpr ix FP4_SHARED_ROWS = 4 * MR;
template <int NV, class A, class O> FN void strip_fp4_words(bool fresh, const A& a, ix rows, ix depth, ix c, const O& o) {
  constexpr int S = NV * LANES, C = O::C, W = O::B::width;
  const i8 *codes = o.b.strip(c, depth), *next = o.b.after(c + S, depth);
  const bf16* scales = o.b.strip_scales(c);
  if (fresh) NO_UNROLL for (ix r = 0; r < rows; r++) UNROLL for (int v = 0; v < NV; v++) *(vf*)(o.acc.d[r] + c + v * LANES) = vf{};
  NO_UNROLL for (ix k = 0; k < depth; k += FP4_BYTES, scales += W) {
    alignas(64) f32 words[FP4_BYTES * S];
    NO_UNROLL for (f32* to = words; to < words + FP4_BYTES * S; to += S, codes += W) {
      vf w[NV];
      if (next) { __builtin_prefetch(next, 0, 2); next += W; }
      Fp4Step<true, NV>::load(w, codes, 0);
      UNROLL for (int v = 0; v < NV; v++) st(vf{}, to + v * LANES, w[v]);
    }
    NO_UNROLL for (ix r = 0; r < rows;) {
      const ix h = height(a, rows - r);
      const auto tile = tile_at(a, r, depth);
      dispatch_height(h, [&](auto m) { add_fp4_group_alone<Fp4Words<NV>, decltype(m)::rows, NV, C, S>(tile, k, (const f32*)words, scales, o.acc.d[r] + c); });
      r += h;
    }
  }
}
/** Bytes that a single tile prefetches ahead in its own strip, where the hardware does not keep up (NO_PREFETCH_ROWS of tile.hpp). */
constexpr ix FP4_AHEAD = 64;
/** A strip of columns from c on, for all rows. Several tiles prefetch the next strip together. */
template <int NV, class A, class T, class O> FN void strip_fp4(bool fresh, const A& a, ix rows, ix depth, ix c, const T& epilogue, const O& o) {
  constexpr int S = NV * LANES, C = O::C, W = O::B::width;
  constexpr bool WORDS = in_words_at<decltype(tile_at(a, 0, depth))>;
  if constexpr (WORDS) if (rows > FP4_SHARED_ROWS) {
    strip_fp4_words<NV>(fresh, a, rows, depth, c, o);
    if (epilogue.now) epilogue.after({0, rows, c, S});
    return;
  }
  const ix tiles = (rows + MR - 1) / MR, lines = FP4_BYTES * S / LINE, bytes = depth / Fp4Step<WORDS, NV>::steps;
  const i8* const next = tiles > 1 ? o.b.after(c + S, depth) : ZEN ? nullptr : o.b.strip(c, depth) + FP4_AHEAD * W;
  Fp4Prefetch ahead = {next, next ? (lines + tiles - 1) / tiles : 0};
  NO_UNROLL for (ix r = 0; r < rows;) {
    const ix h = height(a, rows - r);
    const auto tile = tile_at(a, r, depth);
    if (epilogue.now) epilogue.before({r, h, c, S}, [](const void* p) { __builtin_prefetch(p, 1, 2); });
    dispatch_height(h, [&](auto m) { micro_kernel_fp4<decltype(m)::rows, NV, C, W>(fresh, tile, o.b.strip(c, depth), o.b.strip_scales(c), o.acc.d[r] + c, bytes, ahead); });
    if (epilogue.now) epilogue.after({r, h, c, S});
    r += h;
    ahead.p += bytes / FP4_BYTES * ahead.lines * LINE;
  }
}
