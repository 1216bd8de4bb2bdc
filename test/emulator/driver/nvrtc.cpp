// libnvrtc.so: compiles CUDA text with the system's C++ compiler. A cubin is a shared library, which the emulator's libcuda loads.
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <regex>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "../runtime/config.hpp"

#ifndef EMULATOR_DIALECT
#error "EMULATOR_DIALECT: the folder that holds device.hpp"
#endif
#ifndef EMULATOR_KEPT
#error "EMULATOR_KEPT: the folder for what is made once"
#endif
extern char** environ;

namespace {
/// Values of nvrtcResult.
enum Result { success = 0, out_of_memory = 1, invalid_input = 3, invalid_program = 4, invalid_option = 5, compilation = 6, name_not_valid = 10 };
struct Program {
  std::string text, name, log, library;
  std::set<std::string> names;
};

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
/// From MOEC_EMULATOR, read each time: one process may compile in several ways.
const emu::Config& mode() {
  static std::mutex mutex;
  static std::string last;
  std::lock_guard<std::mutex> lock(mutex);
  const char* said = getenv("MOEC_EMULATOR");
  const std::string words = said ? said : "";
  if (words == last) return emu::config;
  last = words;
  emu::config = {};
  try {
    emu::configure(words.c_str());
  } catch (const std::exception& error) {
    fprintf(stderr, "emulator: %s\n", error.what());
  }
  return emu::config;
}
std::string compiler() {
  const char* chosen = getenv("CXX");
  return chosen && *chosen ? chosen : "g++";
}
std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}
/// Compiler flags by instrumentation.
std::vector<std::string> flags() {
  std::vector<std::string> all = words_of(
      "-std=c++17 -g1 -w -fPIC -march=native -ftls-model=initial-exec -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-strict-aliasing "
      "-fwrapv -fno-math-errno -fno-trapping-math");
  auto add = [&](const char* more) { for (auto& w : words_of(more)) all.push_back(w); };
  add(mode().count ? "-O1 -fsanitize-coverage=trace-pc" : "-Og");
  if (mode().check || mode().count) add("-fsanitize=thread");
  return all;
}
unsigned hashed(const std::string& text) {
  unsigned hash = 2166136261u;
  for (char c : text) hash = (hash ^ (unsigned char)c) * 16777619u;
  return hash;
}
/// A hash of all that decides the compiled code: dialect, compiler, instrumentation.
unsigned identity() {
  std::vector<std::string> files;
  if (DIR* folder = opendir(EMULATOR_DIALECT)) {
    while (dirent* entry = readdir(folder))
      if (strstr(entry->d_name, ".hpp")) files.push_back(entry->d_name);
    closedir(folder);
  }
  std::sort(files.begin(), files.end());
  std::string all = compiler();
  for (auto& f : flags()) all += " " + f;
  for (auto& f : files) all += contents(std::string(EMULATOR_DIALECT) + "/" + f);
  return hashed(all) & 0x7fffffff;
}

/// NVRTC options that are ignored.
bool ignored(const std::string& option) {
  for (const char* p : {"--std=", "-std=", "--ptxas-options", "--diag-", "--ftz", "--prec-", "--use_fast_math", "-default-device", "--device-as-default",
                        "-lineinfo", "--generate-line-info", "--maxrregcount", "--restrict", "--split-compile"})
    if (option.rfind(p, 0) == 0) return true;
  return false;
}
/// `sm_90a`
void add_architecture(const std::string& name, std::vector<std::string>& to) {
  const std::string number = std::regex_replace(name, std::regex("[^0-9]"), "");
  to.push_back("-D__CUDA_ARCH__=" + number + "0");
  if (name.back() == 'a') to.push_back("-D__CUDA_ARCH_FEAT_SM" + number + "_ALL");
}
/// Translates NVRTC options for the C++ compiler; false if one is unknown.
bool translate(int n, const char* const* options, std::vector<std::string>& to) {
  bool contracts = true;
  for (int i = 0; i < n; i++) {
    const std::string o = options[i], value = o.substr(o.find('=') + 1);
    auto begins = [&](const char* p) { return o.rfind(p, 0) == 0; };
    if (begins("-D")) to.push_back(o);
    else if (begins("--define-macro=")) to.push_back("-D" + value);
    else if (begins("--fmad=") || begins("-fmad=")) contracts = value == "true";
    else if (begins("--gpu-architecture=") || begins("-arch=")) add_architecture(value, to);
    else if (!ignored(o)) return false;
  }
  to.push_back(contracts ? "-ffp-contract=fast" : "-ffp-contract=off");
  return true;
}
/// Runs a program; returns its exit status, its output is added to the log.
int run(const std::vector<std::string>& command, const std::string& log) {
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  pid_t child;
  const int failed = posix_spawnp(&child, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  int status = 127;
  if (failed) return status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}
/// `k.cu:3:12: error: text` as NVRTC writes it: `k.cu(3): error: text`.
std::string as_nvrtc(const std::string& log, const std::string& folder) {
  std::string all = log;
  for (size_t at; (at = all.find(folder + "/")) != std::string::npos;) all.erase(at, folder.size() + 1);
  return std::regex_replace(all, std::regex("(^|\n)([^\n: ]+):([0-9]+):[0-9]+: (fatal )?(error|warning)"), "$1$2($3): $5");
}
struct Folder {
  std::string path;
  Folder() {
    const char* temporary = getenv("TMPDIR");
    std::string name = std::string(temporary ? temporary : "/tmp") + "/moec-emulated-XXXXXX";
    if (mkdtemp(name.data())) path = name;
  }
  ~Folder() {
    for (const char* file : {"log", "header", "kernels.o", "kernels.so"}) unlink((path + "/" + file).c_str());
    unlink(source.c_str());
    rmdir(path.c_str());
  }
  std::string source;
};
/// How much of a text stands before its first kernel, if that is worth precompiling: moec's device headers, which its kernels have in common.
size_t headers_in(const std::string& text) {
  const size_t end = text.find("\nKERNEL ");
  return end == std::string::npos || end < 10000 ? 0 : text.rfind('\n', end - 1) + 1;
}
/// The precompiled header of the dialect and of what follows it (they take longer to compile than most kernels), one per command line.
std::string precompiled(std::vector<std::string> command, const std::string& more, const Folder& folder, const std::string& log) {
  const std::string own = folder.path + "/header";
  std::string all = more;
  for (auto& word : command) all += word + " ";
  const std::string header = EMULATOR_KEPT "/" + std::to_string(identity()) + "-" + std::to_string(hashed(all)) + ".hpp";
  const std::string compiled = header + ".gch";
  if (access(compiled.c_str(), R_OK) == 0) return header;
  std::ofstream(own, std::ios::binary) << "#include \"" EMULATOR_DIALECT "/device.hpp\"\n#line 1 \"headers.cu\"\n" << more;
  if (rename(own.c_str(), header.c_str())) return "";
  for (auto& word : {std::string("-x"), std::string("c++-header"), header, std::string("-o"), own}) command.push_back(word);
  return run(command, log) == 0 && rename(own.c_str(), compiled.c_str()) == 0 ? header : "";
}
Result compile(Program& p, std::vector<std::string> options) {
  Folder folder;
  if (folder.path.empty()) return out_of_memory;
  folder.source = folder.path + "/" + p.name;
  const std::string object = folder.path + "/kernels.o", library = folder.path + "/kernels.so", log = folder.path + "/log";
  std::vector<std::string> command = words_of(compiler());
  const size_t program = command.size();
  for (auto& f : flags()) command.push_back(f);
  for (auto& o : options) command.push_back(o);
  size_t cut = headers_in(p.text);
  std::string header = precompiled(command, p.text.substr(0, cut), folder, log);
  if (header.empty()) cut = 0, header = EMULATOR_DIALECT "/device.hpp";
  const long line = 1 + std::count(p.text.begin(), p.text.begin() + cut, '\n');
  std::ofstream(folder.source, std::ios::binary) << "#line " << line << " \"" << p.name << "\"\n" << p.text.substr(cut);
  for (const std::string& word : std::vector<std::string>{"-include", header, "-x", "c++", "-c", folder.source, "-o", object}) command.push_back(word);
  int status = run(command, log);
  if (status == 0) {
    command.resize(program);
    for (const std::string& word : std::vector<std::string>{"-shared", "-nostdlib", object, "-o", library, "-lm"}) command.push_back(word);
    status = run(command, log);
  }
  p.log = as_nvrtc(contents(log), folder.path);
  if (status == 127 << 8 || status == 127) p.log += "the compiler " + compiler() + " cannot be run";
  p.library = contents(library);
  return status == 0 ? success : compilation;
}
/// The file name without characters that could leave the folder.
std::string plain_name(const char* name) {
  std::string s = name ? name : "kernels.cu";
  for (char& c : s)
    if (!isalnum((unsigned char)c) && c != '_' && c != '.') c = '_';
  return s.empty() || s[0] == '.' || s.size() > 200 ? "kernels.cu" : s;
}
const std::string no_ptx = "// emulated: the text was compiled for the host\n";
}  // namespace

#define API extern "C" __attribute__((visibility("default"))) Result
API nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = int(identity()), success; }
API nvrtcGetNumSupportedArchs(int* n) { return *n = 7, success; }
API nvrtcGetSupportedArchs(int* all) {
  for (int a : {75, 80, 86, 89, 90, 100, 120}) *all++ = a;
  return success;
}
extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int result) {
  return result == success ? "NVRTC_SUCCESS" : result == compilation ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}
API nvrtcCreateProgram(Program** made, const char* text, const char* name, int headers, const char* const*, const char* const*) {
  if (!text || headers != 0) return invalid_input;  // the dialect has no headers
  *made = new Program;
  (*made)->text = text;
  (*made)->name = plain_name(name);
  return success;
}
API nvrtcDestroyProgram(Program** p) { return delete *p, *p = nullptr, success; }
API nvrtcAddNameExpression(Program* p, const char* name) { return p->names.insert(name), success; }
/// Kernels have C linkage, so names are not mangled.
API nvrtcGetLoweredName(Program* p, const char* name, const char** lowered) {
  const auto found = p->names.find(name);
  if (found == p->names.end() || !std::regex_match(*found, std::regex("[A-Za-z_][A-Za-z_0-9]*"))) return name_not_valid;
  return *lowered = found->c_str(), success;
}
API nvrtcCompileProgram(Program* p, int n, const char* const* options) {
  std::vector<std::string> translated;
  if (!translate(n, options, translated)) return p->log = "an option that the emulator does not know", invalid_option;
  return compile(*p, translated);
}
API nvrtcGetProgramLogSize(Program* p, size_t* n) { return *n = p->log.size() + 1, success; }
API nvrtcGetProgramLog(Program* p, char* to) { return memcpy(to, p->log.c_str(), p->log.size() + 1), success; }
API nvrtcGetPTXSize(Program*, size_t* n) { return *n = no_ptx.size() + 1, success; }
API nvrtcGetPTX(Program*, char* to) { return memcpy(to, no_ptx.c_str(), no_ptx.size() + 1), success; }
API nvrtcGetCUBINSize(Program* p, size_t* n) { return *n = p->library.size(), p->library.empty() ? invalid_program : success; }
API nvrtcGetCUBIN(Program* p, char* to) { return memcpy(to, p->library.data(), p->library.size()), success; }
