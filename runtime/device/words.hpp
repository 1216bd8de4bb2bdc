// Staging of bf16 operands in words of two steps of the depth each (see operands.hpp). After staging.hpp. An odd depth is padded with zero.
#if defined(__AVX512BF16__) && LANES == 16
FN ix words_of(ix depth) { return (depth + 1) / 2; }
/** An operand whose depth is contiguous already consists of words. */
FN const f32* as_words(const bf16* p) { return (const f32*)p; }
FN const f32* as_words(decltype(nullptr)) { return nullptr; }
/** The word of two numbers that bf16 represents exactly. */
FN f32 word_of(f32 low, f32 high) { return from_bits((bits(high) & (i32)0xffff0000) | (bits(low) >> 16 & 0xffff)); }
FN vf word_of(vf low, vf high) { return from_bits((bits(high) & (i32)0xffff0000) | (bits(low) >> 16 & 0xffff)); }
/** The word of a column of two rows; `high` null: there is no second row. */
FN f32 word_of(const bf16* low, const bf16* high) { return from_bits((i32)(low->bits | (high ? (u32)high->bits << 16 : 0))); }
/** A function that computes word k of x from numbers f(v, x, k). */
template <class F> FN auto by_words(ix depth, F f) {
  return [=](auto v, ix x, ix k) {
    auto low = f(v, x, 2 * k), high = decltype(low){};
    if (2 * k + 1 < depth) high = f(v, x, 2 * k + 1);
    return word_of(low, high);
  };
}

// ---- left operands ----
/** Packs rows of D words, with lanes along k. */
template <int R, int D, class F> FN Words<Rows<R, 1>> pack_word_rows(f32* to, ix n, ix depth, F f) {
  Rows<R, 1> rows; rows.cold = false;
  NO_UNROLL for (ix x = 0; x < n; x++) {
    bf16* const row = (bf16*)(to + x * D); ix k = 0;
    NO_UNROLL for (; k + LANES <= depth; k += LANES) st(vf{}, row + k, f(vf{}, x, k));
    NO_UNROLL for (f32* word = (f32*)(row + k); k < depth; k += 2) *word++ = word_of(f(f32{}, x, k), k + 1 < depth ? f(f32{}, x, k + 1) : 0.0f);
    rows.r[x] = to + x * D;
  }
  return {rows};
}
/** Packs steps of R words, with lanes along the rows. */
template <int R, int L, class F> FN Words<Transposed<R>> pack_word_steps(f32* to, ix n, ix depth, F f) {
  const auto word = by_words(depth, f);
  const ix words = words_of(depth);
  NO_UNROLL for (ix k = 0; k < words; k++) par<L>(n, [&](auto v, ix x) { st(v, to + k * R + x, word(v, x, k)); });
  return {{to}};
}
/** Eight words, made of two rows. */
FN Eight eight_words(const bf16* low, const bf16* high) {
  typedef u16 Half __attribute__((vector_size(16), aligned(2), may_alias));
  typedef i32 Words __attribute__((vector_size(32)));
  return (Eight)(__builtin_convertvector(*(const Half*)low, Words) | __builtin_convertvector(*(const Half*)high, Words) << 16);
}
/** As `pack_micro_panels`: step k of the depth begins at *row(k). */
template <class F> FN Words<MicroPanels> pack_word_micro_panels(f32* to, ix n, ix depth, F row) {
  const ix next = MR * words_of(depth) + LANES;
  NO_UNROLL for (ix k = 0; k < depth; k += 2) {
    const bf16 *const low = row(k), *const high = k + 1 < depth ? row(k + 1) : nullptr, *const later = row(ix_min(k + 2 * COPY_PREFETCH_STEPS, depth - 1));
    f32* panel = to + k / 2 * MR; ix x = 0;
    NO_UNROLL for (ix y = 0; y < n; y += 32) __builtin_prefetch(later + y);
    if (high) NO_UNROLL for (; x + 8 <= n; x += MR, panel += next) *(Eight*)panel = eight_words(low + x, high + x);
    NO_UNROLL for (; x < n; x += MR, panel += next) { const ix m = ix_min(MR, n - x); NO_UNROLL for (ix i = 0; i < m; i++) panel[i] = word_of(low + x + i, high ? high + x + i : nullptr); }
  }
  return {{to}};
}

// ---- right operands ----
/** Copies a strip of S columns from x on. */
template <int S, class F> FN void word_strip(f32* to, ix x, ix depth, F row) {
  NO_UNROLL for (ix k = 0; k < depth; k += 2, to += S) {
    const bf16 *const low = row(k) + x, *const later = row(ix_min(k + 2 * COPY_PREFETCH_STEPS, depth - 1)) + x;
    UNROLL for (int y = 0; y < S; y += 32) __builtin_prefetch(later + y);
    if (k + 1 == depth) UNROLL for (int y = 0; y < S; y += LANES) st(vf{}, to + y, word_of(ld(vf{}, low + y), vf{}));
    else { const bf16* const high = row(k + 1) + x; UNROLL for (int y = 0; y < S; y += LANES) st(vf{}, to + y, word_vector(low + y, high + y)); }
  }
}
/** Copies n of W columns to strips; row k begins at *row(k). */
template <int W, class F> FN PackedStrips pack_word_columns(f32* to, ix n, ix depth, F row) {
  constexpr int S = vectors(W) * LANES, REST = W % S;
  const ix words = words_of(depth);
  if (n == W) {
    NO_UNROLL for (ix x = 0; x + S <= W; x += S) word_strip<S>(to + x * words, x, depth, row);
    if constexpr (REST > 0) word_strip<REST>(to + (W - REST) * words, W - REST, depth, row);
    return {to, {}, n};
  }
  NO_UNROLL for (ix k = 0; k < words; k++) {
    const bf16 *const low = row(2 * k), *const high = 2 * k + 1 < depth ? row(2 * k + 1) : nullptr;
    NO_UNROLL for (ix x = 0; x < n; x++) to[strip_index<W>(x, k, words)] = word_of(low + x, high ? high + x : nullptr);
    zero_pad<W>(to, n, k, words);
  }
  return {to, {}, n};
}
/** LANES numbers of each of two vectors as words, those of `low` first; rounded to nearest, ties to even. */
FN vf words_in_order(vf low, vf high) { vf words; asm("vcvtne2ps2bf16 %2, %1, %0" : "=v"(words) : "v"(high), "v"(low)); return words; }
/** As `pack_transposed_fp4`, to words. */
template <int W, int P> NOINLINE PackedStrips pack_transposed_fp4_words(f32* to, ix n, ix depth, const i8* p, const bf16* scales, ix step) {
  NO_UNROLL for (ix k = 0; k < depth; k += P, p += step, scales += step / FP4_BYTES) NO_UNROLL for (ix x = 0, all = round_to_tiles(n, W); x < all; x += LANES)
    NO_UNROLL for (ix c = 0; c < P; c += 2 * LANES) {
      vf low[LANES] = {}, high[LANES];
      if (x < n) {
        const i8* const from = p + x / 2 * P + c; const bf16* const by = scales + x / (2 * FP4_BYTES) * P + c;
        ld_fp4_rows<P, false>(low, from, by); ld_fp4_rows<P, false>(high, from + LANES, by + LANES);
        UNROLL for (int i = 0; i < LANES; i++) low[i] = words_in_order(low[i], high[i]);
        transpose(low);
      }
      UNROLL for (int i = 0; i < LANES; i++) st(vf{}, to + strip_index<W>(x, (k + c) / 2 + i, depth / 2), low[i]);
    }
  return {to, {}, n};
}
/** A weight in panels, read in place. */
template <int W> FN Panels<W, bf16, 2> word_panels(const bf16* p, ix step, ix n, const void* next) { return {p, step, n, (const bf16*)next}; }
#endif
