// a: f32[64, 32]
// b: f32[32, 4]
// y: f32[64, 4]
// dot
extern "C" void dot_60965a15(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* a = (f32*)args[0];
  const f32* b = (f32*)args[1];
  f32* y = (f32*)args[2];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix mc = task * 36, mcn = ix_min(36, 64 - mc);
    const auto right = pack_columns<16>(scratch, 4, 32, {b, 4, 16, 32}, [&](ix i) { return b + i * 4; });
    NO_UNROLL for (ix m = mc, m_end = mc + mcn; m < m_end; m += 36) {
      const ix mn = ix_min(36, m_end - m);
      Acc<36, 16> acc;
      Rows<36, 1> left;
      left.bind(mn, true, [&](ix i) { return a + (m + i) * 32; });
      const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
        const ix _col = _tile.c;
        prefetch_tile(_tile, [&](ix i, ix j) {
          prefetch(y + (m + i) * 4 + (_col + j));
        });
      }, [&](TileCoord _tile) {
        const ix _col = _tile.c;
        each_in<LANES>(_tile, 4, [&](auto v, ix i, ix j, auto& acc_) {
          const auto t = acc_;
          st(v, y + (m + i) * 4 + (_col + j), t);
        }, acc);
      });
      mma(true, left, OneOf<36, 28>{mn}, 32, acc_epilogue, rhs(right, acc));
    }
  }
}

// x: f32[64, 4]
// y: f32[64]
// y1: f32[64, 4]
// y2: f32[64, 4]
// max reshape const broadcast sub exp sum div
extern "C" void exp_cf9a4373(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* x = (f32*)args[0];
  f32* y = (f32*)args[1];
  f32* y1 = (f32*)args[2];
  f32* y2 = (f32*)args[3];
  f32* columns = scratch;
  f32* columns1 = scratch + 256;
  f32* columns2 = scratch + 512;
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix r = task * 16;
    NO_UNROLL for (ix i = 0; i < 16; i++) {
      columns[i] = x[(r + i) * 4];
      columns[i + 64] = x[(r + i) * 4 + 1];
      columns[i + 128] = x[(r + i) * 4 + 2];
      columns[i + 192] = x[(r + i) * 4 + 3];
    }
    par<LANES>(16, [&](auto v, ix j) {
      const auto t1 = ld(v, columns + j);
      const auto t2 = ld(v, columns + j + 64);
      const auto t3 = ld(v, columns + j + 128);
      const auto t4 = ld(v, columns + j + 192);
      const auto t_max = max_(max_(max_(t1, t2), t3), t4);
      const auto t_max1 = max_(t_max, broadcast(v, -3.3895313892515355e+38f));
      NO_UNROLL for (ix j1 = 0; j1 < 4; j1++) {
        const auto t = ld(v, columns + j1 * 64 + j);
        const auto t_exp = exp_(t - t_max1);
        st(v, columns1 + j1 * 64 + j, t_exp);
      }
      const auto sum = fold_lane<Sum>(4, [&](ix k) {
        const auto t6 = ld(v, columns1 + k * 64 + j);
        return t6;
      });
      NO_UNROLL for (ix j2 = 0; j2 < 4; j2++) {
        const auto t5 = ld(v, columns1 + j2 * 64 + j);
        const auto t_div = div_by_scalar(t5, sum);
        st(v, columns2 + j2 * 64 + j, t_div);
      }
      st(v, y + r + j, sum);
    });
    NO_UNROLL for (ix i1 = 0; i1 < 16; i1++) {
      y1[(r + i1) * 4] = columns1[i1];
      y1[(r + i1) * 4 + 1] = columns1[i1 + 64];
      y1[(r + i1) * 4 + 2] = columns1[i1 + 128];
      y1[(r + i1) * 4 + 3] = columns1[i1 + 192];
    }
    NO_UNROLL for (ix i2 = 0; i2 < 16; i2++) {
      y2[(r + i2) * 4] = columns2[i2];
      y2[(r + i2) * 4 + 1] = columns2[i2 + 64];
      y2[(r + i2) * 4 + 2] = columns2[i2 + 128];
      y2[(r + i2) * 4 + 3] = columns2[i2 + 192];
    }
  }
}

// x: f32[64, 4]
// values: f32[64, 2]
// index: i32[64, 2]
// top_k
extern "C" void top_k_948a2bc4(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* x = (f32*)args[0];
  f32* values = (f32*)args[1];
  i32* index = (i32*)args[2];
  f32* own = scratch;
  i32* keys = (i32*)(scratch + 256);
  i32* ranks = (i32*)(scratch + 512);
  i32* order = (i32*)(scratch + 768);
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix r = task * 16;
    NO_UNROLL for (ix i = 0; i < 16; i++) {
      own[i] = x[(r + i) * 4];
      own[i + 64] = x[(r + i) * 4 + 1];
      own[i + 128] = x[(r + i) * 4 + 2];
      own[i + 192] = x[(r + i) * 4 + 3];
    }
    par<LANES>(16, [&](auto v, ix j) {
      NO_UNROLL for (ix j1 = 0; j1 < 4; j1++) {
        st(v, keys + j1 * 64 + j, falling_(ld(v, own + j1 * 64 + j)) ^ (-2147483647 - 1));
      }
      NO_UNROLL for (ix j2 = 0; j2 < 4; j2++) {
        const auto key = ld(v, keys + j2 * 64 + j);
        const auto before = fold_lane<Sum>(j2, [&](ix k) { return where(ld(v, keys + k * 64 + j) <= key, 1, 0); });
        const auto before1 = fold_lane<Sum>(3 - j2, [&](ix k) { return where(ld(v, keys + (j2 + k + 1) * 64 + j) < key, 1, 0); });
        st(v, ranks + j2 * 64 + j, before + before1);
      }
    });
    NO_UNROLL for (ix i1 = 0; i1 < 16; i1++) {
      order[ix(ranks[i1])] = 0;
      order[ix(ranks[i1 + 64])] = 1;
      order[ix(ranks[i1 + 128])] = 2;
      order[ix(ranks[i1 + 192])] = 3;
      const ix j3 = ix(order[0]);
      values[(r + i1) * 2] = x[(r + i1) * 4 + j3];
      index[(r + i1) * 2] = i32(j3);
      const ix j4 = ix(order[1]);
      values[(r + i1) * 2 + 1] = x[(r + i1) * 4 + j4];
      index[(r + i1) * 2 + 1] = i32(j4);
    }
  }
}

// x: f32[64, 2]
// y: f32[64, 2]
// sum broadcast div
extern "C" void div_7d0aec21(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* x = (f32*)args[0];
  f32* y = (f32*)args[1];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    par<1>(128, [&](auto v, ix j) {
      const auto t = ld(v, x + j);
      const auto t1 = ld(v, x + j / 2 * 2);
      const auto t2 = ld(v, x + j / 2 * 2 + 1);
      const auto t_div = div_by_scalar(t, t1 + t2);
      st(v, y + j, t_div);
    });
  }
}

// index: i32[64, 2]
// offsets: i32[5]
// order: i32[128]
// expert: i32[128]
// inverse: i32[128]
// reshape route
extern "C" void route_eef31e9c(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* index = (i32*)args[0];
  i32* offsets = (i32*)args[1];
  i32* order = (i32*)args[2];
  i32* expert = (i32*)args[3];
  i32* inverse = (i32*)args[4];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    i32* const table = (i32*)(scratch);
    par<1>(5, [&](auto, ix j) { table[j] = 0; });
    tally(128, table, [&](ix i) { return ix(and_(ix(index[i]) >= 0, ix(index[i]) < 4) ? ix(index[i]) : 4); });
    scan(5, [&](ix i) { return table[i]; }, [&](ix i, auto sum) {
      offsets[i] = sum;
      table[i] = sum;
    });
    tally(128, table, [&](ix i) { return ix(and_(ix(index[i]) >= 0, ix(index[i]) < 4) ? ix(index[i]) : 4); }, [&](ix i, ix rank1) {
      const ix choice = i;
      const ix group = and_(ix(index[choice]) >= 0, ix(index[choice]) < 4) ? ix(index[choice]) : 4;
      order[rank1] = group < 4 ? i32(choice) : -1;
      expert[rank1] = group < 4 ? i32(group) : -1;
      inverse[choice] = group < 4 ? i32(rank1) : -1;
    });
  }
}

// offsets: i32[5]
// x: i32[128]
// x1: f32[64, 32]
// w: f32[4, 32, 48]
// w1: f32[4, 32, 48]
// y: f32[128, 48]
// y1: f32[128, 48]
// y2: f32[128, 48]
// broadcast reshape dispatch ragged_dot sigmoid mul
extern "C" void ragged_dot_b92e31d3(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* offsets = (i32*)args[0];
  const i32* x = (i32*)args[1];
  const f32* x1 = (f32*)args[2];
  const f32* w = (f32*)args[3];
  const f32* w1 = (f32*)args[4];
  f32* y = (f32*)args[5];
  f32* y1 = (f32*)args[6];
  f32* y2 = (f32*)args[7];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix e = task / 2, n = task % 2 * 32, nn = ix_min(32, 48 - n);
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    if (ix(t) < ix(t1)) {
      const auto right = pack_columns<32>(scratch, nn, 32, {w + e * 1536 + n + 32, 48, 32, 32}, [&](ix i) { return w + e * 1536 + i * 48 + n; });
      const auto right1 = pack_columns<32>(scratch + 1024, nn, 32, {w1 + e * 1536 + n + 32, 48, 32, 32}, [&](ix i) { return w1 + e * 1536 + i * 48 + n; });
      NO_UNROLL for (ix m = ix(t), m_end = ix(t1); m < m_end; m += 192) {
        const ix mn = ix_min(192, m_end - m);
        Acc<192, 32> acc;
        Acc<192, 32> acc1;
        Rows<192, 1> left;
        left.bind(mn, n == 0, [&](ix i) { return x1 + ix(x[m + i]) / 2 * 32; });
        const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
          const ix _col = _tile.c;
          prefetch_tile(_tile, [&](ix i, ix j) {
            prefetch(y + (m + i) * 48 + (n + (_col + j)));
            prefetch(y1 + (m + i) * 48 + (n + (_col + j)));
            prefetch(y2 + (m + i) * 48 + (n + (_col + j)));
          });
        }, [&](TileCoord _tile) {
          const ix _col = _tile.c;
          each_in<LANES>(_tile, Whole{nn}, [&](auto v, ix i, ix j, auto& acc_, auto& acc1_) {
            const auto t2 = acc_;
            const auto t3 = acc1_;
            const auto t_sigmoid = sigmoid_(t2);
            const auto t_mul = t2 * t_sigmoid;
            const auto t_mul1 = t_mul * t3;
            st(v, y + (m + i) * 48 + (n + (_col + j)), t2);
            st(v, y1 + (m + i) * 48 + (n + (_col + j)), t3);
            st(v, y2 + (m + i) * 48 + (n + (_col + j)), t_mul1);
          }, acc, acc1);
        });
        mma(true, left, mn, 32, acc_epilogue, rhs(right, acc), rhs(right1, acc1));
      }
    }
  }
}

// offsets: i32[5]
// x: f32[128, 48]
// w: f32[4, 48, 32]
// y: f32[128, 32]
// ragged_dot
extern "C" void ragged_dot_a30a9729(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* offsets = (i32*)args[0];
  const f32* x = (f32*)args[1];
  const f32* w = (f32*)args[2];
  f32* y = (f32*)args[3];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix e = task;
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    if (ix(t) < ix(t1)) {
      const auto right = in_place_or_pack<32, 32>(scratch, w + e * 1536, 48, {w + (e + 1) * 1536, 32, 32, 48});
      NO_UNROLL for (ix m = ix(t), m_end = ix(t1); m < m_end; m += 192) {
        const ix mn = ix_min(192, m_end - m);
        Acc<192, 32> acc;
        Rows<192, 1> left;
        left.bind(mn, true, [&](ix i) { return x + (m + i) * 48; });
        const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
          const ix _col = _tile.c;
          prefetch_tile(_tile, [&](ix i, ix j) {
            prefetch(y + (m + i) * 32 + (_col + j));
          });
        }, [&](TileCoord _tile) {
          const ix _col = _tile.c;
          each_in<LANES>(_tile, Whole{32}, [&](auto v, ix i, ix j, auto& acc_) {
            st(v, y + (m + i) * 32 + (_col + j), acc_);
          }, acc);
        });
        mma(true, left, mn, 48, acc_epilogue, rhs(right, acc));
      }
    }
  }
}

// x: f32[64, 2]
// x1: i32[128]
// x2: f32[128, 32]
// y: f32[64, 32]
// broadcast combine reshape mul sum
extern "C" void sum_ae45f8da(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* x = (f32*)args[0];
  const i32* x1 = (i32*)args[1];
  const f32* x2 = (f32*)args[2];
  f32* y = (f32*)args[3];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix r = task;
    const auto t = x[r * 2];
    const auto t1 = x1[r * 2];
    const auto t2 = x[r * 2 + 1];
    const auto t3 = x1[r * 2 + 1];
    par<LANES>(32, [&](auto v, ix j) {
      st(v, y + r * 32 + j, t * (ix(t1) >= 0 ? ld(v, x2 + ix(t1) * 32 + j) : broadcast(v, 0.0f)) + t2 * (ix(t3) >= 0 ? ld(v, x2 + ix(t3) * 32 + j) : broadcast(v, 0.0f)));
    });
  }
}

// y: f32[]
// x: f32[64, 32]
// x1: f32[64, 32]
// mul sum
extern "C" void sum_88700841(void* const* args, ix begin, ix end, f32* scratch) {
  f32* y = (f32*)args[0];
  const f32* x = (f32*)args[1];
  const f32* x1 = (f32*)args[2];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const auto sum = fold<Sum, LANES>(2048, [&](auto v, ix k) {
      const auto t = ld(v, x1 + k);
      return ld(v, x + k) * t;
    });
    y[0] = sum;
  }
}

// offsets: i32[5]
// x: i32[128]
// x1: f32[64, 32]
// w: f32[4, 48, 32]
// x2: f32[64, 2]
// x3: f32[128, 48]
// x4: f32[128, 48]
// y: f32[128, 48]
// y1: f32[128, 48]
// parts: f32[3, 128]
// y2: f32[128, 48]
// broadcast reshape dispatch transpose ragged_dot mul sigmoid const sub add sum
extern "C" void ragged_dot_3670a678(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* offsets = (i32*)args[0];
  const i32* x = (i32*)args[1];
  const f32* x1 = (f32*)args[2];
  const f32* w = (f32*)args[3];
  const f32* x2 = (f32*)args[4];
  const f32* x3 = (f32*)args[5];
  const f32* x4 = (f32*)args[6];
  f32* y = (f32*)args[7];
  f32* y1 = (f32*)args[8];
  f32* parts = (f32*)args[9];
  f32* y2 = (f32*)args[10];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix e = task / 2, n = task % 2 * 32, nn = ix_min(32, 48 - n);
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    if (ix(t) < ix(t1)) {
      const auto right = pack_transposed<32>(scratch, nn, 32, [&](ix j, ix i) { return w + e * 1536 + (n + j) * 32 + i; });
      NO_UNROLL for (ix m = ix(t), m_end = ix(t1); m < m_end; m += 192) {
        const ix mn = ix_min(192, m_end - m);
        Acc<192, 32> acc;
        Rows<192, 1> left;
        left.bind(mn, n == 0, [&](ix i) { return x1 + ix(x[m + i]) / 2 * 32; });
        const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
          const ix _col = _tile.c;
          prefetch_tile(_tile, [&](ix i, ix j) {
            prefetch(y + (m + i) * 48 + (n + (_col + j)));
            prefetch(y1 + (m + i) * 48 + (n + (_col + j)));
            prefetch(y2 + (m + i) * 48 + (n + (_col + j)));
            prefetch(x3 + (m + i) * 48 + (n + (_col + j)));
            prefetch(x4 + (m + i) * 48 + (n + (_col + j)));
          });
        }, [&](TileCoord _tile) {
          const ix _col = _tile.c;
          each_in<LANES>(_tile, Whole{nn}, [&](auto v, ix i, ix j, auto& acc_) {
            const auto t2 = acc_;
            const auto t3 = x[m + i];
            const auto t4 = x2[ix(t3)];
            const auto t_mul = t2 * t4;
            const auto t5 = ld(v, x3 + (m + i) * 48 + (n + (_col + j)));
            const auto t_sigmoid = sigmoid_(t5);
            const auto t_mul1 = t5 * t_sigmoid;
            const auto t_mul2 = t_mul * t_mul1;
            const auto t6 = ld(v, x4 + (m + i) * 48 + (n + (_col + j)));
            const auto t_mul3 = t_mul * t6;
            const auto t_add = t_mul3 * t_sigmoid + t_mul3 * t5 * (t_sigmoid * (1.0f - t_sigmoid));
            const auto t_mul4 = t_mul1 * t6;
            const auto value = t_mul4 * t2;
            const auto value1 = t_mul4 * t4;
            st(v, y + (m + i) * 48 + (n + (_col + j)), t_mul2);
            st(v, y1 + (m + i) * 48 + (n + (_col + j)), t_add);
            st_partial_sum(v, parts + (n + (_col + j)) / 16 * 128 + (m + i), j, value);
            st(v, y2 + (m + i) * 48 + (n + (_col + j)), value1);
          }, acc);
        });
        mma(true, left, mn, 32, acc_epilogue, rhs(right, acc));
      }
    }
  }
}

// parts: f32[3, 128]
// y: f32[128]
// sum
extern "C" void sum_4c11c940(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* parts = (f32*)args[0];
  f32* y = (f32*)args[1];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    par<LANES>(128, [&](auto v, ix j) {
      const auto sum = fold_lane<Sum>(3, [&](ix k) { return ld(v, parts + k * 128 + j); });
      st(v, y + j, sum);
    });
  }
}

// offsets: i32[5]
// x: f32[128, 48]
// w: f32[4, 32, 48]
// y: f32[128, 32]
// transpose ragged_dot
extern "C" void ragged_dot_9e441102(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* offsets = (i32*)args[0];
  const f32* x = (f32*)args[1];
  const f32* w = (f32*)args[2];
  f32* y = (f32*)args[3];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix e = task;
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    if (ix(t) < ix(t1)) {
      const auto right = pack_transposed<32>(scratch, 32, 48, [&](ix j, ix i) { return w + e * 1536 + j * 48 + i; });
      NO_UNROLL for (ix m = ix(t), m_end = ix(t1); m < m_end; m += 192) {
        const ix mn = ix_min(192, m_end - m);
        Acc<192, 32> acc;
        Rows<192, 1> left;
        left.bind(mn, true, [&](ix i) { return x + (m + i) * 48; });
        const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
          const ix _col = _tile.c;
          prefetch_tile(_tile, [&](ix i, ix j) {
            prefetch(y + (m + i) * 32 + (_col + j));
          });
        }, [&](TileCoord _tile) {
          const ix _col = _tile.c;
          each_in<LANES>(_tile, Whole{32}, [&](auto v, ix i, ix j, auto& acc_) {
            st(v, y + (m + i) * 32 + (_col + j), acc_);
          }, acc);
        });
        mma(true, left, mn, 48, acc_epilogue, rhs(right, acc));
      }
    }
  }
}

// x: i32[64, 2]
// x1: i32[128]
// x2: f32[128]
// x3: f32[64, 2]
// x4: f32[64, 2]
// x5: f32[64]
// x6: f32[64, 4]
// x7: f32[64, 4]
// y: f32[64, 4]
// broadcast iota eq combine reshape sum div mul neg add const select
extern "C" void mul_39aafa0d(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* x = (i32*)args[0];
  const i32* x1 = (i32*)args[1];
  const f32* x2 = (f32*)args[2];
  const f32* x3 = (f32*)args[3];
  const f32* x4 = (f32*)args[4];
  const f32* x5 = (f32*)args[5];
  const f32* x6 = (f32*)args[6];
  const f32* x7 = (f32*)args[7];
  f32* y = (f32*)args[8];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix r = task;
    const auto t = x[r * 2];
    const auto t1 = x1[r * 2];
    const auto t2 = x2[ix_max(ix(t1), 0)];
    const auto t_combine = ix(t1) >= 0 ? t2 : 0.0f;
    const auto t3 = x3[r * 2];
    const auto t4 = x3[r * 2 + 1];
    const auto t_sum = t3 + t4;
    const auto t_div = div_by_scalar(t_combine, t_sum);
    const auto sum = fold<Sum, 1>(2, [&](auto v, ix k) {
      const auto t5 = ld(v, x1 + r * 2 + k);
      const auto t_div1 = div_by_scalar(where(ix(t5) >= 0, broadcast(v, x2[ix_max(ix(t5), 0)]), 0.0f), t_sum);
      const auto t6 = ld(v, x4 + r * 2 + k);
      return -(t_div1 * t6);
    });
    const auto t_add = t_div + sum;
    const auto t7 = x[r * 2 + 1];
    const auto t8 = x1[r * 2 + 1];
    const auto t9 = x2[ix_max(ix(t8), 0)];
    const auto t_combine1 = ix(t8) >= 0 ? t9 : 0.0f;
    const auto t_div2 = div_by_scalar(t_combine1, t_sum);
    const auto t_add1 = t_div2 + sum;
    const auto t10 = x5[r];
    const auto sum1 = fold<Sum, LANES>(4, [&](auto v, ix k) {
      const auto t_div4 = div_by_scalar(where(t == iota(v, i32(k)), t_add, 0.0f) + where(t7 == iota(v, i32(k)), t_add1, 0.0f), t10);
      const auto t11 = ld(v, x6 + r * 4 + k);
      return -(t_div4 * t11);
    });
    par<LANES>(4, [&](auto v, ix j) {
      const auto t_div3 = div_by_scalar(where(t == iota(v, i32(j)), t_add, 0.0f) + where(t7 == iota(v, i32(j)), t_add1, 0.0f), t10);
      const auto t12 = ld(v, x7 + r * 4 + j, 4);
      const auto t_mul = (t_div3 + sum1) * t12;
      st(v, y + r * 4 + j, t_mul);
    });
  }
}

// a: f32[64, 4]
// b: f32[32, 4]
// y: f32[64, 32]
// transpose dot
extern "C" void dot_a860aba3(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* a = (f32*)args[0];
  const f32* b = (f32*)args[1];
  f32* y = (f32*)args[2];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix mc = task * 36, mcn = ix_min(36, 64 - mc);
    const auto right = pack_transposed<32>(scratch, 32, 4, [&](ix j, ix i) { return b + j * 4 + i; });
    NO_UNROLL for (ix m = mc, m_end = mc + mcn; m < m_end; m += 36) {
      const ix mn = ix_min(36, m_end - m);
      Acc<36, 32> acc;
      Rows<36, 1> left;
      left.bind(mn, true, [&](ix i) { return a + (m + i) * 4; });
      const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
        const ix _col = _tile.c;
        prefetch_tile(_tile, [&](ix i, ix j) {
          prefetch(y + (m + i) * 32 + (_col + j));
        });
      }, [&](TileCoord _tile) {
        const ix _col = _tile.c;
        each_in<LANES>(_tile, Whole{32}, [&](auto v, ix i, ix j, auto& acc_) {
          st(v, y + (m + i) * 32 + (_col + j), acc_);
        }, acc);
      });
      mma(true, left, OneOf<36, 28>{mn}, 4, acc_epilogue, rhs(right, acc));
    }
  }
}

// x: i32[128]
// x1: f32[128, 32]
// x2: f32[128, 32]
// x3: f32[64, 32]
// y: f32[64, 32]
// add combine reshape sum
extern "C" void add_927e2b0f(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* x = (i32*)args[0];
  const f32* x1 = (f32*)args[1];
  const f32* x2 = (f32*)args[2];
  const f32* x3 = (f32*)args[3];
  f32* y = (f32*)args[4];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix r = task;
    const auto t = x[r * 2];
    const auto t1 = x[r * 2 + 1];
    par<LANES>(32, [&](auto v, ix j) {
      st(v, y + r * 32 + j, (ix(t) >= 0 ? ld(v, x1 + ix(t) * 32 + j) + ld(v, x2 + ix(t) * 32 + j) : broadcast(v, 0.0f)) + (ix(t1) >= 0 ? ld(v, x1 + ix(t1) * 32 + j) + ld(v, x2 + ix(t1) * 32 + j) : broadcast(v, 0.0f)) + ld(v, x3 + r * 32 + j));
    });
  }
}

// a: f32[64, 32]
// b: f32[64, 4]
// y: f32[32, 4]
// transpose dot
extern "C" void dot_eee09ccc(void* const* args, ix begin, ix end, f32* scratch) {
  const f32* a = (f32*)args[0];
  const f32* b = (f32*)args[1];
  f32* y = (f32*)args[2];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    Acc<36, 16> acc;
    const auto left = pack_micro_panels(scratch, 32, 64, [&](ix j) { return a + j * 32; });
    const auto right = pack_columns<16>(scratch + 2400, 4, 64, {b, 4, 16, 64}, [&](ix i) { return b + i * 4; });
    const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
      const ix _col = _tile.c;
      prefetch_tile(_tile, [&](ix i, ix j) {
        prefetch(y + i * 4 + (_col + j));
      });
    }, [&](TileCoord _tile) {
      const ix _col = _tile.c;
      each_in<LANES>(_tile, 4, [&](auto v, ix i, ix j, auto& acc_) {
        st(v, y + i * 4 + (_col + j), acc_);
      }, acc);
    });
    mma(true, left, OneOf<32>{32}, 64, acc_epilogue, rhs(right, acc));
  }
}

// offsets: i32[5]
// x: i32[128]
// x1: f32[64, 32]
// y: f32[128, 48]
// w: f32[4, 32, 48]
// broadcast reshape dispatch ragged_outer
extern "C" void ragged_outer_8cccd539(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* offsets = (i32*)args[0];
  const i32* x = (i32*)args[1];
  const f32* x1 = (f32*)args[2];
  const f32* y = (f32*)args[3];
  f32* w = (f32*)args[4];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix e = task;
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    Acc<36, 48> acc;
    if (ix(t1) <= ix(t)) acc.fill(0.0f);
    const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
      const ix _col = _tile.c;
      prefetch_tile(_tile, [&](ix i, ix j) {
        prefetch(w + e * 1536 + i * 48 + (_col + j));
      });
    }, [&](TileCoord _tile) {
      const ix _col = _tile.c;
      each_in<LANES>(_tile, Whole{48}, [&](auto v, ix i, ix j, auto& acc_) {
        st(v, w + e * 1536 + i * 48 + (_col + j), acc_);
      }, acc);
    });
    NO_UNROLL for (ix r = ix(t), r_end = ix(t1); r < r_end; r += 256) {
      const ix rn = ix_min(256, r_end - r);
      const auto left = pack_micro_panels(scratch, 32, rn, [&](ix j) { return x1 + ix(x[r + j]) / 2 * 32; });
      const auto right = in_place_or_pack<48, 48>(scratch + 9312, y + r * 48, rn, {r + 256 < r_end ? y + (r + 256) * 48 : y + ix(t) * 48, 48, 48, rn});
      mma(r == ix(t), left, OneOf<32>{32}, rn, acc_epilogue.when(r + 256 >= r_end), rhs(right, acc));
    }
    if (ix(t1) <= ix(t)) acc_epilogue.run(32, 48);
  }
}

// offsets: i32[5]
// x: f32[128, 48]
// y: i32[128]
// y1: f32[64, 32]
// w: f32[4, 48, 32]
// broadcast reshape dispatch ragged_outer
extern "C" void ragged_outer_0a7376e4(void* const* args, ix begin, ix end, f32* scratch) {
  const i32* offsets = (i32*)args[0];
  const f32* x = (f32*)args[1];
  const i32* y = (i32*)args[2];
  const f32* y1 = (f32*)args[3];
  f32* w = (f32*)args[4];
  NO_UNROLL for (ix task = begin; task < end; task++) {
    const ix e = task;
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    Acc<48, 32> acc;
    if (ix(t1) <= ix(t)) acc.fill(0.0f);
    const auto acc_epilogue = epilogue([&](TileCoord _tile, auto prefetch) {
      const ix _col = _tile.c;
      prefetch_tile(_tile, [&](ix i, ix j) {
        prefetch(w + e * 1536 + i * 32 + (_col + j));
      });
    }, [&](TileCoord _tile) {
      const ix _col = _tile.c;
      each_in<LANES>(_tile, Whole{32}, [&](auto v, ix i, ix j, auto& acc_) {
        st(v, w + e * 1536 + i * 32 + (_col + j), acc_);
      }, acc);
    });
    NO_UNROLL for (ix r = ix(t), r_end = ix(t1); r < r_end; r += 256) {
      const ix rn = ix_min(256, r_end - r);
      const auto left = pack_micro_panels(scratch, 48, rn, [&](ix j) { return x + (r + j) * 48; });
      const auto right = pack_columns<32>(scratch + 12416, 32, rn, {}, [&](ix i) { return y1 + ix(y[r + i]) / 2 * 32; });
      mma(r == ix(t), left, OneOf<48>{48}, rn, acc_epilogue.when(r + 256 >= r_end), rhs(right, acc));
    }
    if (ix(t1) <= ix(t)) acc_epilogue.run(48, 32);
  }
}
