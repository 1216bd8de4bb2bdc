// unit [PART OF A NAME...]: runs the tests in four ways and prints `ok NAME` or `FAIL NAME (how): what`.
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "harness.hpp"

namespace unit {
static std::string failure;

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
void wrong(const char* format, ...) {
  char text[2048];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (failure.empty()) failure = text;
}
static bool passes(const Test& t, const char* how) {
  emu::config = {};
  emu::configure(how);
  failure.clear();
  generator().seed(12345);
  try {
    t.run();
  } catch (const std::exception& e) {
    wrong("%s", e.what());
  }
  if (!failure.empty()) printf("FAIL %s (%s): %s\n", t.name.c_str(), how, failure.c_str());
  return failure.empty();
}
static bool passes(const Test& t) {
  if (t.once) return passes(t, ways[0]);
  bool all = true;
  for (const char* how : ways) all &= passes(t, how);
  return all;
}
static void configure_as(const char* how) {
  emu::config = {};
  emu::configure(how);
  emu::config.patience = 1;
}
void planted(const std::vector<const char*>& bugs, const std::function<Outcome(int)>& run) {
  for (const char* how : ways) {
    configure_as(how);
    const Outcome clean = run(0);
    if (!clean.findings.empty()) wrong("without a bug (%s): %s", how, clean.findings[0].c_str());
    if (!clean.right) wrong("without a bug (%s) the results are wrong", how);
  }
  for (size_t i = 0; i < bugs.size(); i++) {
    bool caught = false;
    for (const char* how : ways) {
      if (caught) break;
      configure_as(how);
      const Outcome o = run(int(i) + 1);
      caught = !o.findings.empty() || !o.right;
    }
    if (!caught) wrong("not noticed: %s", bugs[i]);
  }
}
static bool wanted(const Test& t, int n, char** parts) {
  for (int i = 1; i < n; i++)
    if (t.name.find(parts[i]) != std::string::npos) return true;
  return n == 1;
}
}  // namespace unit

int main(int n, char** args) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  int failed = 0;
  for (const unit::Test& t : unit::tests()) {
    if (!unit::wanted(t, n, args)) continue;
    if (unit::passes(t)) printf("ok %s\n", t.name.c_str());
    else failed++;
  }
  return failed > 0;
}
