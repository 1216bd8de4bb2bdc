// Instructions on registers.
#include <cmath>
#include <cstring>
#include <map>
#include <stdexcept>

#include "modifiers.hpp"
#include "numbers.hpp"

namespace emu {

/// The bits of a value as an operand of the type.
static u64 cut(u64 v, const Type& t) {
  if (t.bits >= 64) return v;
  v &= (u64(1) << t.bits) - 1;
  return t.is_signed() && v >> (t.bits - 1) & 1 ? v | ~u64(0) << t.bits : v;
}
static double number(u64 v, const Type& t) {
  if (t.bits == 32) return double(float_of_bits(uint32_t(v)));
  double x;
  memcpy(&x, &v, 8);
  return x;
}
static u64 bits(double x, const Type& t) {
  if (t.bits == 32) return bits_of_float(float(x));
  u64 v;
  memcpy(&v, &x, 8);
  return v;
}

typedef u64 (*Integer)(u64, u64, const Type&);
/// Sums and products of two f32 computed in f64 are correctly rounded (53 >= 2 * 24 + 2).
typedef double (*Real)(double, double);
struct Binary {
  Integer integer;
  Real real;
};
static const std::map<std::string, Binary> binary = {
    {"add", {[](u64 a, u64 b, const Type&) { return a + b; }, [](double a, double b) { return a + b; }}},
    {"sub", {[](u64 a, u64 b, const Type&) { return a - b; }, [](double a, double b) { return a - b; }}},
    {"mul", {[](u64 a, u64 b, const Type&) { return a * b; }, [](double a, double b) { return a * b; }}},
    {"min", {[](u64 a, u64 b, const Type& t) { return (t.is_signed() ? (long long)a < (long long)b : a < b) ? a : b; }, [](double a, double b) { return std::fmin(a, b); }}},
    {"max", {[](u64 a, u64 b, const Type& t) { return (t.is_signed() ? (long long)a > (long long)b : a > b) ? a : b; }, [](double a, double b) { return std::fmax(a, b); }}},
    {"div", {nullptr, [](double a, double b) { return a / b; }}},
    {"and", {[](u64 a, u64 b, const Type&) { return a & b; }, nullptr}},
    {"or", {[](u64 a, u64 b, const Type&) { return a | b; }, nullptr}},
    {"xor", {[](u64 a, u64 b, const Type&) { return a ^ b; }, nullptr}},
    {"shl", {[](u64 a, u64 b, const Type& t) { return uint32_t(b) >= unsigned(t.bits) ? 0 : a << b; }, nullptr}},
    {"shr", {[](u64 a, u64 b, const Type& t) {
       const unsigned by = std::min<unsigned>(uint32_t(b), unsigned(t.bits) - 1);
       if (t.is_signed()) return u64((long long)a >> by);
       return uint32_t(b) >= unsigned(t.bits) ? 0 : a >> by;
     }, nullptr}}};
static Action bind_binary(const Binary& op, Modifiers& m) {
  const Type t = m.need_type();
  if (t.is_float()) {
    m.take_any({"rn", "full"});
    m.take("ftz");
    if (!op.real) throw std::invalid_argument("its type");
    if (m.take("NaN"))  // of min and max: of which neither may be one
      return [f = op.real, t](const Instruction& i, Frame& frame) {
        const double a = number(i.value(frame, 1), t), b = number(i.value(frame, 2), t);
        i.set(frame, 0, bits(std::isunordered(a, b) ? NAN : f(a, b), t));
      };
    return [f = op.real, t](const Instruction& i, Frame& frame) { i.set(frame, 0, bits(f(number(i.value(frame, 1), t), number(i.value(frame, 2), t)), t)); };
  }
  if (!op.integer) throw std::invalid_argument("its type");
  const bool wide = m.take("wide");
  m.take("lo");
  return [=, f = op.integer](const Instruction& i, Frame& frame) {
    const u64 r = f(cut(i.value(frame, 1), t), cut(i.value(frame, 2), t), t);
    i.set(frame, 0, wide ? r : cut(r, {'u', t.bits}));
  };
}

typedef float (*Function)(float);
static const std::map<std::string, Function> functions = {
    {"ex2", [](float x) { return exp2f(x); }}, {"lg2", [](float x) { return log2f(x); }}, {"rcp", [](float x) { return 1 / x; }},
    {"rsqrt", [](float x) { return float(1 / std::sqrt(double(x))); }}, {"sqrt", [](float x) { return std::sqrt(x); }}, {"tanh", [](float x) { return tanhf(x); }},
    {"sin", [](float x) { return sinf(x); }}, {"cos", [](float x) { return cosf(x); }}, {"neg", [](float x) { return -x; }}, {"abs", [](float x) { return fabsf(x); }}};
static Action bind_function(Function f, Modifiers& m) {
  m.take_any({"approx", "rn"});
  m.take("ftz");
  m.need("f32");
  return [f](const Instruction& i, Frame& frame) { i.set_real(frame, 0, f(i.real(frame, 1))); };
}
/// Rounded once: to odd on the way, where an f32 does not hold x.
static uint16_t bf16_of(double x) {
  uint32_t u = bits_of_float(float(x));
  if (!std::isnan(x) && double(float(x)) != x) u = (std::fabs(float(x)) > std::fabs(x) ? u - 1 : u) | 1;
  return to_bf16(float_of_bits(u));
}
/// Products of bf16 are exact in f64, and so are sums with a third one that is not 2^37 times as large.
static Action bf16_pairs() {
  return [](const Instruction& i, Frame& f) {
    uint32_t r = 0;
    for (int half = 0; half < 2; half++) {
      const auto x = [&](int n) { return double(element(Small::Bf16, uint32_t(i.value(f, n)), half)); };
      r |= uint32_t(bf16_of(x(1) * x(2) + x(3))) << (16 * half);
    }
    i.set(f, 0, r);
  };
}
static Action bind_fma(Modifiers& m) {
  m.need("rn");
  m.take("ftz");
  if (m.take("bf16x2")) return bf16_pairs();
  m.need("f32");
  return [](const Instruction& i, Frame& f) { i.set_real(f, 0, std::fma(i.real(f, 1), i.real(f, 2), i.real(f, 3))); };
}
static Action bind_mad(Modifiers& m) {
  const Type t = m.need_type();
  const bool wide = m.need_any({"lo", "wide"}) == "wide";
  return [=](const Instruction& i, Frame& f) {
    const u64 r = cut(i.value(f, 1), t) * cut(i.value(f, 2), t) + i.value(f, 3);
    i.set(f, 0, wide ? r : cut(r, {'u', t.bits}));
  };
}

/// Of two numbers or bit patterns; NaN compares unequal.
template <class T> static bool compared(const std::string& how, T a, T b) {
  if (how == "eq") return a == b;
  if (how == "ne") return a != b;
  if (how == "lt" || how == "lo") return a < b;
  if (how == "le" || how == "ls") return a <= b;
  if (how == "gt" || how == "hi") return a > b;
  return a >= b;
}
static Action bind_setp(Modifiers& m) {
  const Type t = m.need_type();
  m.take("ftz");
  const std::string how = m.need_any({"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs"});
  return [=](const Instruction& i, Frame& f) {
    const u64 a = i.value(f, 1), b = i.value(f, 2);
    if (t.is_float()) i.set(f, 0, compared(how, number(a, t), number(b, t)));
    else if (t.is_signed()) i.set(f, 0, compared(how, (long long)cut(a, t), (long long)cut(b, t)));
    else i.set(f, 0, compared(how, cut(a, t), cut(b, t)));
  };
}
static Action bind_selp(Modifiers& m) {
  m.need_type();
  return [](const Instruction& i, Frame& f) { i.set(f, 0, i.value(f, i.value(f, 3) ? 1 : 2)); };
}
/// Also `mov.b32 {low, high}, x` and `mov.b32 x, {low, high}`.
static Action bind_mov(Modifiers& m) {
  const Type t = m.need_type();
  return [t](const Instruction& i, Frame& f) {
    if (i.count() == 2) return i.set(f, 0, i.value(f, 1));
    const int half = t.bits / 2;
    const Type part{'u', half};
    if (i.operands[0].group == 0) return i.set(f, 0, cut(i.value(f, 1), part) | cut(i.value(f, 2), part) << half);
    const u64 whole = i.value(f, 2);
    i.set(f, 0, cut(whole, part));
    i.set(f, 1, cut(whole >> half, part));
  };
}

/// Rounds to nearest even in the format.
static uint16_t halved(const std::string& format, float x) { return format == "bf16" ? to_bf16(x) : to_f16(x); }
static Action bind_cvt(Modifiers& m) {
  m.take("ftz");
  const bool to_nearest = m.take("rn"), away = m.take("rna"), to_zero = m.take("rzi");
  if (m.take("tf32")) {
    m.need("f32");
    if (!away) throw std::invalid_argument("its rounding: .rna is emulated");
    return [](const Instruction& i, Frame& f) { i.set(f, 0, to_tf32(i.real(f, 1))); };
  }
  for (const char* format : {"bf16", "f16"}) {
    if (m.take(std::string(format) + "x2")) {
      const bool relu = m.take("relu");
      m.need("f32");
      if (!to_nearest || relu) throw std::invalid_argument("its rounding: .rn is emulated");
      return [name = std::string(format)](const Instruction& i, Frame& f) { i.set(f, 0, halved(name, i.real(f, 2)) | u64(halved(name, i.real(f, 1))) << 16); };
    }
    if (!m.take(format)) continue;
    m.need("f32");
    if (to_nearest) return [name = std::string(format)](const Instruction& i, Frame& f) { i.set(f, 0, halved(name, i.real(f, 1))); };
    return [name = std::string(format)](const Instruction& i, Frame& f) {
      const uint16_t h = uint16_t(i.value(f, 1));
      i.set_real(f, 0, name == "bf16" ? from_bf16(h) : from_f16(h));
    };
  }
  const Type from = m.need_type(), to = m.need_type();
  if (from.is_float() != to.is_float() && !to_nearest && !to_zero) throw std::invalid_argument("its rounding: .rn and .rzi are emulated");
  return [=](const Instruction& i, Frame& f) {
    const u64 v = i.value(f, 1);
    if (from.is_float() && to.is_float()) return i.set(f, 0, bits(number(v, from), to));
    if (to.is_float()) return i.set(f, 0, bits(from.is_signed() ? double((long long)cut(v, from)) : double(cut(v, from)), to));
    if (!from.is_float()) return i.set(f, 0, cut(cut(v, from), {'u', to.bits}));
    const double x = number(v, from), whole = to_zero ? std::trunc(x) : std::rint(x), high = std::ldexp(1.0, to.bits - to.is_signed()), low = to.is_signed() ? -high : 0;
    const u64 r = x != x ? 0 : whole <= low ? u64((long long)low) : whole >= high ? cut(~u64(0) >> to.is_signed() >> (64 - to.bits), {'u', 64}) : to.is_signed() ? u64((long long)whole) : u64(whole);
    i.set(f, 0, cut(r, {'u', to.bits}));
  };
}

Action bind_arithmetic(const std::string& opcode, Modifiers& m) {
  if (const auto b = binary.find(opcode); b != binary.end()) return bind_binary(b->second, m);
  if (const auto f = functions.find(opcode); f != functions.end()) return bind_function(f->second, m);
  static const std::map<std::string, Binder> others = {{"fma", bind_fma}, {"mad", bind_mad}, {"setp", bind_setp}, {"selp", bind_selp}, {"mov", bind_mov}, {"cvt", bind_cvt}};
  const auto other = others.find(opcode);
  return other == others.end() ? nullptr : other->second(m);
}
}  // namespace emu
