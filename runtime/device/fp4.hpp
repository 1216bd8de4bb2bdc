// Products by weights of 4 bits that lie in panels (compiler/graph/codes.ts). After operands.hpp. Of each group of 32 steps of the depth the products by numbers
// of codes are summed first; that sum is multiplied by the group's scale and added. So any number of rows, however cut, gives the same bits.
// Few rows decode what they read in registers. Of more the numbers of a group are decoded once, into L1, for all rows.

/** Rows of bytes of a group. */
constexpr ix FP4_BYTES = 16;
/** `n` columns in panels of W, which are `step` bytes apart, and their scales. */
template <int W> struct Fp4Panels {
  static constexpr bool follows = false;
  static constexpr int width = W;
  const i8* codes; const bf16* scales; ix step, n;
  FN ix columns(ix) const { return n; }
  FN const i8* strip(ix c, ix) const { return codes + c / W * step + c % W; }
  FN const bf16* strip_scales(ix c) const { return scales + c / W * (step / FP4_BYTES) + c % W; }
  FN const i8* after(ix, ix) const { return nullptr; }
};
template <int W> FN Fp4Panels<W> fp4_panels(const i8* codes, const bf16* scales, ix step, ix n) { return {codes, scales, step, n}; }
template <class B> constexpr bool is_fp4 = false;
template <int W> constexpr bool is_fp4<Fp4Panels<W>> = true;

/** What a byte, two steps of the depth, is multiplied as: two numbers, or a word of two. `at`: step i of the byte. */
template <class A> struct Fp4Pair {
  static constexpr int steps = 2;
  static FN vf at(vi bytes, int i) { return fp4_number(i == 0 ? bytes : bytes >> 4); }
};
#if defined(__AVX512BF16__) && LANES == 16
template <class A> struct Fp4Pair<WordsAt<A>> {
  static constexpr int steps = 1;
  static FN vf at(vi bytes, int) { return fp4_words(bytes); }
};
#endif
/** Bytes that one instruction loads, as words of 32 bits. */
FN vi fp4_bytes(const i8* p) { return widen_unsigned(*(const vc_at*)p); }
/** M rows by NV vectors of columns, decoded in registers. `bytes`: half the depth. */
template <int M, int NV, int C, int W, class A> __attribute__((noinline)) void micro_kernel_fp4(bool fresh, A a, const i8* codes, const bf16* scales, f32* acc, ix bytes) {
  typedef Fp4Pair<A> Pair;
  vf s[M][NV];
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int v = 0; v < NV; v++) s[i][v] = fresh ? vf{} : *(vf*)(acc + i * C + v * LANES);
  NO_UNROLL for (ix k = 0; k < bytes; scales += W) {
    vf t[M][NV] = {};
    NO_UNROLL for (const ix end = k + FP4_BYTES; k < end; k++, codes += W) UNROLL for (int v = 0; v < NV; v++) {
      const vi b = fp4_bytes(codes + v * LANES);
      UNROLL for (int x = 0; x < Pair::steps; x++) {
        const vf w = Pair::at(b, x);
        UNROLL for (int i = 0; i < M; i++) t[i][v] = plus_product(a, t[i][v], splat(a.at(i, Pair::steps * k + x)), w);
      }
    }
    UNROLL for (int v = 0; v < NV; v++) { const vf scale = ld(vf{}, scales + v * LANES); UNROLL for (int i = 0; i < M; i++) s[i][v] = fma_(t[i][v], scale, s[i][v]); }
  }
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int v = 0; v < NV; v++) *(vf*)(acc + i * C + v * LANES) = s[i][v];
}
/** The same for the `steps` steps of one group, from k on, whose numbers are decoded. */
template <int M, int NV, int C, class A> __attribute__((noinline)) void add_fp4_group(bool fresh, A a, ix k, const f32* w, const vf* scales, f32* acc, ix steps) {
  vf t[M][NV] = {};
  NO_UNROLL for (ix x = 0; x < steps; x++, w += NV * LANES) {
    vf b[NV];
    UNROLL for (int v = 0; v < NV; v++) { b[v] = ld(vf{}, w + v * LANES); keep_in_register(b[v]); }
    UNROLL for (int i = 0; i < M; i++) { const vf y = splat(a.at(i, k + x)); UNROLL for (int v = 0; v < NV; v++) t[i][v] = plus_product(a, t[i][v], y, b[v]); }
    asm volatile("");  // as in `multiply`
  }
  UNROLL for (int i = 0; i < M; i++) UNROLL for (int v = 0; v < NV; v++) { vf* const s = (vf*)(acc + i * C + v * LANES); *s = fma_(t[i][v], scales[v], fresh ? vf{} : *s); }
}
/** Calls f with the number of rows, 1 to MR, as a constant. */
template <int M> struct Height { static constexpr int rows = M; };
template <int M = 1, class F> FN void dispatch_height(ix h, F f) {
  if constexpr (M < MR) if (h > M) return dispatch_height<M + 1>(h, f);
  f(Height<M>{});
}
/** Up to so many rows are decoded for in registers, which then hold their sums twice. */
constexpr ix FP4_FEW_ROWS = TILE_VECTORS == 4 ? 3 : 2;
/** A strip of columns from c on, for all rows. */
template <int NV, class A, class T, class O> FN void strip_fp4(bool fresh, const A& a, ix rows, ix depth, ix c, const T& epilogue, const O& o) {
  constexpr int S = NV * LANES, C = O::C, W = O::B::width;
  typedef decltype(tile_at(a, 0, depth)) At;
  constexpr ix PER_BYTE = Fp4Pair<At>::steps, STEPS = FP4_BYTES * PER_BYTE;
  const i8* codes = o.b.strip(c, depth);
  const bf16* scales = o.b.strip_scales(c);
  if (rows > 0 && rows <= FP4_FEW_ROWS) {
    if (epilogue.now) epilogue.before({0, rows, c, S}, [](const void* p) { __builtin_prefetch(p, 1, 2); });
    dispatch_height(rows, [&](auto h) { micro_kernel_fp4<(h.rows < FP4_FEW_ROWS ? h.rows : FP4_FEW_ROWS), NV, C, W>(fresh, tile_at(a, 0, depth), codes, scales, o.acc.d[0] + c, depth / PER_BYTE); });
  } else NO_UNROLL for (ix k = 0; k < depth; k += STEPS, scales += W) {
    alignas(64) f32 numbers[STEPS * S];
    vf each[NV];
    UNROLL for (int v = 0; v < NV; v++) each[v] = ld(vf{}, scales + v * LANES);
    NO_UNROLL for (f32* to = numbers; to < numbers + STEPS * S; to += PER_BYTE * S, codes += W) UNROLL for (int v = 0; v < NV; v++) {
      const vi b = fp4_bytes(codes + v * LANES);
      UNROLL for (int x = 0; x < PER_BYTE; x++) st(vf{}, to + x * S + v * LANES, Fp4Pair<At>::at(b, x));
    }
    NO_UNROLL for (ix r = 0; r < rows;) {
      const ix h = height(a, rows - r);
      dispatch_height(h, [&](auto m) { add_fp4_group<m.rows, NV, C>(fresh && k == 0, tile_at(a, r, depth), k, numbers, each, o.acc.d[r] + c, STEPS); });
      r += h;
    }
  }
  if (epilogue.now) epilogue.after({0, rows, c, S});
}
