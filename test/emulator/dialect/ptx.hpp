// PTX("text", OUTS(...), INS(...)): an `asm` statement on the GPU; here the same text is interpreted (ptx/).
#pragma once
#include "interface.hpp"

#define PTX(text, outs, ins)                                                                \
  do {                                                                                      \
    static ::emu::Statement statement_ = {text, nullptr};                                   \
    ::emu::Argument arguments_[] = {outs ins{nullptr, 0, 0}};                               \
    ::emu::ptx(statement_, arguments_, int(sizeof arguments_ / sizeof *arguments_) - 1, __LINE__); \
  } while (0)
#define PTX_PURE PTX
#define OUTS(...) __VA_OPT__(__VA_ARGS__, )
#define INS(...) __VA_OPT__(__VA_ARGS__, )

namespace emu {
/// As in `asm`, only the size of the operand matters.
template <unsigned N, class T> inline Argument written(T& x) {
  static_assert(sizeof x == N, "the operand's size is not that of its constraint");
  return {&x, 0, N};
}
template <class T> inline Argument given(T x) {
  u64 bits = 0;
  memcpy(&bits, &x, sizeof x);
  return {nullptr, bits, sizeof x};
}
}  // namespace emu
#define W_U16(x) ::emu::written<2>(x)
#define W_U32(x) ::emu::written<4>(x)
#define W_I32 W_U32
#define W_F32 W_U32
#define W_U64(x) ::emu::written<8>(x)
#define RW_U32 W_U32
#define RW_F32 W_U32
#define RW_U64 W_U64
#define R_U16(x) ::emu::given<unsigned short>(x)
#define R_U32(x) ::emu::given<unsigned>(x)
#define R_I32(x) ::emu::given<int>(x)
#define R_U64(x) ::emu::given<unsigned long long>(x)
#define R_F32(x) ::emu::given<float>(x)
#define R_PTR(x) ::emu::given<const volatile void*>(x)
#define R_IMM(x) ::emu::given<long long>(x)
