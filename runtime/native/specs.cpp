#include "specs.hpp"

namespace moec {

static double number(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsNumber()) throw Napi::TypeError::New(from.Env(), std::string(key) + " is not a number");
  return value.As<Napi::Number>().DoubleValue();
}
template <class F>
static auto list(const Napi::Object& from, const char* key, F parse) {
  std::vector<decltype(parse(Napi::Value()))> all;
  const auto array = from.Get(key).As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) all.push_back(parse(array.Get(i)));
  return all;
}
static BufferSpec buffer(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  const auto get = [&](const char* key) { return long(number(o, key)); };
  const Layout layout{get("width"), get("outer"), get("rows"), get("cols"), get("pitch"), o.Get("panels").ToBoolean()};
  return {size_t(get("offset")), size_t(get("bytes")), layout};
}
static std::optional<CollectiveSpec> collective(const Napi::Value& value) {
  if (!value.IsObject()) return {};
  const auto o = value.As<Napi::Object>();
  const auto text = [&](const char* key) { return o.Has(key) ? o.Get(key).ToString().Utf8Value() : std::string(); };
  const auto count = [&](const char* key) { return o.Has(key) ? long(number(o, key)) : 0; };
  const auto orOne = [&](const char* key) { return o.Has(key) ? int(number(o, key)) : 1; };
  return CollectiveSpec{text("name"),  text("dtype"),   text("fn"),       o.Get("back").ToBoolean(),
                      count("rows"), count("length"), orOne("workers"), orOne("groups"), orOne("apart")};
}
static StepSpec step(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  const auto args = list(o, "args", [](const Napi::Value& v) { return size_t(v.As<Napi::Number>().Int64Value()); });
  return {long(number(o, "kernel")), args, long(number(o, "tasks")), o.Get("small").ToBoolean(), collective(o.Get("together"))};
}
static std::vector<StepSpec> entry(const Napi::Value& value) { return list(value.As<Napi::Object>(), "steps", step); }

Spec hostSpec(const Napi::Object& o) {
  const auto text = [](const Napi::Value& v) { return v.As<Napi::String>().Utf8Value(); };
  const auto kernel = [](const Napi::Value& v) -> KernelSpec {
    const auto k = v.As<Napi::Object>();
    return {k.Get("name").As<Napi::String>(), size_t(number(k, "library"))};
  };
  return {size_t(number(o, "bytes")), size_t(number(o, "scratch")), int(number(o, "threads")),
          list(o, "buffers", buffer), list(o, "libraries", text),   list(o, "kernels", kernel),
          list(o, "entries", entry)};
}

Repeat repeatSpec(const Napi::Object& o) {
  const auto get = [&](const char* key) { return size_t(number(o, key)); };
  const auto milliseconds = [&](const char* key) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double, std::milli>(number(o, key)));
  };
  return {get("entry"), long(get("times")), milliseconds("within"), milliseconds("beside"), get("from"), get("to"), get("next"), get("key")};
}

/// An array property; empty if it is absent.
template <class F>
static auto listIfAny(const Napi::Object& from, const char* key, F parse) {
  return from.Has(key) ? list(from, key, parse) : decltype(list(from, key, parse))();
}
static cuda::KernelSpec cudaKernel(const Napi::Value& value) {
  const auto o = value.As<Napi::Object>();
  const auto image = o.Get("image").As<Napi::Buffer<char>>();
  return {o.Get("name").As<Napi::String>(), std::string(image.Data(), image.Length()), unsigned(number(o, "threads")),
          unsigned(number(o, "shared")), o.Get("each").ToBoolean(), listIfAny(o, "variant", cudaKernel)};
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
  return {step(value), listIfAny(o, "maps", tensorMap), listIfAny(o, "writes", written)};
}
static std::vector<cuda::CudaStepSpec> cudaEntry(const Napi::Value& value) { return list(value.As<Napi::Object>(), "steps", cudaStep); }
cuda::Spec cudaSpec(const Napi::Object& o) {
  return {o.Get("driver").As<Napi::String>(),
          int(number(o, "device")),
          size_t(number(o, "bytes")),
          o.Get("graphs").ToBoolean(),
          o.Has("nccl") ? o.Get("nccl").ToString().Utf8Value() : std::string(),
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
