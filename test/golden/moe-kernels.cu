// a: f32[64, 32]
// b: f32[32, 4]
// y: f32[64, 4]
// dot
KERNEL void __launch_bounds__(128, MIN_BLOCKS(2)) dot_b3518237(const f32* __restrict__ a, const f32* __restrict__ b, f32* y) {
  DYN_SMEM(smem);
  SharedTile<f32, 64, 32, 1, 128, ROW_MAJOR, 32> left(smem);
  SharedTile<f32, 32, 16, 1, 128, ROW_MAJOR, 4> right(smem + 8192);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    Acc<64, 16, 4, 1> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, 64, 32, [&](ix i, ix j) { return a + i * 32 + j; });
    right.load(0, 32, 4, [&](ix i, ix j) { return b + i * 4 + j; });
    cp_async_wait_and_sync();
    mma<32>(left[0], rhs(right[0], acc));
    each<4, FULL_GROUPS>(64, 4, [&](auto v, ix i, ix j, auto& acc_) {
      const auto t = acc_;
      st(v, y + i * 4 + j, t);
    }, acc);
  }
}
KERNEL_END(dot_b3518237)

// y: f32[64]
// x: f32[64, 4]
// y1: f32[64, 4]
// y2: f32[64, 4]
// max reshape const broadcast sub exp sum div
KERNEL void __launch_bounds__(32, MIN_BLOCKS(16)) exp_6d2e0b3b(f32* y, const f32* __restrict__ x, f32* y1, f32* y2) {
  for (i32 task = blockIdx.x; task < 64; task += gridDim.x) {
    const ix r = task;
    const auto t1 = x[r * 4];
    const auto t2 = x[r * 4 + 1];
    const auto t3 = x[r * 4 + 2];
    const auto t4 = x[r * 4 + 3];
    const auto t_max = max_(max_(max_(t1, t2), t3), t4);
    const auto t_max1 = max_(t_max, -3.3895313892515355e+38f);
    const auto sum = fold<Sum, 4>(4, [&](auto v, ix k) {
      const auto t = ld(v, x + r * 4 + k);
      const auto t_exp = exp_(t - t_max1);
      return t_exp;
    });
    ONE_THREAD y[r] = sum;
    par<4>(4, [&](auto v, ix j) {
      const auto t5 = ld(v, x + r * 4 + j);
      const auto t_exp1 = exp_(t5 - t_max1);
      const auto t_div = t_exp1 / sum;
      st(v, y1 + r * 4 + j, t_exp1);
      st(v, y2 + r * 4 + j, t_div);
    });
  }
}
KERNEL_END(exp_6d2e0b3b)

// values: f32[64, 2]
// index: i32[64, 2]
// x: f32[64, 4]
// top_k
KERNEL void __launch_bounds__(32, MIN_BLOCKS(16)) top_k_99ef7e32(f32* values, i32* index, const f32* __restrict__ x) {
  for (i32 task = blockIdx.x; task < 64; task += gridDim.x) {
    const ix r = task;
    for (ix p = 0; p < 2; p++) {
      const auto last = p == 0 ? __builtin_inff() : values[r * 2 + p - 1];
      const auto where_ = p == 0 ? -1 : index[r * 2 + p - 1];
      const auto best = fold<Max, 4>(4, [&](auto v, ix k) { return where(or_(last > ld(v, x + r * 4 + k), and_(last == ld(v, x + r * 4 + k), where_ < iota(v, i32(k)))), ld(v, x + r * 4 + k), -__builtin_inff()); });
      const auto at = fold<Min, 4>(4, [&](auto v, ix k) { return where(and_(or_(last > ld(v, x + r * 4 + k), and_(last == ld(v, x + r * 4 + k), where_ < iota(v, i32(k)))), ld(v, x + r * 4 + k) == best), iota(v, i32(k)), 4); });
      if (at < 4) {
        ONE_THREAD values[r * 2 + p] = x[r * 4 + ix(at)];
        ONE_THREAD index[r * 2 + p] = i32(ix(at));
        __syncthreads();
      }
      if (4 <= at) {
        const auto at1 = fold<Min, 4>(4, [&](auto v, ix k) { return where(and_(ld(v, x + r * 4 + k) != ld(v, x + r * 4 + k), or_(broadcast(v, last == last), where_ < iota(v, i32(k)))), iota(v, i32(k)), 4); });
        ONE_THREAD values[r * 2 + p] = x[r * 4 + ix(at1)];
        ONE_THREAD index[r * 2 + p] = i32(ix(at1));
        __syncthreads();
      }
    }
  }
}
KERNEL_END(top_k_99ef7e32)

// x: f32[64, 2]
// y: f32[64, 2]
// index: i32[64, 2]
// offsets: i32[5]
// order: i32[128]
// expert: i32[128]
// inverse: i32[128]
// sum broadcast div reshape route
KERNEL void __launch_bounds__(128, MIN_BLOCKS(4)) div_route_dee617bf(const f32* __restrict__ x, f32* y, const i32* __restrict__ index, i32* offsets, i32* order, i32* expert, i32* inverse) {
  DYN_SMEM(smem);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    par<2>(128, [&](auto v, ix j) {
      const auto t = ld(v, x + j);
      const auto t1 = broadcast(v, x[j / 2 * 2]);
      const auto t2 = broadcast(v, x[j / 2 * 2 + 1]);
      const auto t_div = t / (t1 + t2);
      st(v, y + j, t_div);
    });
    __syncthreads();
    i32* const table = (i32*)(smem);
    par<1>(5, [&](auto, ix j) { table[j] = 0; });
    __syncthreads();
    tally(128, table, [&](ix i) { return ix(and_(ix(index[i]) >= 0, ix(index[i]) < 4) ? ix(index[i]) : 4); });
    __syncthreads();
    scan(5, [&](ix i) { return table[i]; }, [&](ix i, auto sum) {
      offsets[i] = sum;
      table[i] = sum;
    });
    __syncthreads();
    tally(128, table, [&](ix i) { return ix(and_(ix(index[i]) >= 0, ix(index[i]) < 4) ? ix(index[i]) : 4); }, [&](ix i, ix rank1) {
      const ix choice = i;
      const ix group = and_(ix(index[choice]) >= 0, ix(index[choice]) < 4) ? ix(index[choice]) : 4;
      order[rank1] = group < 4 ? i32(choice) : -1;
      expert[rank1] = group < 4 ? i32(group) : -1;
      inverse[choice] = group < 4 ? i32(rank1) : -1;
    });
    __syncthreads();
  }
}
KERNEL_END(div_route_dee617bf)

// offsets: i32[5]
// x: i32[128]
// x1: f32[64, 32]
// w: f32[4, 32, 48]
// w1: f32[4, 32, 48]
// y: f32[128, 48]
// y1: f32[128, 48]
// y2: f32[128, 48]
// broadcast reshape dispatch ragged_dot sigmoid mul
KERNEL void __launch_bounds__(128, MIN_BLOCKS(2)) ragged_dot_d88d6e98(const i32* __restrict__ offsets, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ w, const f32* __restrict__ w1, f32* y, f32* y1, f32* y2) {
  DYN_SMEM(smem);
  SharedTile<f32, 64, 32, 1, 128, ROW_MAJOR, 0> left(smem);
  SharedTile<f32, 32, 64, 1, 128, ROW_MAJOR, 48> right(smem + 8192);
  SharedTile<f32, 32, 64, 1, 128, ROW_MAJOR, 48> right1(smem + 16384);
  RaggedTiles tasks(offsets, 4, 1, 64);
  for (i32 task = blockIdx.x; tasks.seek(task); task += gridDim.x) {
    const ix e = tasks.group, m = tasks.row, mn = ix_min(64, tasks.end - tasks.row);
    Acc<64, 64, 2, 2> acc;
    acc.fill(0.0f);
    Acc<64, 64, 2, 2> acc1;
    acc1.fill(0.0f);
    __syncthreads();
    left.load(0, mn, 32, [&](ix i, ix j) { return x1 + ix(x[m + i]) / 2 * 32 + j; });
    right.load(0, 32, 48, [&](ix i, ix j) { return w + e * 1536 + i * 48 + j; });
    right1.load(0, 32, 48, [&](ix i, ix j) { return w1 + e * 1536 + i * 48 + j; });
    cp_async_wait_and_sync();
    mma<32>(left[0], rhs(right[0], acc), rhs(right1[0], acc1));
    each<4, FULL_GROUPS>(mn, 48, [&](auto v, ix i, ix j, auto& acc_, auto& acc1_) {
      const auto t = acc_;
      const auto t1 = acc1_;
      const auto t_sigmoid = sigmoid_(t);
      const auto t_mul = t * t_sigmoid;
      const auto t_mul1 = t_mul * t1;
      st(v, y + (m + i) * 48 + j, t);
      st(v, y1 + (m + i) * 48 + j, t1);
      st(v, y2 + (m + i) * 48 + j, t_mul1);
    }, acc, acc1);
  }
}
KERNEL_END(ragged_dot_d88d6e98)

// offsets: i32[5]
// x: f32[128, 48]
// w: f32[4, 48, 32]
// y: f32[128, 32]
// ragged_dot
KERNEL void __launch_bounds__(128, MIN_BLOCKS(2)) ragged_dot_af81071a(const i32* __restrict__ offsets, const f32* __restrict__ x, const f32* __restrict__ w, f32* y) {
  DYN_SMEM(smem);
  SharedTile<f32, 64, 32, 4, 128, ROW_MAJOR, 48> left(smem);
  SharedTile<f32, 32, 32, 4, 128, ROW_MAJOR, 32> right(smem + 32768);
  const auto start_loads = [&](ix e, ix m, ix mn) INLINE {
    left.bind(mn, [&](ix i, ix j) { return x + (m + i) * 48 + j; });
    right.bind(32, [&](ix i, ix j) { return w + e * 1536 + i * 32 + j; });
    pipeline_prologue<3>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k * 32, kn, 32);
    });
  };
  RaggedTiles tasks(offsets, 4, 1, 64);
  i32 task = blockIdx.x;
  for (bool more = tasks.seek(task); more;) {
    const ix e = tasks.group, m = tasks.row, mn = ix_min(64, tasks.end - tasks.row);
    if (task == (i32)blockIdx.x) start_loads(e, m, mn);
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    pipeline<4>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k * 32, kn, 32);
    }, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      mma<32>(left[s], rhs(right[s], acc));
    });
    task += gridDim.x;
    more = tasks.seek(task);
    if (more) {
      const ix e = tasks.group, m = tasks.row, mn = ix_min(64, tasks.end - tasks.row);
      start_loads(e, m, mn);
    }
    each<4, FULL_GROUPS>(mn, 32, [&](auto v, ix i, ix j, auto& acc_) {
      st(v, y + (m + i) * 32 + j, acc_);
    }, acc);
  }
}
KERNEL_END(ragged_dot_af81071a)

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
KERNEL void __launch_bounds__(128, MIN_BLOCKS(2)) ragged_dot_b13ce4e2(const i32* __restrict__ offsets, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ w, const f32* __restrict__ x2, const f32* x3, const f32* x4, f32* y, f32* y1, f32* parts, f32* y2) {
  DYN_SMEM(smem);
  SharedTile<f32, 64, 32, 1, 128, ROW_MAJOR, 0> left(smem);
  SharedTile<f32, 64, 32, 1, 128, COL_MAJOR, 32> right(smem + 8192);
  RaggedTiles tasks(offsets, 4, 1, 64);
  for (i32 task = blockIdx.x; tasks.seek(task); task += gridDim.x) {
    const ix e = tasks.group, m = tasks.row, mn = ix_min(64, tasks.end - tasks.row);
    Acc<64, 64, 2, 2> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, mn, 32, [&](ix i, ix j) { return x1 + ix(x[m + i]) / 2 * 32 + j; });
    right.load(0, 48, 32, [&](ix j, ix i) { return w + e * 1536 + j * 32 + i; });
    cp_async_wait_and_sync();
    mma<32>(left[0], rhs(right[0], acc));
    each_prefetched(mn, 48, [&](ix i) {
      const auto t1 = x[m + i];
      const auto t2 = x2[ix(t1)];
      return [=](auto v, ix j) {
        const auto t3 = ld(v, x3 + (m + i) * 48 + j);
        const auto t4 = ld(v, x4 + (m + i) * 48 + j);
        return [=](auto& acc_) {
          const auto t = acc_;
          const auto t_mul = t * t2;
          const auto t_sigmoid = sigmoid_(t3);
          const auto t_mul1 = t3 * t_sigmoid;
          const auto t_mul2 = t_mul * t_mul1;
          const auto t_mul3 = t_mul * t4;
          const auto t_add = t_mul3 * t_sigmoid + t_mul3 * t3 * (t_sigmoid * (1.0f - t_sigmoid));
          const auto t_mul4 = t_mul1 * t4;
          const auto value = t_mul4 * t;
          const auto value1 = t_mul4 * t2;
          st(v, y + (m + i) * 48 + j, t_mul2);
          st(v, y1 + (m + i) * 48 + j, t_add);
          st_partial_sum(v, parts + j / 16 * 128 + (m + i), j, value);
          st(v, y2 + (m + i) * 48 + j, value1);
        };
      };
    }, acc);
  }
}
KERNEL_END(ragged_dot_b13ce4e2)

// y: f32[]
// x: f32[64, 2]
// x1: i32[128]
// x2: f32[128, 32]
// x3: f32[64, 32]
// y1: f32[64, 32]
// broadcast combine reshape mul sum
KERNEL void __launch_bounds__(256, MIN_BLOCKS(2)) sum_26226ed6(f32* y, const f32* __restrict__ x, const i32* __restrict__ x1, const f32* __restrict__ x2, const f32* __restrict__ x3, f32* y1) {
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    const auto sum = fold<Sum, 1>(2048, [&](auto v, ix k) {
      const auto t = broadcast(v, x[k / 32 * 2]);
      const auto t1 = broadcast(v, x1[k / 32 * 2]);
      const auto t2 = broadcast(v, x[k / 32 * 2 + 1]);
      const auto t3 = broadcast(v, x1[k / 32 * 2 + 1]);
      const auto t4 = ld(v, x3 + k);
      return (t * where(ix(t1) >= 0, ld(v, x2 + ix_max(ix(t1), 0) * 32 + k % 32), 0.0f) + t2 * where(ix(t3) >= 0, ld(v, x2 + ix_max(ix(t3), 0) * 32 + k % 32), 0.0f)) * t4;
    });
    ONE_THREAD y[0] = sum;
    for (ix i = 0; i < 64; i++) {
      const auto t5 = x[i * 2];
      const auto t6 = x1[i * 2];
      const auto t7 = x[i * 2 + 1];
      const auto t8 = x1[i * 2 + 1];
      par<4>(32, [&](auto v, ix j) {
        st(v, y1 + i * 32 + j, t5 * (ix(t6) >= 0 ? ld(v, x2 + ix(t6) * 32 + j) : broadcast(v, 0.0f)) + t7 * (ix(t8) >= 0 ? ld(v, x2 + ix(t8) * 32 + j) : broadcast(v, 0.0f)));
      });
    }
  }
}
KERNEL_END(sum_26226ed6)

// offsets: i32[5]
// x: f32[128, 48]
// w: f32[4, 32, 48]
// y: f32[128, 32]
// transpose ragged_dot
KERNEL void __launch_bounds__(128, MIN_BLOCKS(2)) ragged_dot_a2f10f0c(const i32* __restrict__ offsets, const f32* __restrict__ x, const f32* __restrict__ w, f32* y) {
  DYN_SMEM(smem);
  SharedTile<f32, 64, 32, 4, 128, ROW_MAJOR, 48> left(smem);
  SharedTile<f32, 32, 32, 4, 128, COL_MAJOR, 48> right(smem + 32768);
  const auto start_loads = [&](ix e, ix m, ix mn) INLINE {
    left.bind(mn, [&](ix i, ix j) { return x + (m + i) * 48 + j; });
    right.bind(32, [&](ix j, ix i) { return w + e * 1536 + j * 48 + i; });
    pipeline_prologue<3>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k, 32, kn);
    });
  };
  RaggedTiles tasks(offsets, 4, 1, 64);
  i32 task = blockIdx.x;
  for (bool more = tasks.seek(task); more;) {
    const ix e = tasks.group, m = tasks.row, mn = ix_min(64, tasks.end - tasks.row);
    if (task == (i32)blockIdx.x) start_loads(e, m, mn);
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    pipeline<4>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k, 32, kn);
    }, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      mma<32>(left[s], rhs(right[s], acc));
    });
    task += gridDim.x;
    more = tasks.seek(task);
    if (more) {
      const ix e = tasks.group, m = tasks.row, mn = ix_min(64, tasks.end - tasks.row);
      start_loads(e, m, mn);
    }
    each<4, FULL_GROUPS>(mn, 32, [&](auto v, ix i, ix j, auto& acc_) {
      st(v, y + (m + i) * 32 + j, acc_);
    }, acc);
  }
}
KERNEL_END(ragged_dot_a2f10f0c)

// parts: f32[3, 128]
// y: f32[128]
// sum
KERNEL void __launch_bounds__(32, MIN_BLOCKS(16)) sum_f14d35ff(const f32* __restrict__ parts, f32* y) {
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    par<4>(128, [&](auto v, ix j) {
      const auto sum = fold_lane<Sum>(3, [&](ix k) { return ld(v, parts + k * 128 + j); });
      st(v, y + j, sum);
    });
  }
}
KERNEL_END(sum_f14d35ff)

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
KERNEL void __launch_bounds__(32, MIN_BLOCKS(16)) mul_39aafa0d(const i32* __restrict__ x, const i32* __restrict__ x1, const f32* __restrict__ x2, const f32* __restrict__ x3, const f32* __restrict__ x4, const f32* __restrict__ x5, const f32* __restrict__ x6, const f32* x7, f32* y) {
  for (i32 task = blockIdx.x; task < 64; task += gridDim.x) {
    const ix r = task;
    const auto t = x[r * 2];
    const auto t1 = x1[r * 2];
    const auto t2 = x2[ix_max(ix(t1), 0)];
    const auto t_combine = ix(t1) >= 0 ? t2 : 0.0f;
    const auto t3 = x3[r * 2];
    const auto t4 = x3[r * 2 + 1];
    const auto t_sum = t3 + t4;
    const auto t_div = t_combine / t_sum;
    const auto sum = fold<Sum, 1>(2, [&](auto v, ix k) {
      const auto t5 = ld(v, x1 + r * 2 + k);
      const auto t_div1 = where(ix(t5) >= 0, broadcast(v, x2[ix_max(ix(t5), 0)]), 0.0f) / t_sum;
      const auto t6 = ld(v, x4 + r * 2 + k);
      return -(t_div1 * t6);
    });
    const auto t_add = t_div + sum;
    const auto t7 = x[r * 2 + 1];
    const auto t8 = x1[r * 2 + 1];
    const auto t9 = x2[ix_max(ix(t8), 0)];
    const auto t_combine1 = ix(t8) >= 0 ? t9 : 0.0f;
    const auto t_div2 = t_combine1 / t_sum;
    const auto t_add1 = t_div2 + sum;
    const auto t10 = x5[r];
    const auto sum1 = fold<Sum, 4>(4, [&](auto v, ix k) {
      const auto t_div4 = (where(t == iota(v, i32(k)), t_add, 0.0f) + where(t7 == iota(v, i32(k)), t_add1, 0.0f)) / t10;
      const auto t11 = ld(v, x6 + r * 4 + k);
      return -(t_div4 * t11);
    });
    par<4>(4, [&](auto v, ix j) {
      const auto t_div3 = (where(t == iota(v, i32(j)), t_add, 0.0f) + where(t7 == iota(v, i32(j)), t_add1, 0.0f)) / t10;
      const auto t12 = ld(v, x7 + r * 4 + j);
      const auto t_mul = (t_div3 + sum1) * t12;
      st(v, y + r * 4 + j, t_mul);
    });
  }
}
KERNEL_END(mul_39aafa0d)

// a: f32[64, 4]
// b: f32[32, 4]
// x: i32[128]
// x1: f32[128, 32]
// x2: f32[128, 32]
// y: f32[64, 32]
// add combine reshape sum transpose dot
KERNEL void __launch_bounds__(128, MIN_BLOCKS(2)) dot_478b2178(const f32* __restrict__ a, const f32* __restrict__ b, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ x2, f32* y) {
  DYN_SMEM(smem);
  SharedTile<f32, 64, 4, 1, 128, ROW_MAJOR, 4> left(smem);
  SharedTile<f32, 32, 4, 1, 128, COL_MAJOR, 4> right(smem + 1024);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, 64, 4, [&](ix i, ix j) { return a + i * 4 + j; });
    right.load(0, 32, 4, [&](ix j, ix i) { return b + j * 4 + i; });
    cp_async_wait_and_sync();
    mma<4>(left[0], rhs(right[0], acc));
    each<4, FULL_GROUPS>(64, 32, [&](auto v, ix i, ix j, auto& acc_) {
      const auto t = x[i * 2];
      const auto t1 = x[i * 2 + 1];
      st(v, y + i * 32 + j, (ix(t) >= 0 ? ld(v, x1 + ix(t) * 32 + j) + ld(v, x2 + ix(t) * 32 + j) : broadcast(v, 0.0f)) + (ix(t1) >= 0 ? ld(v, x1 + ix(t1) * 32 + j) + ld(v, x2 + ix(t1) * 32 + j) : broadcast(v, 0.0f)) + acc_);
    }, acc);
  }
}
KERNEL_END(dot_478b2178)

// a: f32[64, 32]
// b: f32[64, 4]
// y: f32[32, 4]
// transpose dot
KERNEL void __launch_bounds__(64, MIN_BLOCKS(2)) dot_6157cf2a(const f32* __restrict__ a, const f32* __restrict__ b, f32* y) {
  DYN_SMEM(smem);
  SharedTile<f32, 64, 32, 1, 64, COL_MAJOR, 32> left(smem);
  SharedTile<f32, 64, 16, 1, 64, ROW_MAJOR, 4> right(smem + 8192);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    Acc<32, 16, 2, 1> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, 64, 32, [&](ix j, ix i) { return a + j * 32 + i; });
    right.load(0, 64, 4, [&](ix i, ix j) { return b + i * 4 + j; });
    cp_async_wait_and_sync();
    mma<64>(left[0], rhs(right[0], acc));
    each<4, FULL_GROUPS>(32, 4, [&](auto v, ix i, ix j, auto& acc_) {
      st(v, y + i * 4 + j, acc_);
    }, acc);
  }
}
KERNEL_END(dot_6157cf2a)

// offsets: i32[5]
// x: i32[128]
// x1: f32[64, 32]
// y: f32[128, 48]
// w: f32[4, 32, 48]
// broadcast reshape dispatch ragged_outer
KERNEL void __launch_bounds__(64, MIN_BLOCKS(2)) ragged_outer_31bda766(const i32* __restrict__ offsets, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ y, f32* w) {
  DYN_SMEM(smem);
  SharedTile<f32, 128, 32, 3, 64, COL_MAJOR, 0> left(smem);
  SharedTile<f32, 128, 16, 3, 64, ROW_MAJOR, 48> right(smem + 49152);
  const auto start_loads = [&](ix e, ix n) INLINE {
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    left.bind_columns([&](ix i) { return x1 + i; });
    left.prefetch_indices(ix_min(128, ix(t1) - ix(t)), [&](ix j) { return x[ix(t) + j]; });
    right.bind(128, [&](ix i, ix j) { return y + (ix(t) + i) * 48 + (n + j); });
    pipeline_prologue<2>(ix(t), ix(t1), 128, [&](ix r, i32 s) {
      const ix rn = ix_min(128, ix(t1) - r);
      left.gather(s, rn, 32, [&](ix row_index) { return ix(row_index) / 2 * 32; });
      left.prefetch_indices(ix_min(128, ix(t1) - r - 128), [&](ix j) { return x[r + j + 128]; });
      right.load(s, (r - ix(t)) * 48, rn, 16);
    });
  };
  i32 task = blockIdx.x;
  for (bool more = task < 12; more;) {
    const ix e = task / 3, n = task % 3 * 16;
    if (task == (i32)blockIdx.x) start_loads(e, n);
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    Acc<32, 16, 2, 1> acc;
    acc.fill(0.0f);
    pipeline<3>(ix(t), ix(t1), 128, [&](ix r, i32 s) {
      const ix rn = ix_min(128, ix(t1) - r);
      left.gather(s, rn, 32, [&](ix row_index) { return ix(row_index) / 2 * 32; });
      left.prefetch_indices(ix_min(128, ix(t1) - r - 128), [&](ix j) { return x[r + j + 128]; });
      right.load(s, (r - ix(t)) * 48, rn, 16);
    }, [&](ix r, i32 s) {
      const ix rn = ix_min(128, ix(t1) - r);
      mma<128>(left[s], rhs(right[s], acc));
    });
    task += gridDim.x;
    more = task < 12;
    if (more) {
      const ix e = task / 3, n = task % 3 * 16;
      start_loads(e, n);
    }
    each<4, FULL_GROUPS>(32, 16, [&](auto v, ix i, ix j, auto& acc_) {
      st(v, w + e * 1536 + i * 48 + (n + j), acc_);
    }, acc);
  }
}
KERNEL_END(ragged_outer_31bda766)

// offsets: i32[5]
// x: f32[128, 48]
// y: i32[128]
// y1: f32[64, 32]
// w: f32[4, 48, 32]
// broadcast reshape dispatch ragged_outer
KERNEL void __launch_bounds__(128, MIN_BLOCKS(2)) ragged_outer_df6269d5(const i32* __restrict__ offsets, const f32* __restrict__ x, const i32* __restrict__ y, const f32* __restrict__ y1, f32* w) {
  DYN_SMEM(smem);
  SharedTile<f32, 32, 64, 4, 128, COL_MAJOR, 48> left(smem);
  SharedTile<f32, 32, 32, 4, 128, ROW_MAJOR, 0> right(smem + 32768);
  const auto start_loads = [&](ix e) INLINE {
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    left.bind(32, [&](ix j, ix i) { return x + (ix(t) + j) * 48 + i; });
    right.bind_columns([&](ix j) { return y1 + j; });
    right.prefetch_indices(ix_min(32, ix(t1) - ix(t)), [&](ix i) { return y[ix(t) + i]; });
    pipeline_prologue<3>(ix(t), ix(t1), 32, [&](ix r, i32 s) {
      const ix rn = ix_min(32, ix(t1) - r);
      left.load(s, (r - ix(t)) * 48, rn, 48);
      right.gather(s, rn, 32, [&](ix row_index) { return ix(row_index) / 2 * 32; });
      right.prefetch_indices(ix_min(32, ix(t1) - r - 32), [&](ix i) { return y[r + i + 32]; });
    });
  };
  i32 task = blockIdx.x;
  for (bool more = task < 4; more;) {
    const ix e = task;
    if (task == (i32)blockIdx.x) start_loads(e);
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    pipeline<4>(ix(t), ix(t1), 32, [&](ix r, i32 s) {
      const ix rn = ix_min(32, ix(t1) - r);
      left.load(s, (r - ix(t)) * 48, rn, 48);
      right.gather(s, rn, 32, [&](ix row_index) { return ix(row_index) / 2 * 32; });
      right.prefetch_indices(ix_min(32, ix(t1) - r - 32), [&](ix i) { return y[r + i + 32]; });
    }, [&](ix r, i32 s) {
      const ix rn = ix_min(32, ix(t1) - r);
      mma<32>(left[s], rhs(right[s], acc));
    });
    task += gridDim.x;
    more = task < 4;
    if (more) {
      const ix e = task;
      start_loads(e);
    }
    each<4, FULL_GROUPS>(48, 32, [&](auto v, ix i, ix j, auto& acc_) {
      st(v, w + e * 1536 + i * 32 + j, acc_);
    }, acc);
  }
}
KERNEL_END(ragged_outer_df6269d5)
