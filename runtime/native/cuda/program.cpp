#include "program.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moec::cuda {

Program::Program(const Spec& spec)
    : Engine(spec.buffers, spec.bytes),
      driver_(Driver::load(spec.driver)),
      context_(driver_, spec.device),
      device_(spec.device),
      graphs_(spec.graphs),
      nccl_(spec.nccl),
      agreement_(nccl_.empty() ? nullptr : &Mpi::current()),
      arena_(allocate(spec.bytes)),
      stream_(context_),
      staging_(context_, stream_) {
  kernels_.reserve(spec.kernels.size());
  for (const KernelSpec& kernel : spec.kernels) {
    KernelChoice& choice = kernels_.emplace_back(KernelChoice{load(kernel), {}, Verdict::unused, kernels_.size(), 0});
    for (const KernelSpec& variant : kernel.variant) tryPrepare(choice, [&] { choice.variant = load(variant), choice.verdict = Verdict::undecided; });
  }
  for (const auto& steps : spec.entries) {
    Entry& entry = entries_.emplace_back();
    entry.steps.reserve(steps.size());
    for (const CudaStepSpec& s : steps) addStep(entry, s);
  }
}
/// Waits for work in progress before memory is freed; errors of it were reported already.
Program::~Program() {
  context_.makeCurrent();
  if (second_) second_->drain();
  stream_.drain();
}

/// Does not ask the driver for more than is free, because some systems would give host memory instead, which is slow.
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
  check(driver_.cuFuncSetAttribute(function, most_dynamic_shared, int(spec.shared)));
  int resident = 0;
  check(driver_.cuOccupancyMaxActiveBlocksPerMultiprocessor(&resident, function, int(spec.threads), spec.shared));
  if (resident == 0) check(out_of_resources);
  const int blocks = spec.each ? std::numeric_limits<int>::max() : resident * driver_.attribute(multiprocessors, context_.device);
  return {spec.name, std::move(owned), function, spec.threads, spec.shared, blocks};
}
void Program::addStep(Entry& entry, const CudaStepSpec& spec) {
  Step& made = entry.steps.emplace_back(step(spec));
  if (spec.kernel == StepSpec::wait_step) {
    made.awaited = &entry.steps.at(spec.awaited);
    if (!made.awaited->beside) throw std::runtime_error("a step waits for one that is not beside it");
    made.awaited->done = stream_.event(true);
  }
  if (made.beside && !second_) {
    second_.emplace(context_);
    begun_ = stream_.event(true);
  }
  const size_t number = entry.steps.size();
  const bool waits = made.collective && made.collective->waits();
  if (waits || entry.segments.empty() || entry.segments.back().waits) entry.segments.push_back({number - 1, number, waits, {}});
  entry.segments.back().end = number;
}
std::unique_ptr<Collective> Program::collective(const StepSpec& spec) const {
  std::vector<Collective::Arg> args;
  for (const size_t arg : spec.args) args.push_back({arena_.get() + buffers_.at(arg).offset, size_t(layout(arg).elements() * layout(arg).width)});
  return std::make_unique<Collective>(spec.collective.value(), std::move(args), driver_);
}
Program::Step Program::step(const CudaStepSpec& spec) {
  Step step{nullptr, {}, spec.tasks, {}, {}, {}, 0, nullptr, spec.beside};
  for (const size_t arg : spec.args) step.args.push_back(arena_.get() + buffers_.at(arg).offset);
  if (spec.first != 0) throw std::runtime_error("a GPU runs all tasks of a kernel, not those from " + std::to_string(spec.first) + " on");
  if (spec.kernel == StepSpec::wait_step) return step;
  if (spec.kernel == StepSpec::collective_step) {
    step.collective = collective(spec);
  } else if (spec.kernel == StepSpec::copy_step) {
    const Layout &from = layout(spec.args.at(0)), &to = layout(spec.args.at(1));
    step.copied = blocks(to, from);
    step.width = size_t(to.width);
  } else {
    step.choice = &kernels_.at(size_t(spec.kernel));
    if (step.onTrial()) tryPrepare(*step.choice, [&] {
      for (const MapSpec& m : spec.maps) step.maps.push_back(map(m, step.args.at(m.arg)));
    });
    for (const Written& w : spec.writes) {
      const auto& [offset, bytes, l] = buffers_.at(spec.args.at(w.arg));
      step.results.push_back({step.args.at(w.arg), std::min(bytes, size_t(l.footprint() * l.width)), w.width});
    }
  }
  return step;
}
/// Runs a preparation of a kernel's variant. If the driver fails, the variant is not used, and a finding says why.
void Program::tryPrepare(KernelChoice& choice, const std::function<void()>& work) {
  try {
    work();
  } catch (const Failure& failure) {
    choice.verdict = Verdict::unused;
    findings_.push_back({choice.number, false, failure.what()});
  }
}
TensorMap Program::map(const MapSpec& m, Address base) const {
  static const uint32_t steps[5] = {1, 1, 1, 1, 1};
  TensorMap map;
  driver_.check(driver_.cuTensorMapEncodeTiled(&map, bf16, unsigned(m.dims.size()), base, m.dims.data(), m.strides.data(), m.box.data(), steps, 0,
                                               swizzle_128, promotion_256, 0),
                "cuTensorMapEncodeTiled");
  return map;
}

void Program::upload(const BufferSpec& to, const char* row_major) {
  const auto& [offset, bytes, layout] = to;
  context_.enter();
  if (bytes > size_t(layout.elements() * layout.width)) stream_.fill(arena_.get() + offset, bytes, 0);
  staging_.upload(arena_.get() + offset, layout, row_major);
}
void Program::download(char* row_major, const BufferSpec& from) {
  context_.enter();
  staging_.download(row_major, arena_.get() + from.offset, from.layout);
}
void Program::fill(size_t offset, size_t bytes, int byte) {
  requireWithin(offset, bytes);
  context_.enter();
  stream_.fill(arena_.get() + offset, bytes, byte);
}

/// Connects to the other workers, at the first run of any entry, which all workers make: a variant that one of them cannot use is used by none.
void Program::connect() {
  if (nccl_.empty() || communicator_) return;
  communicator_ = Communicator::shared(nccl_, driver_, device_);
  std::vector<char> usable;
  for (const KernelChoice& c : kernels_) usable.push_back(c.verdict == Verdict::undecided);
  const std::vector<int> first_unusable = agreement_.firstUnusable(usable);
  for (KernelChoice& c : kernels_) {
    const int first = first_unusable[c.number];
    if (c.verdict != Verdict::undecided || first == communicator_->size()) continue;
    c.verdict = Verdict::unused;
    findings_.push_back({c.number, false, "it does not serve worker " + std::to_string(first)});
  }
}
void Program::wait(const std::string& what) {
  if (communicator_) communicator_->wait(stream_, what);
  else stream_.wait(what);
}
/// Not while a variant is on trial: a graph would keep the kernel that it was captured with. And not at the first run of collectives: NCCL connects
/// two workers when they first move data, and not every network allows that in a capture.
bool Program::Entry::canBeCaptured() const {
  return std::none_of(steps.begin(), steps.end(), [this](const Step& s) { return s.onTrial() || (s.collective && !ran); });
}
bool Program::run(size_t index, std::vector<StepTime>& times) {
  Entry& entry = entries_.at(index);
  context_.enter();
  connect();
  if (entry.steps.empty()) return true;
  const bool ended = !times.empty() ? runTimed(entry, times) : graphs_ && entry.canBeCaptured() ? runGraphs(entry) : runSteps(entry);
  entry.ran |= ended;
  return ended;
}
bool Program::runGraphs(Entry& entry) {
  if (cancel_) return false;
  for (Segment& segment : entry.segments) {
    const auto steps = [&] {
      for (size_t i = segment.begin; i < segment.end; i++) enqueue(entry.steps[i]);
    };
    if (segment.waits) {
      steps();
      continue;
    }
    if (!segment.graph) segment.graph = stream_.capture(steps);
    stream_.replay(segment.graph.get());
  }
  wait("in the graph of its launches");
  return true;
}
bool Program::runSteps(Entry& entry) {
  for (Step& step : entry.steps) {
    if (cancel_) return false;
    enqueue(step);
    if (step.beside) join();
    wait(step.name());
  }
  return true;
}
bool Program::runTimed(Entry& entry, std::vector<StepTime>& times) {
  while (events_.size() <= times.size()) events_.push_back(stream_.event());
  stream_.record(events_[0].get());
  for (size_t i = 0; i < times.size(); i++) {
    if (cancel_) return join(), false;
    enqueue(entry.steps[i]);
    stream_.record(events_[i + 1].get());
  }
  wait("between events");
  for (size_t i = 0; i < times.size(); i++) {
    float milliseconds = 0;
    driver_.check(driver_.cuEventElapsedTime(&milliseconds, events_[i].get(), events_[i + 1].get()), "cuEventElapsedTime");
    times[i].wall = std::llround(double(milliseconds) * 1e6);
    times[i].busy = times[i].wall.load();
  }
  return true;
}
/// The second stream does what is beside after what the first was given before.
void Program::enqueue(Step& step) {
  if (step.awaited) return stream_.await(step.awaited->done.get());
  if (!step.beside) return work(step, stream_);
  stream_.record(begun_.get());
  second_->await(begun_.get());
  work(step, *second_);
  if (step.done) second_->record(step.done.get());
}
/// The first stream waits for all that the second was given.
void Program::join() {
  if (!second_) return;
  const Owned<Handle> done = stream_.event(true);
  second_->record(done.get());
  stream_.await(done.get());
}
void Program::work(Step& step, Stream& stream) {
  if (step.collective) return step.collective->run(*communicator_, stream);
  for (const Block& block : step.copied) stream.copy(step.args[1], step.args[0], block, step.width);
  if (step.tasks == 0 || !step.choice) return;
  if (step.onTrial()) return tryVariant(step);
  const KernelChoice& c = *step.choice;
  if (c.verdict == Verdict::agrees) launch(step, *c.variant, true, stream);
  else launch(step, c.kernel, false, stream);
}
void Program::launch(const Step& step, const Kernel& k, bool maps, Stream& stream) {
  std::vector<void*> args;
  for (const Address& arg : step.args) args.push_back(const_cast<Address*>(&arg));
  if (maps)
    for (const TensorMap& map : step.maps) args.push_back(const_cast<TensorMap*>(&map));
  stream.launch(k.function, unsigned(std::min<long>(k.blocks, step.tasks)), k.threads, k.shared, args.data(), k.name);
}
/// Tries a variant at its kernel's first launches. After three undecided trials the variant is given up, so that graphs can be captured.
void Program::tryVariant(Step& step) {
  KernelChoice& c = *step.choice;
  const auto undecided = [&](const std::string& why) {
    if (++c.undecided_trials < 3) return;
    c.verdict = Verdict::unused;
    findings_.push_back({c.number, false, why});
  };
  Owned<Address> workspace;
  try {
    workspace = allocate(Trial::bytes(step.results));
  } catch (const Failure&) {  // not enough memory to compare results
  }
  if (!agreement_.onAll(bool(workspace))) {
    launch(step, c.kernel, false, stream_);
    return undecided("there is no memory to compare them");
  }
  const auto variant = [&] {
    tryPrepare(c, [&] { launch(step, *c.variant, true, stream_); });
    return step.onTrial();
  };
  const auto kernel = [&] { launch(step, c.kernel, false, stream_); };
  const auto agreed = [&](const Trial::Outcome& own) { return agreement_.common(own); };
  const auto [verdict, text] = Trial(stream_, step.results, workspace.get()).run(kernel, variant, agreed, c.variant->name);
  if (!step.onTrial()) return;
  c.verdict = verdict;
  if (verdict == Verdict::endless) {
    stuck_ = true;
    static_cast<void>(new Owned<Address>(std::move(workspace)));
    throw Failure("ENDLESS_KERNEL", "kernel " + c.variant->name + " does not end");
  }
  if (verdict == Verdict::undecided) undecided("both give nothing but zeros");
  else findings_.push_back({c.number, verdict == Verdict::agrees, text});
}

}  // namespace moec::cuda
