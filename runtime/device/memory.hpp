// Memory on the host: loads and stores of vectors and of single numbers, of the tail of a row, and of numbers that lie apart. After vector.hpp.
// ---- memory: ld(V{}, p) and st(V{}, p, x); a bool is a byte, 0 or 1 ----
FN vf ld(vf, const f32* p) { return *(const vf_at*)p; }
FN vi ld(vf, const i32* p) { return *(const vi_at*)p; }
FN f32 ld(f32, const f32* p) { return *p; }
FN i32 ld(f32, const i32* p) { return *p; }
FN bool ld(f32, const u8* p) { return *p != 0; }
/** Elements of i8 are numbers of f32 once they are loaded; what is stored is whole, and fits. */
FN i8 to_i8(f32 x) { return (i8)truncate(x); }
#if LANES == 4
typedef u8 v16b __attribute__((vector_size(16)));
typedef u16 v8h __attribute__((vector_size(16)));
typedef v16b v16b_at __attribute__((aligned(1), may_alias));
typedef v8h v8h_at __attribute__((aligned(2), may_alias));
/** Elements of two vectors in turn, those of the first in the lower half of wider ones: the first halves of the vectors, or the second ones. */
FN v8h zip_low(v16b a, v16b b) { return (v8h)__builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); }
FN v8h zip_high(v16b a, v16b b) { return (v8h)__builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); }
FN vi zip_low(v8h a, v8h b) { return (vi)__builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
FN vi zip_high(v8h a, v8h b) { return (vi)__builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#endif
/** (Of `__builtin_convertvector` between types of unlike size g++ 12 often makes a load and an insertion for each element.) */
FN vi widen(vc x) {
#if LANES == 16 && __has_builtin(__builtin_ia32_pmovsxbd512_mask)
  typedef char bytes __attribute__((vector_size(16)));
  return (vi)__builtin_ia32_pmovsxbd512_mask((bytes)x, vi{}, (u16)-1);
#elif LANES == 8 && __has_builtin(__builtin_ia32_pmovsxbd256)
  typedef char bytes __attribute__((vector_size(16)));
  typedef long long two __attribute__((vector_size(16)));
  return (vi)__builtin_ia32_pmovsxbd256((bytes)(two){(long long)x, 0});
#elif LANES == 4
  const v16b bytes = (v16b)vu{__builtin_bit_cast(u32, x)};
  const v8h twice = zip_low(bytes, bytes);
  return zip_low(twice, twice) >> 24;
#else
  return __builtin_convertvector(x, vi);
#endif
}
/** The low bytes. */
FN vc to_bytes(vi x) {
#if LANES == 4
  typedef u8 eight __attribute__((vector_size(8)));
  typedef u32 two __attribute__((vector_size(8)));
  const vh half = __builtin_convertvector(x, vh);
  const eight bytes = __builtin_convertvector(__builtin_shufflevector(half, half, 0, 1, 2, 3, 0, 1, 2, 3), eight);
  return __builtin_bit_cast(vc, ((two)bytes)[0]);
#else
  return __builtin_convertvector(x, vc);
#endif
}
/** The bytes as they are, from 0 to 255. */
FN vi widen_unsigned(vc x) {
#if LANES == 16 && __has_builtin(__builtin_ia32_pmovzxbd512_mask)
  typedef char bytes __attribute__((vector_size(16)));
  return (vi)__builtin_ia32_pmovzxbd512_mask((bytes)x, vi{}, (u16)-1);
#else
  return widen(x) & 255;
#endif
}
FN vf ld(vf, const i8* p) { return to_f32(widen(*(const vc_at*)p)); }
FN vi ld(vf, const u8* p) { return -widen(*(const vc_at*)p); }
FN f32 ld(f32, const i8* p) { return (f32)*p; }
/** A prefetch that a load makes: its distance in bytes, for elements of f32 (0: none), and how many times it is issued. */
struct Prefetch { ix bytes; int times; };
template <class P> FN auto ld(vf v, const P* p, Prefetch ahead) {
  const char* const at = (const char*)p + ahead.bytes / (ix)(4 / sizeof(P));
  if (ahead.bytes != 0) UNROLL for (int i = 0; i < ahead.times; i++) __builtin_prefetch(at, 0, ZEN5 ? 3 : 2);
  return ld(v, p);
}
/**
 * Zen 4 drops prefetches while it is busy. With one per line a norm takes 1.4 times as long as a copy, with two 1.2 times, with three as long as the
 * copy. With vectors of half a line each line is prefetched twice anyway, and two for each half are best. Zen 5 keeps them: one, into L1, two pages ahead.
 */
constexpr int TIMES = !AMD || ZEN5 ? 1 : LANES == 16 ? 3 : 2;
FN ix prefetch_bytes(ix ahead) { return ZEN5 ? ix_min(4 * ahead, 8192) : 4 * ahead; }
template <class P> FN auto ld(vf v, const P* p, ix ahead) { return ld(v, p, Prefetch{prefetch_bytes(ahead), TIMES}); }
/** From how many elements on Zen 5 does not keep in L1 a row, the next one, and the two that all rows read (a layernorm's weight and bias). */
constexpr ix LONG_ROW = 4096;
/**
 * A fold of a row and one of the next row are one loop with AVX-512 (a softmax takes 2 to 6% less), and two elsewhere (one takes 2 to 4% more on Zen 3).
 * prefetch_when_together and prefetch_when_apart: the prefetches in either case.
 */
#ifndef FUSED_FOLDS
#define FUSED_FOLDS (LANES == 16)
#endif
FN Prefetch prefetch_when_together(ix ahead) { return {FUSED_FOLDS ? prefetch_bytes(ahead) : 0, TIMES}; }
FN Prefetch prefetch_when_apart(ix ahead) { return {FUSED_FOLDS ? 0 : prefetch_bytes(ahead), TIMES}; }
/**
 * What element j of a row of n prefetches of the next row, in the loop-th of `loops` loops over the row, which stands for `count` of them; nth: how many
 * elements the loop read before. On Zen 4 each loop prefetches a quarter and the last the rest (a layernorm takes 20% less). On Intel with AVX-512 a
 * sixteenth in each and the rest in the last brings 14%, on Zen 5 an eighth 5% where rows are long. Elsewhere both cost more than they bring (4% with
 * AVX2, up to 20% on Zen 5), so the last loop prefetches all.
 */
FN Prefetch prefetch_share(ix n, ix j, ix loop, ix loops, ix count, ix nth) {
  const ix most = ZEN ? 12 : 16, each = LANES < 16 || (ZEN5 && n < LONG_ROW) ? 0 : ZEN5 ? 2 : ZEN ? 4 : 1, from = ix_min(each * loop, most);
  const ix share = (loop + count == loops ? 16 : ix_min(from + each * count, most)) - from;
  if (share == 0) return {0, 0};
  const ix parts = share % 4 == 0 ? share / 4 * nth : 4 * share * (nth / 16);
  return {4 * (n + n / 16 * from - j) + parts, LANES < 16 || ZEN5 ? TIMES : ZEN ? 2 : 1};
}
FN Prefetch prefetch_share(ix n, ix j, ix loop, ix loops, ix count = 1) { return prefetch_share(n, j, loop, loops, count, j); }
template <class P, class A> FN auto ld(f32 v, const P* p, A) { return ld(v, p); }
FN void st(vf, f32* p, vf x) { *(vf_at*)p = x; }
FN void st(vf, f32* p, f32 x) { *(vf_at*)p = splat(x); }
FN void st(vf, i32* p, vi x) { *(vi_at*)p = x; }
FN void st(vf, i32* p, i32 x) { *(vi_at*)p = splat(x); }
FN void st(vf, u8* p, vi mask) { *(vc_at*)p = to_bytes(-mask); }
FN void st(vf, u8* p, bool x) { *(vb_at*)p = (u8)x - vb{}; }
FN void st(f32, f32* p, f32 x) { *p = x; }
FN void st(f32, i32* p, i32 x) { *p = x; }
FN void st(f32, u8* p, bool x) { *p = x; }
FN void st(vf, i8* p, vf x) { *(vc_at*)p = to_bytes(truncate(x)); }
FN void st(vf, i8* p, f32 x) { st(vf{}, p, splat(x)); }
FN void st(f32, i8* p, f32 x) { *p = to_i8(x); }

/** Rounded to nearest, ties to even; a NaN stays NaN. */
template <class F> FN int_of<F> to_bf16_bits(F x) {
  typedef typename TypesOf<F>::U U;
  U b = (U)bits(x), up = (b + (0x7fff + (b >> 16 & 1))) >> 16;
  return where(x == x, (int_of<F>)up, (int_of<F>)(b >> 16 | 0x40));
}
FN bf16 to_bf16(f32 x) { return {(u16)to_bf16_bits(x)}; }
FN f32 from_bf16(bf16 x) { return from_bits((i32)((u32)x.bits << 16)); }
FN vf ld(vf, const bf16* p) {
#if LANES == 4
  typedef long long two __attribute__((vector_size(16)));
  return from_bits(zip_low(v8h{}, (v8h)two{__builtin_bit_cast(long long, *(const vh_at*)p)}));
#else
  return from_bits(__builtin_convertvector(*(const vh_at*)p, vi) << 16);
#endif
}
FN f32 ld(f32, const bf16* p) { return from_bf16(*p); }
FN void st(vf, bf16* p, vf x) { *(vh_at*)p = __builtin_convertvector(to_bf16_bits(x), vh); }
FN void st(vf, bf16* p, f32 x) { st(vf{}, p, splat(x)); }
FN void st(f32, bf16* p, f32 x) { *p = to_bf16(x); }

// ---- the tail of a row: Some has the first n lanes. The others are read as zeros, and not written ----
struct Tail { i32 n; };
FN vi iota(Tail, i32 j) { return iota(vf{}, j); }
FN vi iota(Tail, i32 j, i32 step) { return iota(vf{}, j, step); }
/** The mask of the lanes of s. */
FN vi lane_mask(Tail s) { return iota() < s.n; }
template <class V, class T> FN V one_by_one(Tail s, V x, const T* p) { NO_UNROLL for (i32 l = 0; l < s.n; l++) x[l] = ld(f32{}, p + l); return x; }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ONE_BY_ONE  // sanitizers do not check masked loads and stores
#endif
#if LANES == 16 && !defined(ONE_BY_ONE)
#define TAIL_MASK(s) (u16)((1u << s.n) - 1)
FN vf ld(Tail s, const f32* p) { return __builtin_ia32_loadups512_mask(p, vf{}, TAIL_MASK(s)); }
FN vi ld(Tail s, const i32* p) { return __builtin_ia32_loaddqusi512_mask(p, vi{}, TAIL_MASK(s)); }
FN void st(Tail s, f32* p, vf x) { __builtin_ia32_storeups512_mask(p, x, TAIL_MASK(s)); }
FN void st(Tail s, i32* p, vi x) { __builtin_ia32_storedqusi512_mask(p, x, TAIL_MASK(s)); }
#elif LANES == 8 && !defined(ONE_BY_ONE)
FN vf ld(Tail s, const f32* p) { return __builtin_ia32_maskloadps256((const vf*)p, lane_mask(s)); }
FN vi ld(Tail s, const i32* p) { return __builtin_ia32_maskloadd256((const vi*)p, lane_mask(s)); }
FN void st(Tail s, f32* p, vf x) { __builtin_ia32_maskstoreps256((vf*)p, lane_mask(s), x); }
FN void st(Tail s, i32* p, vi x) { __builtin_ia32_maskstored256((vi*)p, lane_mask(s), x); }
#else
FN vf ld(Tail s, const f32* p) { return one_by_one(s, vf{}, p); }
FN vi ld(Tail s, const i32* p) { return one_by_one(s, vi{}, p); }
FN void st(Tail s, f32* p, vf x) { NO_UNROLL for (i32 l = 0; l < s.n; l++) p[l] = x[l]; }
FN void st(Tail s, i32* p, vi x) { NO_UNROLL for (i32 l = 0; l < s.n; l++) p[l] = x[l]; }
#endif
FN vi ld(Tail s, const u8* p) { return -one_by_one(s, vi{}, p); }
FN vf ld(Tail s, const bf16* p) { return one_by_one(s, vf{}, p); }
FN vf ld(Tail s, const i8* p) { return one_by_one(s, vf{}, p); }
template <class P, class A> FN auto ld(Tail s, const P* p, A) { return ld(s, p); }
FN void st(Tail s, f32* p, f32 x) { st(s, p, splat(x)); }
FN void st(Tail s, i32* p, i32 x) { st(s, p, splat(x)); }
FN void st(Tail s, u8* p, vi mask) { NO_UNROLL for (i32 l = 0; l < s.n; l++) p[l] = mask[l] != 0; }
FN void st(Tail s, u8* p, bool x) { st(s, p, as<vi>(x)); }
FN void st(Tail s, bf16* p, vf x) { NO_UNROLL for (i32 l = 0; l < s.n; l++) p[l] = to_bf16((f32)x[l]); }
FN void st(Tail s, bf16* p, f32 x) { st(s, p, splat(x)); }
FN void st(Tail s, i8* p, vf x) { NO_UNROLL for (i32 l = 0; l < s.n; l++) p[l] = to_i8((f32)x[l]); }
FN void st(Tail s, i8* p, f32 x) { st(s, p, splat(x)); }

// ---- strided loads and stores ----
FN i32 raw(const f32* p) { return bits(*p); }
FN i32 raw(const i32* p) { return *p; }
FN i32 raw(const u8* p) { return *p; }
FN i32 raw(const bf16* p) { return p->bits; }
FN i32 raw(const i8* p) { return *p; }
FN vf of_raw(const f32*, vi x) { return from_bits(x); }
FN vi of_raw(const i32*, vi x) { return x; }
FN vi of_raw(const u8*, vi x) { return -x; }
FN vf of_raw(const bf16*, vi x) { return from_bits(x << 16); }
FN vf of_raw(const i8*, vi x) { return to_f32(x); }
/** Builds a vector from groups of four lanes: lane by lane is up to three times slower with GCC 12, and so are Zen 4's gather instructions. */
template <class F> FN vi in_fours(F f) {
  typedef i32 four __attribute__((vector_size(16)));
  four x[LANES / 4];
  UNROLL for (int i = 0; i < LANES; i += 4) x[i / 4] = four{f(i), f(i + 1), f(i + 2), f(i + 3)};
#if LANES == 4
  return x[0];
#else
  const auto low = __builtin_shufflevector(x[0], x[1], 0, 1, 2, 3, 4, 5, 6, 7);
#if LANES == 8
  return low;
#else
  const auto high = __builtin_shufflevector(x[2], x[3], 0, 1, 2, 3, 4, 5, 6, 7);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#endif
}
/** Lanes in reverse order. */
template <class T> FN T reversed(T x) {
#if LANES == 16
  return __builtin_shufflevector(x, x, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
#elif LANES == 8
  return __builtin_shufflevector(x, x, 7, 6, 5, 4, 3, 2, 1, 0);
#else
  return __builtin_shufflevector(x, x, 3, 2, 1, 0);
#endif
}
template <ix STEP, class P> FN auto ld_strided(vf v, const P* p) {
  if constexpr (STEP == 1) return ld(v, p);
  else if constexpr (STEP == -1) return reversed(ld(v, p - (LANES - 1)));
  else return of_raw(p, in_fours([&](ix l) { return raw(p + l * STEP); }));
}
template <ix STEP, class P> FN auto ld_strided(Tail s, const P* p) {
  vi x = {};
  NO_UNROLL for (i32 l = 0; l < s.n; l++) x[l] = raw(p + l * STEP);
  return of_raw(p, x);
}
template <ix STEP, class P> FN auto ld_strided(f32 v, const P* p) { return ld(v, p); }
/** A strided load of the lanes whose index (i in the first, BY more in each) is in 0 .. n; 0 in the others, whose address may be invalid. */
template <ix STEP, ix BY, class P> FN auto ld_guarded(Tail s, const P* p, ix i, ix n) {
  vi x = {};
  NO_UNROLL for (ix l = 0; l < s.n; l++) if (i + l * BY >= 0 && i + l * BY < n) x[l] = raw(p + l * STEP);
  return of_raw(p, x);
}
template <ix STEP, ix BY, class P> FN auto ld_guarded(vf v, const P* p, ix i, ix n) {
  constexpr ix ACROSS = BY * (LANES - 1);
  const ix low = i + (ACROSS < 0 ? ACROSS : 0), high = i + (ACROSS < 0 ? 0 : ACROSS);
  if (low >= 0 && high < n) return ld_strided<STEP>(v, p);
  if (high < 0 || low >= n) return of_raw(p, vi{});
  return ld_guarded<STEP, BY>(Tail{LANES}, p, i, n);
}
template <ix STEP, ix BY, class P> FN auto ld_guarded(f32 v, const P* p, ix i, ix n) {
  return i >= 0 && i < n ? ld(v, p) : decltype(ld(v, p))(0);
}

/** A non-temporal store; p is aligned to the vector. Call `fence()` before another thread reads it. */
FN void st_nontemporal(vf, f32* p, vf x) {
#if __has_builtin(__builtin_nontemporal_store)
  __builtin_nontemporal_store(x, (vf*)p);
#elif LANES == 16
  __builtin_ia32_movntps512(p, x);
#elif LANES == 8
  __builtin_ia32_movntps256(p, x);
#elif defined(__SSE__)
  __builtin_ia32_movntps(p, x);
#else
  st(vf{}, p, x);
#endif
}
FN void st_nontemporal(vf, f32* p, f32 x) { st_nontemporal(vf{}, p, splat(x)); }
FN void st_nontemporal(vf, bf16* p, vf x) {
  const vh h = __builtin_convertvector(to_bf16_bits(x), vh);
#if __has_builtin(__builtin_nontemporal_store)
  __builtin_nontemporal_store(h, (vh*)p);
#elif LANES == 16
  __builtin_ia32_movntdq256((long long __attribute__((vector_size(32)))*)p, (long long __attribute__((vector_size(32))))h);
#elif LANES == 8
  __builtin_ia32_movntdq((long long __attribute__((vector_size(16)))*)p, (long long __attribute__((vector_size(16))))h);
#else
  *(vh_at*)p = h;
#endif
}
/** An ordinary store, for other types and for what is no whole vector. */
template <class V, class T, class X> FN void st_nontemporal(V v, T* p, X x) { st(v, p, x); }
FN void fence() {
#if defined(__SSE__)
  __builtin_ia32_sfence();
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
