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
