// Opcode modifiers: the instruction's binder must take each of them, otherwise the instruction is not emulated.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "program.hpp"

namespace emu {
/// `kind`: u, s, f, b (bits) or p (predicate).
struct Type {
  char kind;
  int bits;
  bool is_float() const { return kind == 'f'; }
  bool is_signed() const { return kind == 's'; }
};
class Modifiers {
 public:
  explicit Modifiers(std::vector<std::string> words) : words_(std::move(words)) {}
  bool take(const std::string& word);
  void need(const std::string& word);
  /// Takes the first of these that is next; empty if none is.
  std::string take_any(std::initializer_list<const char*>);
  std::string need_any(std::initializer_list<const char*>);
  /// Takes all modifiers with this prefix; returns their number.
  int take_prefixed(const std::string& prefix);
  /// The last modifier, which must be a type.
  Type need_type();
  bool empty() const { return words_.empty(); }
  const std::string& first() const { return words_.front(); }

 private:
  std::vector<std::string> words_;
};
/// Returns the instruction's implementation; throws std::invalid_argument if it is not emulated.
typedef Action (*Binder)(Modifiers&);

// Matrices.
Action bind_mma(Modifiers&);
Action bind_ldmatrix(Modifiers&);
Action bind_stmatrix(Modifiers&);
Action bind_wgmma(Modifiers&);
// Copies.
Action bind_cp(Modifiers&);
Action bind_cp_async(Modifiers&);
Action bind_bulk(Modifiers&);
Action bind_mbarrier(Modifiers&);
// Memory.
Action bind_ld(Modifiers&);
Action bind_st(Modifiers&);
Action bind_atom(Modifiers&);
Action bind_red(Modifiers&);
Action bind_cvta(Modifiers&);
Action bind_nothing(Modifiers&);
// Control.
Action bind_barrier(Modifiers&);
Action bind_fence(Modifiers&);
Action bind_elect(Modifiers&);
Action bind_setmaxnreg(Modifiers&);
Action bind_shfl(Modifiers&);
Action bind_vote(Modifiers&);
Action bind_redux(Modifiers&);
// Arithmetic. Null if the opcode is not arithmetic.
Action bind_arithmetic(const std::string& opcode, Modifiers&);
}  // namespace emu
