// mma: acc += a @ b by a block, operands in shared memory. f32: FMA, in the order of k. bf16: tensor cores. bf16 @ f32: tensor cores, the f32 as the exact
// sum of three bf16. After staged.cuh.
/** A right operand and its accumulator. */
template <class B, class C> struct Rhs { B b; C& acc; };
template <class B, class C> FN Rhs<B, C> rhs(B b, C& acc) { return {b, acc}; }

/** Copies an accumulator to shared memory, to be a left operand. A warp holds whole rows and reads only what it wrote, so no block barrier is needed. */
template <int BM, int BN, int WM, int WN> FN TileView<f32, BM, BN, false> acc_to_shared(const Acc<BM, BN, WM, WN>& a, u8* mem) {
  static_assert(WN == 1, "a warp must hold whole rows");
  TileView<f32, BM, BN, false> to{mem};
  __syncwarp();
  UNROLL for (int m = 0; m < a.MT; m++) UNROLL for (int n = 0; n < a.NT; n++) UNROLL for (int h = 0; h < 2; h++)
    *(vec<f32, 2>*)to.at(a.row(m, h), a.col(n)) = {a.d[m][n][h * 2], a.d[m][n][h * 2 + 1]};
  __syncwarp();
  return to;
}
/** Four k-steps of f32: x[m][h][q] is element q of row (m, h) of the left operand. */
template <int MT, class B, class C> FN void mma_fma(int k, const f32 (&x)[MT][2][4], const Rhs<B, C>& p) {
  UNROLL for (int n = 0; n < C::NT; n++) {
    f32 y[4][2];
    p.b.load_right(C::col(n), k, y);
    UNROLL for (int q = 0; q < 4; q++) UNROLL for (int m = 0; m < MT; m++) UNROLL for (int h = 0; h < 2; h++) UNROLL for (int l = 0; l < 2; l++)
      p.acc.d[m][n][h * 2 + l] = fma_(x[m][h][q], y[q][l], p.acc.d[m][n][h * 2 + l]);
  }
}
/** The a fragment of m16n8k16 for rows 16 m .. of the warp and k-step ks. */
template <class C, class E, int R, int K, bool T> FN void load_fragment(const TileView<E, R, K, T>& a, int ks, int m, u32 (&r)[4]) { a.template load_fragment<false>(C::first_row(), ks, m * 2, r); }
/** The same of an accumulator, rounded to bf16: its register layout is that of an a fragment. */
template <class C, int BM, int BN, int WM, int WN> FN void load_fragment(const Acc<BM, BN, WM, WN>& a, int ks, int m, u32 (&r)[4]) {
  static_assert(WN == 1, "a warp must hold whole rows");
  UNROLL for (int q = 0; q < 4; q++) r[q] = pack_bf16(a.d[m][2 * ks + q / 2][q % 2 * 2], a.d[m][2 * ks + q / 2][q % 2 * 2 + 1]);
}
template <int MT, class E, int R, int K, bool T, class C> FN void mma_fragments(int ks, const u32 (&a)[MT][4], const Rhs<TileView<E, R, K, T>, C>& p) {
  static_assert(C::NT % 2 == 0, "a fragment holds 16 columns");
  UNROLL for (int n = 0; n < C::NT; n += 2) {
    u32 b[4];
    p.b.template load_fragment<true>(C::first_col(), ks, n, b);
    UNROLL for (int m = 0; m < MT; m++) { mma_bf16(p.acc.d[m][n], a[m], b[0], b[1]); mma_bf16(p.acc.d[m][n + 1], a[m], b[2], b[3]); }
  }
}
/** Splits x and y into three bf16 each that sum to them exactly (8 of the 24 significant bits each); part[i] packs term i of both. */
FN void split_bf16x3(f32 x, f32 y, u32 (&part)[3]) {
  UNROLL for (int i = 0; i < 3; i++) {
    const u32 high = 0xffff0000u, a = (u32)bits(x) & high, b = (u32)bits(y) & high;
    part[i] = a >> 16 | b;
    x -= from_bits((i32)a);
    y -= from_bits((i32)b);
  }
}
/** One k-step of bf16 @ f32: all products are exact, the sums are rounded to f32. The smallest terms are added first. */
template <int MT, int R, int K, bool T, class C> FN void mma_fragments(int ks, const u32 (&a)[MT][4], const Rhs<TileView<f32, R, K, T>, C>& p) {
  const i32 column = C::first_col() + (i32)(lane_id() >> 2), depth = ks * 16 + (i32)(lane_id() & 3) * 2;
  UNROLL for (int n = 0; n < C::NT; n++) {
    f32 x[2][2];
    u32 part[2][3];
    UNROLL for (int h = 0; h < 2; h++) { p.b.load_pair(column + n * 8, depth + h * 8, x[h][0], x[h][1]); split_bf16x3(x[h][0], x[h][1], part[h]); }
    UNROLL for (int i = 2; i >= 0; i--) UNROLL for (int m = 0; m < MT; m++) mma_bf16(p.acc.d[m][n], a[m], part[0][i], part[1][i]);
  }
}
template <class A> struct IsF32 { static constexpr bool value = false; };
template <int R, int K, bool T, bool P> struct IsF32<TileView<f32, R, K, T, P>> { static constexpr bool value = true; };
/** acc (M, N) f32 += a (M, DEPTH) @ b (DEPTH, N) for each rhs(b, acc). Elements outside of the valid region must be zero. */
template <int DEPTH, class A, class B, class C, class... P> FN void mma(const A& a, const Rhs<B, C>& p, const P&... ps) {
  if constexpr (IsF32<A>::value) {
    _Pragma("unroll 1") for (int k = 0; k < DEPTH; k += 4) {
      f32 x[C::MT][2][4];
      UNROLL for (int m = 0; m < C::MT; m++) UNROLL for (int h = 0; h < 2; h++) a.load_left(C::row(m, h), k, x[m][h]);
      mma_fma(k, x, p);
      (mma_fma(k, x, ps), ...);
    }
  } else {
    UNROLL for (int ks = 0; ks < DEPTH / 16; ks++) {
      u32 x[C::MT][4];
      UNROLL for (int m = 0; m < C::MT; m++) load_fragment<C>(a, ks, m, x[m]);
      mma_fragments(ks, x, p);
      (mma_fragments(ks, x, ps), ...);
    }
  }
}
