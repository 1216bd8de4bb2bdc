#include "cuda_program.hpp"

#include <algorithm>
#include <cmath>

namespace moec::cuda {

Program::Program(const Spec& spec)
    : Engine(spec.buffers, spec.bytes),
      driver_(Driver::load(spec.driver)),
      context_(driver_, spec.device),
      graphs_(spec.graphs),
      arena_(allocate(spec.bytes)),
      stream_(context_),
      staging_(context_, stream_) {
  for (const KernelSpec& kernel : spec.kernels) kernels_.push_back(load(kernel));
  for (const auto& steps : spec.entries) {
    Entry& entry = entries_.emplace_back();
    for (const StepSpec& s : steps) entry.steps.push_back(step(s));
  }
}
Program::~Program() { context_.makeCurrent(); }

/// More than is free is not asked for: some systems would give the host's memory in its place, which is slow.
Owned<Address> Program::allocate(size_t bytes) const {
  context_.enter();
  size_t free = 0, total = 0;
  driver_.check(driver_.cuMemGetInfo_v2(&free, &total), "cuMemGetInfo");
  Address memory = 0;
  const Result result = bytes > free ? out_of_memory : driver_.cuMemAlloc_v2(&memory, std::max<size_t>(bytes, 1));
  driver_.check(result, std::to_string(bytes) + " bytes of " + std::to_string(free) + " that are free");
  return {memory, driver_.cuMemFree_v2};
}
Program::Kernel Program::load(const KernelSpec& spec) const {
  const auto check = [&](Result result) { driver_.check(result, "kernel " + spec.name); };
  Handle module, function;
  check(driver_.cuModuleLoadData(&module, spec.image.data()));
  Owned<Handle> owned(module, driver_.cuModuleUnload);
  check(driver_.cuModuleGetFunction(&function, module, spec.name.c_str()));
  check(driver_.cuFuncSetAttribute(function, 8, int(spec.shared)));  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
  int resident = 0;
  check(driver_.cuOccupancyMaxActiveBlocksPerMultiprocessor(&resident, function, int(spec.threads), spec.shared));
  if (resident == 0) check(out_of_resources);
  const int blocks = resident * driver_.attribute(multiprocessors, context_.device);
  return {spec.name, std::move(owned), function, spec.threads, spec.shared, blocks};
}
Program::Step Program::step(const StepSpec& spec) const {
  Step step{nullptr, {}, 0, {}, 0};
  for (const size_t arg : spec.args) step.args.push_back(arena_.get() + buffers_.at(arg).offset);
  if (spec.kernel == StepSpec::copy) {
    const Layout &from = layout(spec.args.at(0)), &to = layout(spec.args.at(1));
    step.copied = blocks(to, from);
    step.width = size_t(to.width);
  } else {
    step.kernel = &kernels_.at(size_t(spec.kernel));
    step.blocks = unsigned(std::min<long>(step.kernel->blocks, spec.tasks));
  }
  return step;
}

void Program::write(size_t buffer, const char* plain) {
  const auto& [offset, bytes, layout] = buffers_.at(buffer);
  context_.enter();
  if (bytes > size_t(layout.elements() * layout.width)) stream_.fill(arena_.get() + offset, bytes, 0);
  staging_.upload(arena_.get() + offset, layout, plain);
}
void Program::read(size_t buffer, char* plain) {
  const auto& [offset, bytes, layout] = buffers_.at(buffer);
  context_.enter();
  staging_.download(plain, arena_.get() + offset, layout);
}
void Program::fill(size_t offset, size_t bytes, int byte) {
  requireWithin(offset, bytes);
  context_.enter();
  stream_.fill(arena_.get() + offset, bytes, byte);
}

bool Program::run(size_t index, std::vector<StepTime>& times) {
  Entry& entry = entries_.at(index);
  context_.enter();
  if (entry.steps.empty()) return true;
  if (!times.empty()) return timed(entry, times);
  if (!graphs_) return oneByOne(entry);
  if (cancel_) return false;
  if (!entry.graph)
    entry.graph = stream_.capture([&] {
      for (Step& step : entry.steps) enqueue(step);
    });
  stream_.replay(entry.graph.get());
  stream_.wait("in the graph of its launches");
  return true;
}
bool Program::oneByOne(Entry& entry) {
  for (Step& step : entry.steps) {
    if (cancel_) return false;
    enqueue(step);
    stream_.wait(step.kernel ? "kernel " + step.kernel->name : "a copy");
  }
  return true;
}
bool Program::timed(Entry& entry, std::vector<StepTime>& times) {
  while (events_.size() <= times.size()) events_.push_back(stream_.event());
  stream_.record(events_[0].get());
  for (size_t i = 0; i < times.size(); i++) {
    if (cancel_) return false;
    enqueue(entry.steps[i]);
    stream_.record(events_[i + 1].get());
  }
  stream_.wait("between events");
  for (size_t i = 0; i < times.size(); i++) {
    float milliseconds = 0;
    driver_.check(driver_.cuEventElapsedTime(&milliseconds, events_[i].get(), events_[i + 1].get()), "cuEventElapsedTime");
    times[i].wall = std::llround(double(milliseconds) * 1e6);
    times[i].busy = times[i].wall;
  }
  return true;
}
void Program::enqueue(Step& step) {
  for (const Block& block : step.copied) stream_.copy(step.args[1], step.args[0], block, step.width);
  if (step.blocks == 0) return;
  std::vector<void*> args;
  for (Address& arg : step.args) args.push_back(&arg);
  const Kernel& k = *step.kernel;
  stream_.launch(k.function, step.blocks, k.threads, k.shared, args.data(), k.name);
}

}  // namespace moec::cuda
