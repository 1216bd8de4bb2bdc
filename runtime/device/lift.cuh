// The functions of math.hpp for vec<T, N>, element by element. After math.hpp.
#define LIFT1(f) template <class T, int N> FN auto f(vec<T, N> x) { vec<decltype(f(T())), N> r; FOR_LANES r.v[i] = f(x.v[i]); return r; }
#define LIFT2(f) \
  template <class T, int N> FN auto f(vec<T, N> a, vec<T, N> b) { vec<decltype(f(T(), T())), N> r; FOR_LANES r.v[i] = f(a.v[i], b.v[i]); return r; } \
  template <class T, int N> FN auto f(vec<T, N> a, type_identity<T> b) { return f(a, splat<T, N>(b)); } \
  template <class T, int N> FN auto f(type_identity<T> a, vec<T, N> b) { return f(splat<T, N>(a), b); }
LIFT1(abs_) LIFT1(sign_) LIFT1(round_) LIFT1(floor_) LIFT1(ceil_) LIFT1(to_i32) LIFT1(to_f32) LIFT1(round_bf16) LIFT1(mask_to_int)
LIFT1(sqrt_) LIFT1(rsqrt_) LIFT1(exp_) LIFT1(expm1_) LIFT1(sigmoid_) LIFT1(tanh_) LIFT1(erf_) LIFT1(log_) LIFT1(log1p_) LIFT1(sin_) LIFT1(cos_) LIFT1(unit_)
LIFT1(exp2_short_) LIFT1(exp_short_) LIFT1(sigmoid_short_) LIFT1(tanh_short_) LIFT1(erf_short_)
template <int N> FN vec<f32, N> fma_(vec<f32, N> a, vec<f32, N> b, vec<f32, N> c) { FOR_LANES a.v[i] = fma_(a.v[i], b.v[i], c.v[i]); return a; }
template <int N> FN vec<f32, N> from_fp4_(vec<f32, N> byte, vec<i32, N> row, vec<f32, N> scale) { FOR_LANES byte.v[i] = from_fp4_(byte.v[i], row.v[i], scale.v[i]); return byte; }
LIFT1(neg_) LIFT2(add_) LIFT2(sub_) LIFT2(mul_)
LIFT2(max_) LIFT2(min_) LIFT2(pow_) LIFT2(idiv_) LIFT2(rem_)
template <int N> FN Pair<vec<i32, N>> threefry(i32 k0, i32 k1, vec<i32, N> c0, vec<i32, N> c1) {
  Pair<vec<i32, N>> r;
  FOR_LANES { const Pair<i32> p = threefry(k0, k1, c0.v[i], c1.v[i]); r.x0.v[i] = p.x0; r.x1.v[i] = p.x1; }
  return r;
}
