#include "report.hpp"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include "config.hpp"
#include "engine.hpp"

namespace emu {
thread_local Position position = 0;

struct Code {
  uintptr_t start = 0, end = 0;
  std::string path;
  const void* function = nullptr;
};
static Code code;
static std::map<Position, std::string> lines;

static int measure(dl_phdr_info* info, size_t, void*) {
  if (info->dlpi_addr != code.start) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type == PT_LOAD) code.end = std::max(code.end, uintptr_t(info->dlpi_addr + part.p_vaddr + part.p_memsz));
  }
  return 1;
}
void set_code(const void* function) {
  Dl_info info;
  if (!dladdr(function, &info)) throw Failure("the kernel is in no library");
  if (function == code.function) return;
  code = {uintptr_t(info.dli_fbase), 0, info.dli_fname, function};
  const std::string own = "/proc/self/";  // a module in memory, which addr2line, another process, opens by its pid
  if (code.path.rfind(own, 0) == 0) code.path = "/proc/" + std::to_string(getpid()) + "/" + code.path.substr(own.size());
  lines.clear();
  dl_iterate_phdr(measure, nullptr);
}
Position position_of(const void* return_address) { return Position(uintptr_t(return_address) - code.start - 1); }
bool in_code(const void* p) { return uintptr_t(p) >= code.start && uintptr_t(p) < code.end; }

static std::string in_hex(Position at) {
  char text[16];
  snprintf(text, sizeof text, "0x%x", at);
  return text;
}
/// Asks for all at once, since addr2line reads the whole library first.
static void ask(const std::set<Position>& all) {
  std::string command = "addr2line -asie '" + code.path + "'";
  for (Position at : all) command += " " + in_hex(at);
  FILE* out = popen((command + " 2>/dev/null").c_str(), "r");
  std::string* found = nullptr;
  char line[1024];
  while (out && fgets(line, sizeof line, out)) {
    line[strcspn(line, " \n")] = 0;
    if (!strncmp(line, "0x", 2)) found = &lines[Position(strtoul(line, nullptr, 16))];
    else if (!found || (strstr(line, ".hpp:") && found->empty())) continue;  // the emulator's own
    else *found += (found->empty() ? "" : " < ") + std::string(line);
  }
  if (out) pclose(out);
  for (Position at : all)
    if (lines[at].empty()) lines[at] = in_hex(at);
}
void find_lines(const std::vector<Position>& all) {
  std::set<Position> some;
  for (Position at : all)
    if (at != 0 && !lines.count(at)) some.insert(at);
  if (!some.empty()) ask(some);
}
std::string where(Position at) {
  if (at == 0) return "?";
  find_lines({at});
  return lines[at];
}

static std::string written(const char* format, va_list args) {
  char text[2048];
  vsnprintf(text, sizeof text, format, args);
  std::string all = text;
  if (!self) return all;
  const Thread& t = me();
  snprintf(text, sizeof text, " [kernel %s block (%u,%u,%u) thread (%u,%u,%u)]", t.block->launch->kernel->name, t.bid.x, t.bid.y, t.bid.z, t.tid.x, t.tid.y, t.tid.z);
  return all + text;
}
void fail(const char* format, ...) {
  va_list args;
  va_start(args, format);
  const std::string text = written(format, args);
  va_end(args);
  if (!self) throw Failure(text);
  me().block->launch->add(text);
  Engine::current().abandon();
}
void report(const char* format, ...) {
  va_list args;
  va_start(args, format);
  const std::string text = written(format, args);
  va_end(args);
  Launch& launch = Engine::current().launch();
  if (launch.add(text) < config.patience) return;
  if (!self) throw Failure("too many findings");
  Engine::current().abandon();
}
}  // namespace emu
