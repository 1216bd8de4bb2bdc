#include "specs.hpp"

namespace moec {

static double number(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsNumber()) throw Napi::TypeError::New(from.Env(), std::string(key) + " is not a number");
  return value.As<Napi::Number>().DoubleValue();
}
static bool flag(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsBoolean()) throw Napi::TypeError::New(from.Env(), std::string(key) + " is not a boolean");
  return value.As<Napi::Boolean>();
}
static std::string text(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsString()) throw Napi::TypeError::New(from.Env(), std::string(key) + " is not a string");
  return value.As<Napi::String>();
}
static Napi::Object object(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsObject()) throw Napi::TypeError::New(from.Env(), std::string(key) + " is not an object");
  return value.As<Napi::Object>();
}
template <class F>
static auto list(const Napi::Object& from, const char* key, F parse) {
  std::vector<decltype(parse(Napi::Value()))> all;
  const Napi::Value value = from.Get(key);
  if (!value.IsArray()) throw Napi::TypeError::New(from.Env(), std::string(key) + " is not an array");
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) all.push_back(parse(array.Get(i)));
  return all;
}
static BufferSpec buffer(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  const auto get = [&](const char* key) { return long(number(o, key)); };
  const Layout layout{get("width"), get("outer"), get("rows"), get("cols"), get("pitch"), flag(o, "panels")};
  return {size_t(get("offset")), size_t(get("bytes")), layout};
}
static CollectiveSpec collective(const Napi::Object& o) {
  const auto rows = [&](const char* key) { return long(number(o, key)); };
  const auto count = [&](const char* key) { return int(number(o, key)); };
  return {text(o, "name"), text(o, "dtype"), text(o, "fn"),    flag(o, "back"),  rows("rows"),    rows("length"),
          rows("piece"),   rows("pieces"),   count("workers"), count("groups"), count("stride")};
}
static StepSpec step(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  const auto args = list(o, "args", [](const Napi::Value& v) { return size_t(v.As<Napi::Number>().Int64Value()); });
  StepSpec spec{long(number(o, "kernel")), args, long(number(o, "tasks")), long(number(o, "first")), flag(o, "small"), long(number(o, "grain")), flag(o, "beside")};
  if (spec.kernel == StepSpec::collective_step) spec.collective = collective(object(o, "collective"));
  if (spec.kernel == StepSpec::wait_step) spec.awaited = size_t(number(o, "awaited"));
  return spec;
}
static std::vector<StepSpec> entry(const Napi::Value& value) { return list(value.As<Napi::Object>(), "steps", step); }

Spec hostSpec(const Napi::Object& o) {
  const auto path = [](const Napi::Value& v) { return v.As<Napi::String>().Utf8Value(); };
  const auto kernel = [](const Napi::Value& v) -> KernelSpec {
    const auto k = v.As<Napi::Object>();
    return {text(k, "name"), size_t(number(k, "library"))};
  };
  return {size_t(number(o, "bytes")), size_t(number(o, "scratch")), int(number(o, "threads")),
          list(o, "buffers", buffer), list(o, "libraries", path),   list(o, "kernels", kernel),
          list(o, "entries", entry)};
}

Repeat repeatSpec(const Napi::Object& o) {
  const auto get = [&](const char* key) { return size_t(number(o, key)); };
  const auto milliseconds = [&](const char* key) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double, std::milli>(number(o, key)));
  };
  return {get("entry"), long(get("times")), milliseconds("within"), milliseconds("beside"), get("from"), get("parts"), get("part"), get("to"), get("next"), get("key")};
}

static cuda::KernelSpec cudaCode(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  if (!o.Get("image").IsBuffer()) throw Napi::TypeError::New(o.Env(), "image is not a buffer");
  const auto image = o.Get("image").As<Napi::Buffer<char>>();
  return {text(o, "name"), std::string(image.Data(), image.Length()), unsigned(number(o, "threads")), unsigned(number(o, "shared")),
          flag(o, "each"), {}};
}
static cuda::KernelSpec cudaKernel(const Napi::Value& value) {
  cuda::KernelSpec kernel = cudaCode(value);
  kernel.variant = list(value.As<Napi::Object>(), "variant", cudaCode);
  return kernel;
}
template <class T>
static T numberAs(const Napi::Value& v) {
  return T(v.As<Napi::Number>().Int64Value());
}
static cuda::MapSpec tensorMap(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  return {size_t(number(o, "arg")), list(o, "dims", numberAs<uint64_t>), list(o, "strides", numberAs<uint64_t>), list(o, "box", numberAs<uint32_t>)};
}
static cuda::Written written(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  return {size_t(number(o, "arg")), size_t(number(o, "width"))};
}
static cuda::CudaStepSpec cudaStep(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  return {step(value), list(o, "maps", tensorMap), list(o, "writes", written)};
}
static std::vector<cuda::CudaStepSpec> cudaEntry(const Napi::Value& value) { return list(value.As<Napi::Object>(), "steps", cudaStep); }
cuda::Spec cudaSpec(const Napi::Object& o) {
  return {text(o, "driver"),
          int(number(o, "device")),
          size_t(number(o, "bytes")),
          flag(o, "graphs"),
          text(o, "nccl"),
          list(o, "buffers", buffer),
          list(o, "kernels", cudaKernel),
          list(o, "entries", cudaEntry)};
}

Napi::Object driverInfo(Napi::Env env, const cuda::Driver& driver) {
  auto result = Napi::Object::New(env);
  auto devices = Napi::Array::New(env);
  for (const cuda::Device& d : driver.devices()) {
    auto device = Napi::Object::New(env);
    device.Set("name", d.name);
    device.Set("uuid", d.uuid);
    device.Set("major", d.major);
    device.Set("minor", d.minor);
    device.Set("multiprocessors", d.multiprocessors);
    device.Set("bytes", double(d.bytes));
    devices.Set(devices.Length(), device);
  }
  result.Set("path", driver.path);
  result.Set("version", driver.version);
  result.Set("devices", devices);
  return result;
}

}  // namespace moec
