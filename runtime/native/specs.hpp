// Converts the JavaScript descriptions of plans (runtime/native.ts) to those of the engines. A missing property is a JavaScript error.
#pragma once
#include <napi.h>

#include "cuda/program.hpp"
#include "program.hpp"

namespace moec {

Spec hostSpec(const Napi::Object& o);
cuda::Spec cudaSpec(const Napi::Object& o);
Repeat repeatSpec(const Napi::Object& o);
Napi::Object driverInfo(Napi::Env env, const cuda::Driver& driver);

}  // namespace moec
