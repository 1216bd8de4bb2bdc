// A parsed inline PTX statement: instructions with predicates, local registers and branches.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../runtime/block.hpp"

namespace emu {
struct Operand {
  enum Kind { Argument, Register, Immediate, Sink, Special } kind = Sink;
  /// The index of an argument or a local register.
  int index = 0;
  /// An immediate, or an address offset.
  u64 number = 0;
  /// `!p`
  bool negated = false;
  /// Operands in the same braces have the same number.
  int group = 0;
  std::string name;
};
/// The execution of a statement by a thread.
struct Frame {
  Argument* arguments;
  Thread& thread;
  int line;
  u64 registers[32] = {};
};
struct Instruction;
typedef std::function<void(const Instruction&, Frame&)> Action;
struct Instruction {
  std::string text;
  std::vector<Operand> operands;
  /// A local register; -1 is none.
  int guard = -1;
  bool guard_negated = false;
  /// The target of a branch; -1: no branch.
  int target = -1;
  Action run;

  size_t count() const { return operands.size(); }
  /// The current value of an output.
  u64 value(const Frame&, size_t operand) const;
  uint32_t word(const Frame& f, size_t operand) const { return uint32_t(value(f, operand)); }
  float real(const Frame&, size_t operand) const;
  void set(Frame&, size_t operand, u64) const;
  void set_real(Frame&, size_t operand, float) const;
};
struct Program {
  std::vector<Instruction> instructions;
};
/// Throws std::invalid_argument.
Program parse(const char* text, int arguments);
}  // namespace emu
