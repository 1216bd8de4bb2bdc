// The PTX parser.
#include <cstring>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>

#include "../runtime/config.hpp"
#include "../runtime/engine.hpp"
#include "../runtime/report.hpp"
#include "modifiers.hpp"

namespace emu {

static const std::map<std::string, Binder> binders = {
    {"mma", bind_mma}, {"ldmatrix", bind_ldmatrix}, {"stmatrix", bind_stmatrix}, {"wgmma", bind_wgmma}, {"cp", bind_cp}, {"mbarrier", bind_mbarrier},
    {"ld", bind_ld}, {"st", bind_st}, {"atom", bind_atom}, {"red", bind_red}, {"cvta", bind_cvta}, {"prefetch", bind_nothing}, {"griddepcontrol", bind_nothing},
    {"discard", bind_nothing}, {"bar", bind_barrier}, {"barrier", bind_barrier}, {"fence", bind_fence}, {"membar", bind_fence}, {"elect", bind_elect},
    {"setmaxnreg", bind_setmaxnreg}, {"shfl", bind_shfl}, {"vote", bind_vote}, {"redux", bind_redux}};

static Action bound(const std::string& opcode, std::vector<std::string> words) {
  Modifiers modifiers(std::move(words));
  const auto binder = binders.find(opcode);
  Action action = binder == binders.end() ? bind_arithmetic(opcode, modifiers) : binder->second(modifiers);
  if (!action) throw std::invalid_argument("its opcode");
  if (!modifiers.empty()) throw std::invalid_argument("its ." + modifiers.first());
  return action;
}

class Parser {
 public:
  explicit Parser(int arguments) : arguments_(arguments) {}
  Program parse(const std::string& text) {
    std::istringstream in(text);
    for (std::string statement; std::getline(in, statement, ';');) this->statement(statement);
    for (auto& [at, label] : branches_) {
      if (!labels_.count(label)) throw std::invalid_argument("no label " + label);
      program_.instructions[at].target = labels_[label];
    }
    return std::move(program_);
  }

 private:
  static constexpr const char* space = " \t\n";
  static std::string word(std::string& rest) {
    const size_t from = rest.find_first_not_of(space), to = rest.find_first_of(space, from);
    if (from == std::string::npos) return "";
    const std::string found = rest.substr(from, to == std::string::npos ? to : to - from);
    rest = to == std::string::npos ? "" : rest.substr(to);
    return found;
  }
  void statement(std::string text) {
    text.erase(0, std::min(text.find_first_not_of(" \t\n{}"), text.size()));
    for (size_t colon; (colon = text.find(':')) != std::string::npos && text.find_first_of(" \t\n.,[%") > colon && text[colon + 1] != ':';) {
      labels_[text.substr(0, colon)] = int(program_.instructions.size());
      text = text.substr(colon + 1);
      text.erase(0, std::min(text.find_first_not_of(" \t\n{}"), text.size()));
    }
    if (text.find_first_not_of(" \t\n{}") == std::string::npos) return;
    Instruction i;
    i.text = text;
    if (text[0] == '@') guard(i, word(text));
    const std::string opcode = word(text);
    if (opcode == ".reg") return declare(text);
    if (opcode == "bra" || opcode == "bra.uni") {
      branches_.emplace_back(program_.instructions.size(), word(text));
      i.target = 0;
    } else {
      operands(i, text);
      finish(i, opcode);
    }
    program_.instructions.push_back(std::move(i));
  }
  void finish(Instruction& i, const std::string& whole) {
    std::vector<std::string> words;
    std::istringstream in(whole);
    for (std::string w; std::getline(in, w, '.');) words.push_back(w);
    const std::string opcode = words.front();
    words.erase(words.begin());
    try {
      i.run = bound(opcode, words);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument("`" + whole + "` is not emulated: " + error.what());
    }
  }
  /// `.pred p, q`; registers with a count (`%r<4>`) are made when they are used.
  void declare(const std::string& text) {
    std::string names = text.substr(text.find_first_of(space, text.find_first_not_of(space)));
    std::istringstream in(names);
    for (std::string name; std::getline(in, name, ',');) {
      std::istringstream trim(name);
      trim >> name;
      if (name.find('<') == std::string::npos) registers_.emplace(name, int(registers_.size()));
    }
  }
  void guard(Instruction& i, const std::string& text) {
    i.guard_negated = text[1] == '!';
    i.guard = local(text.substr(i.guard_negated ? 2 : 1));
  }
  int local(const std::string& name) {
    const int index = registers_.emplace(name, int(registers_.size())).first->second;
    if (index >= 32) throw std::invalid_argument("more than 32 local registers");
    return index;
  }
  void operands(Instruction& i, const std::string& text) {
    int group = 0, groups = 0;
    bool negated = false;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at];
      if (c == '{') group = ++groups;
      if (c == '}') group = 0;
      if (c == '!') negated = true;
      if (strchr(" \t\n,{}[]|!", c)) { at++; continue; }
      const size_t end = std::min(text.find_first_of(" \t\n,{}[]|!", at), text.size());
      i.operands.push_back(operand(text.substr(at, end - at)));
      i.operands.back().group = group;
      i.operands.back().negated = negated;
      negated = false;
      at = end;
    }
  }
  Operand operand(std::string text) {
    Operand o;
    if (text == "_") return o;
    const size_t plus = text.find('+', 1);
    if (plus != std::string::npos) o.number = std::stoull(text.substr(plus + 1), nullptr, 0), text = text.substr(0, plus);
    if (text[0] == '%' && text[1] == '%') text = text.substr(1);
    if (text[0] == '%' && isdigit(text[1])) return argument(o, text);
    if (isdigit(text[0]) || text[0] == '-') return number(o, text);
    if (text[0] == '%' && !registers_.count(text)) {
      o.kind = Operand::Special;
      o.name = text.substr(1);
      return o;
    }
    o.kind = Operand::Register;
    o.index = local(text);
    return o;
  }
  Operand argument(Operand o, const std::string& text) const {
    o.kind = Operand::Argument;
    o.index = std::stoi(text.substr(1));
    if (o.index >= arguments_) throw std::invalid_argument("operand " + text + " of " + std::to_string(arguments_));
    return o;
  }
  /// `16`, `-1`, `0x10`, and the bits of a float, `0f3F800000`.
  static Operand number(Operand o, const std::string& text) {
    o.kind = Operand::Immediate;
    if (text[0] == '0' && strchr("fFdD", text[1]) && text.size() > 2) o.number = std::stoull(text.substr(2), nullptr, 16);
    else o.number = u64(std::stoll(text, nullptr, 0));
    return o;
  }

  const int arguments_;
  Program program_;
  std::map<std::string, int> registers_, labels_;
  std::vector<std::pair<size_t, std::string>> branches_;
};
Program parse(const char* text, int arguments) { return Parser(arguments).parse(text); }

static u64 special(const std::string& name, const Thread& t) {
  const std::map<std::string, u64> values = {{"laneid", t.lane}, {"warpid", t.warp}, {"tid.x", t.tid.x}, {"tid.y", t.tid.y}, {"tid.z", t.tid.z},
    {"ntid.x", t.bdim.x}, {"ntid.y", t.bdim.y}, {"ntid.z", t.bdim.z}, {"ctaid.x", t.bid.x}, {"ctaid.y", t.bid.y}, {"ctaid.z", t.bid.z},
    {"nctaid.x", t.gdim.x}, {"nctaid.y", t.gdim.y}, {"nctaid.z", t.gdim.z}, {"lanemask_lt", (1u << t.lane) - 1}, {"lanemask_eq", 1u << t.lane}, {"cluster_ctarank", 0}};
  const auto found = values.find(name);
  if (found == values.end()) fail("the register %%%s is not emulated", name.c_str());
  return found->second;
}
u64 Instruction::value(const Frame& f, size_t n) const {
  const Operand& o = operands[n];
  u64 v = 0;
  if (o.kind == Operand::Immediate) v = o.number;
  else if (o.kind == Operand::Special) v = special(o.name, f.thread);
  else if (o.kind == Operand::Register) v = f.registers[o.index] + o.number;
  else if (o.kind == Operand::Argument) {
    const Argument& a = f.arguments[o.index];
    if (a.out) memcpy(&v, a.out, a.bytes);
    else v = a.value;
    v += o.number;
  }
  return o.negated ? !v : v;
}
float Instruction::real(const Frame& f, size_t n) const {
  const uint32_t bits = word(f, n);
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
void Instruction::set(Frame& f, size_t n, u64 v) const {
  const Operand& o = operands[n];
  if (o.kind == Operand::Sink) return;
  if (o.kind == Operand::Register) {
    f.registers[o.index] = v;
    return;
  }
  if (o.kind != Operand::Argument || !f.arguments[o.index].out) fail("inline PTX writes operand %zu of `%s`, which is no output (line %d)", n, text.c_str(), f.line);
  memcpy(f.arguments[o.index].out, &v, f.arguments[o.index].bytes);
}
void Instruction::set_real(Frame& f, size_t n, float x) const {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  set(f, n, bits);
}

static const Program& parsed(Statement& s, int count, int line) {
  if (auto* known = (Program*)__atomic_load_n(&s.parsed, __ATOMIC_ACQUIRE)) return *known;
  static std::mutex parsing;
  std::string error;
  {
    std::lock_guard<std::mutex> lock(parsing);
    if (s.parsed) return *(Program*)s.parsed;
    try {
      auto* made = new Program(parse(s.text, count));  // never freed: the statement is static
      __atomic_store_n(&s.parsed, (void*)made, __ATOMIC_RELEASE);
      return *made;
    } catch (const std::exception& e) {
      error = e.what();
    }
  }
  fail("PTX at line %d: %s", line, error.c_str());
}
void ptx(Statement& s, Argument* arguments, int count, int line) {
  const Program& p = parsed(s, count, line);
  Frame f{arguments, me(), line};
  if (config.check || config.count) position = position_of(__builtin_return_address(0));
  for (size_t at = 0; at < p.instructions.size();) {
    const Instruction& i = p.instructions[at++];
    if (i.guard >= 0 && (f.registers[i.guard] != 0) == i.guard_negated) continue;
    if (i.target < 0) i.run(i, f);
    else at = size_t(i.target);
  }
}
}  // namespace emu
