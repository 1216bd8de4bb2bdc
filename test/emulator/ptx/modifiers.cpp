#include "modifiers.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>

namespace emu {

bool Modifiers::take(const std::string& word) {
  const auto at = std::find(words_.begin(), words_.end(), word);
  if (at == words_.end()) return false;
  words_.erase(at);
  return true;
}
void Modifiers::need(const std::string& word) {
  if (!take(word)) throw std::invalid_argument("." + word + " is missing");
}
std::string Modifiers::take_any(std::initializer_list<const char*> words) {
  for (const char* word : words)
    if (take(word)) return word;
  return "";
}
std::string Modifiers::need_any(std::initializer_list<const char*> words) {
  const std::string found = take_any(words);
  if (found.empty()) throw std::invalid_argument(std::string(".") + *words.begin() + " (or another) is missing");
  return found;
}
int Modifiers::take_prefixed(const std::string& prefix) {
  const auto from = std::remove_if(words_.begin(), words_.end(), [&](const std::string& w) { return w.rfind(prefix, 0) == 0; });
  const int n = int(words_.end() - from);
  words_.erase(from, words_.end());
  return n;
}
Type Modifiers::need_type() {
  static const std::map<std::string, Type> types = {{"u8", {'u', 8}}, {"s8", {'s', 8}}, {"b8", {'b', 8}}, {"u16", {'u', 16}}, {"s16", {'s', 16}}, {"b16", {'b', 16}},
    {"u32", {'u', 32}}, {"s32", {'s', 32}}, {"b32", {'b', 32}}, {"f32", {'f', 32}}, {"u64", {'u', 64}}, {"s64", {'s', 64}}, {"b64", {'b', 64}}, {"f64", {'f', 64}}, {"pred", {'p', 1}}};
  const auto found = words_.empty() ? types.end() : types.find(words_.back());
  if (found == types.end()) throw std::invalid_argument("its type is missing");
  words_.pop_back();
  return found->second;
}
}  // namespace emu
