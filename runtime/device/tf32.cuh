// --tf32: f32 operands are rounded to tf32 (11 significant bits) and multiplied by tensor cores; f32 accumulators. After mma.cuh.

/** Rounds to nearest tf32, ties away from zero. Without it the tensor core truncates. */
FN u32 rounded_tf32(f32 x) { u32 r; PTX_PURE("cvt.rna.tf32.f32 %0, %1;", OUTS(W_U32(r)), INS(R_F32(x))); return r; }
/** d (16, 8) f32 += a (16, 8) tf32 @ b (8, 8) tf32. */
FN void mma_m16n8k8(f32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  PTX_PURE("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};",
    OUTS(RW_F32(d[0]), RW_F32(d[1]), RW_F32(d[2]), RW_F32(d[3])), INS(R_U32(a[0]), R_U32(a[1]), R_U32(a[2]), R_U32(a[3]), R_U32(b0), R_U32(b1)));
}
/** The fragment of a 16 x 8 block at depth 8 ks (RIGHT: of 8 x 16, the b fragments of two mma), see TileView::load_fragment. Where the depth is
    contiguous in shared memory ldmatrix gives each lane its elements (a 16-byte row is four f32); else a lane loads them one by one. */
template <bool RIGHT, int R, int C, bool T> FN void load_fragment_tf32(const TileView<f32, R, C, T>& x, i32 first, int ks, int eights, u32 (&r)[4]) {
  static_assert(C % 8 == 0 && R % 8 == 0, "whole fragments");
  if constexpr (RIGHT == T) x.template load_fragment<RIGHT>(first, ks, eights, r);
  else {
    const i32 across = first + eights * 8 + (i32)(lane_id() >> 2), depth = ks * 8 + (i32)(lane_id() & 3);
    UNROLL for (int q = 0; q < 4; q++) {
      const int past = RIGHT ? q >> 1 : q & 1, down = RIGHT ? q & 1 : q >> 1;
      r[q] = (u32)bits(*x.at(depth + down * 4, across + past * 8));
    }
  }
  UNROLL for (int q = 0; q < 4; q++) r[q] = rounded_tf32(from_bits((i32)r[q]));
}
template <int MT, class B, class C> FN void mma_fragments_tf32(int ks, const u32 (&a)[MT][4], const Rhs<B, C>& p) {
  static_assert(C::NT % 2 == 0, "a fragment holds 16 columns");
  UNROLL for (int n = 0; n < C::NT; n += 2) {
    u32 b[4];
    load_fragment_tf32<true>(p.b, C::first_col(), ks, n, b);
    UNROLL for (int m = 0; m < MT; m++) { mma_m16n8k8(p.acc.d[m][n], a[m], b[0], b[1]); mma_m16n8k8(p.acc.d[m][n + 1], a[m], b[2], b[3]); }
  }
}
/** acc (M, N) f32 += a (M, DEPTH) @ b (DEPTH, N), f32 rounded to tf32, for each rhs(b, acc). */
template <int DEPTH, class A, class B, class C, class... P> FN void mma_tf32(const A& a, const Rhs<B, C>& p, const P&... ps) {
  constexpr int AT_ONCE = DEPTH > 32 ? 1 : DEPTH / 8;  // attention's registers have no room for fragments that are loaded early
  _Pragma("unroll AT_ONCE") for (int ks = 0; ks < DEPTH / 8; ks++) {
    u32 x[C::MT][4];
    UNROLL for (int m = 0; m < C::MT; m++) load_fragment_tf32<false>(a, C::first_row(), ks, m * 2, x[m]);
    mma_fragments_tf32(ks, x, p);
    (mma_fragments_tf32(ks, x, ps), ...);
  }
}
