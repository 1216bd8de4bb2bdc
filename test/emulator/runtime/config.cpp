#include "config.hpp"

#include <sstream>
#include <stdexcept>

namespace emu {
Config config;

static Order order_of(const std::string& name) {
  if (name == "forward") return Order::Forward;
  if (name == "reverse") return Order::Reverse;
  if (name == "random") return Order::Random;
  throw std::invalid_argument("order=" + name + ": forward, reverse or random");
}
static void set(const std::string& key, const std::string& value) {
  if (key == "order") config.order = order_of(value);
  else if (key == "seed") config.seed = std::stoull(value);
  else if (key == "lazy") config.lazy = true;
  else if (key == "ahead") config.lazy = config.ahead = true;
  else if (key == "eager") config.lazy = config.ahead = false;
  else if (key == "check") config.check = true;
  else if (key == "count") config.count = true, config.counts = value;
  else if (key == "threads") config.threads = std::stoi(value);
  else if (key == "resident") config.resident = std::stoi(value);
  else if (key == "patience") config.patience = std::stoul(value);
  else if (key == "devices") config.devices = std::stoi(value);
  else if (key == "wait") config.wait = std::stod(value);
  else if (key == "arch") config.architecture = std::stoi(value);
  else if (key == "multiprocessors") config.multiprocessors = std::stoi(value);
  else if (key == "memory") config.memory = std::stoull(value);
  else if (key == "taken") config.taken = std::stoull(value);
  else throw std::invalid_argument("MOEC_EMULATOR: unknown word " + key);
}
void configure(const char* words) {
  std::istringstream in(words);
  for (std::string word; in >> word;) {
    const size_t equals = word.find('=');
    set(word.substr(0, equals), equals == std::string::npos ? "" : word.substr(equals + 1));
  }
}
}  // namespace emu
