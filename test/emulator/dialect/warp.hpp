// Shuffles, votes and reductions of a warp.
#pragma once
#include "interface.hpp"
#define EMU_LINE int line = __builtin_LINE()

namespace emu {
template <class T> struct Shuffle {
  T value, result;
  int from;  // the source lane; negative: keeps its own value
};
template <class T> EMU_UNCHECKED inline void shuffle_together(void** args, unsigned mask, void*) {
  for (int lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    auto& s = *(Shuffle<T>*)args[lane];
    if (s.from < 0) continue;
    if (!(mask >> s.from & 1)) fail("shuffle: lane %d reads lane %d, which is not in the mask 0x%x", lane, s.from, mask);
    s.result = ((Shuffle<T>*)args[s.from])->value;
  }
}
template <class T> inline T shuffle(unsigned mask, T value, int from, int line) {
  Shuffle<T> mine = {value, value, from};
  collective(mask, (void*)shuffle_together<T>, &mine, shuffle_together<T>, nullptr, line);
  return mine.result;
}

struct Vote {
  u64 value;
  unsigned result;
};
typedef unsigned (*Fold)(unsigned, unsigned);
EMU_UNCHECKED inline void ballot(void** args, unsigned mask, void*) {
  unsigned result = 0;
  for (int lane = 0; lane < 32; lane++) if (mask >> lane & 1) result |= unsigned(((Vote*)args[lane])->value != 0) << lane;
  for (int lane = 0; lane < 32; lane++) if (mask >> lane & 1) ((Vote*)args[lane])->result = result;
}
EMU_UNCHECKED inline void match(void** args, unsigned mask, void*) {
  for (int lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    auto& v = *(Vote*)args[lane];
    v.result = 0;
    for (int other = 0; other < 32; other++)
      if (mask >> other & 1) v.result |= unsigned(((Vote*)args[other])->value == v.value) << other;
  }
}
EMU_UNCHECKED inline void reduce(void** args, unsigned mask, void* fold) {
  bool first = true;
  unsigned result = 0;
  for (int lane = 0; lane < 32; lane++) {
    if (!(mask >> lane & 1)) continue;
    unsigned x = unsigned(((Vote*)args[lane])->value);
    result = first ? x : ((Fold)fold)(result, x);
    first = false;
  }
  for (int lane = 0; lane < 32; lane++) if (mask >> lane & 1) ((Vote*)args[lane])->result = result;
}
inline unsigned vote(unsigned mask, u64 value, Together run, int line) {
  Vote mine = {value, 0};
  collective(mask, (void*)run, &mine, run, nullptr, line);
  return mine.result;
}
inline unsigned folded(unsigned mask, unsigned value, Fold fold, int line) {
  Vote mine = {value, 0};
  collective(mask, (void*)fold, &mine, reduce, (void*)fold, line);
  return mine.result;
}
}  // namespace emu

inline void __syncwarp(unsigned mask = ~0u, EMU_LINE) {
  static char key;
  emu::collective(mask, &key, nullptr, [](void**, unsigned, void*) {}, nullptr, line, true);
}
/// Segments of `width` lanes; reading outside of the segment returns the lane's own value.
template <class T> inline T __shfl_sync(unsigned mask, T v, int from, int width = 32, EMU_LINE) {
  const int lane = int(emu::self->lane);
  return emu::shuffle(mask, v, (lane & ~(width - 1)) | (from & (width - 1)), line);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, EMU_LINE) {
  const int lane = int(emu::self->lane), from = lane - int(by);
  return emu::shuffle(mask, v, from < (lane & ~(width - 1)) ? -1 : from, line);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, EMU_LINE) {
  const int lane = int(emu::self->lane), from = lane + int(by);
  return emu::shuffle(mask, v, from > (lane | (width - 1)) ? -1 : from, line);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32, EMU_LINE) {
  const int lane = int(emu::self->lane), from = lane ^ by;
  return emu::shuffle(mask, v, from > (lane | (width - 1)) ? -1 : from, line);
}
inline unsigned __ballot_sync(unsigned mask, int p, EMU_LINE) { return emu::vote(mask, p != 0, emu::ballot, line); }
inline int __any_sync(unsigned mask, int p, EMU_LINE) { return emu::vote(mask, p != 0, emu::ballot, line) != 0; }
inline int __all_sync(unsigned mask, int p, EMU_LINE) { return emu::vote(mask, p == 0, emu::ballot, line) == 0; }
template <class T> inline unsigned __match_any_sync(unsigned mask, T v, EMU_LINE) {
  emu::u64 bits = 0;
  memcpy(&bits, &v, sizeof v);
  return emu::vote(mask, bits, emu::match, line);
}
/// Lanes that the mask names and that exist; 0 unless all hold the same value.
template <class T> inline unsigned __match_all_sync(unsigned mask, T v, int* all, EMU_LINE) {
  const unsigned same = __match_any_sync(mask, v, line), present = __ballot_sync(mask, 1, line);
  *all = same == present && __all_sync(mask, same == present, line);
  return *all ? present : 0;
}
#define EMU_REDUCE(name, T, expression) \
  inline T __reduce_##name##_sync(unsigned mask, T v, EMU_LINE) { \
    return T(emu::folded(mask, unsigned(v), [](unsigned p, unsigned q) { T a = T(p), b = T(q); return unsigned(expression); }, line)); \
  }
EMU_REDUCE(add, unsigned, a + b)
EMU_REDUCE(min, unsigned, a < b ? a : b)
EMU_REDUCE(max, unsigned, a > b ? a : b)
EMU_REDUCE(min, int, a < b ? a : b)
EMU_REDUCE(max, int, a > b ? a : b)
EMU_REDUCE(and, unsigned, a& b)
EMU_REDUCE(or, unsigned, a | b)
EMU_REDUCE(xor, unsigned, a ^ b)
inline int __reduce_add_sync(unsigned mask, int v, EMU_LINE) { return int(__reduce_add_sync(mask, unsigned(v), line)); }
#undef EMU_REDUCE
