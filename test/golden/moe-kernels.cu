// dot
KERNEL void __launch_bounds__(128, BLOCKS(2)) dot_201487b3(const f32* __restrict__ a, const f32* __restrict__ b, f32* y) {
  DYN_SMEM(smem);
  Stage<f32, 64, 32, 1, 128, false, 32> left(smem + 0);
  Stage<f32, 32, 16, 1, 128, false, 4> right(smem + 8192);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    const ix e = task, mc = 0, n = 0, nn = ix_min(16, 4 - n);
    Acc<64, 16, 4, 1> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, 64, 32, [&](ix i, ix j) { return a + (mc + i) * 32 + j; });
    right.load(0, 32, nn, [&](ix i1, ix j1) { return b + i1 * 4 + (n + j1); });
    staged();
    mma<32>(left[0], on(right[0], acc));
    each<4, true>(64, nn, [&](auto v, ix i2, ix j2, auto& acc_) {
      const auto t = acc_;
      st(v, y + (mc + i2) * 4 + (n + j2), t);
    }, acc);
  }
}
KERNEL_END(dot_201487b3)

// max reshape const broadcast sub exp sum div
KERNEL void __launch_bounds__(32, BLOCKS(16)) exp_6d2e0b3b(f32* y, const f32* __restrict__ x, f32* y1, f32* y2) {
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
    ONE y[r] = sum;
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

// top_k
KERNEL void __launch_bounds__(32, BLOCKS(16)) top_k_99ef7e32(f32* values, i32* index, const f32* __restrict__ x) {
  for (i32 task = blockIdx.x; task < 64; task += gridDim.x) {
    const ix r = task;
    for (ix p = 0, p_end = 2; p < p_end; p += 1) {
      const auto last = p == 0 ? __builtin_inff() : values[r * 2 + (p - 1)];
      const auto where_ = p == 0 ? -1 : index[r * 2 + (p - 1)];
      const auto best = fold<Max, 4>(4, [&](auto v, ix k) { return where(or_(last > ld(v, x + r * 4 + k), and_(last == ld(v, x + r * 4 + k), where_ < lane(v, i32(k)))), ld(v, x + r * 4 + k), -__builtin_inff()); });
      const auto at = fold<Min, 4>(4, [&](auto v, ix k1) { return where(and_(or_(last > ld(v, x + r * 4 + k1), and_(last == ld(v, x + r * 4 + k1), where_ < lane(v, i32(k1)))), ld(v, x + r * 4 + k1) == best), lane(v, i32(k1)), 4); });
      if (at < 4) {
        ONE values[r * 2 + p] = x[r * 4 + ix(at)];
        ONE index[r * 2 + p] = i32(ix(at));
        __syncthreads();
      }
      if (4 <= at) {
        const auto at1 = fold<Min, 4>(4, [&](auto v, ix k2) { return where(and_(ld(v, x + r * 4 + k2) != ld(v, x + r * 4 + k2), or_(all(v, last == last), where_ < lane(v, i32(k2)))), lane(v, i32(k2)), 4); });
        ONE values[r * 2 + p] = x[r * 4 + ix(at1)];
        ONE index[r * 2 + p] = i32(ix(at1));
        __syncthreads();
      }
    }
  }
}
KERNEL_END(top_k_99ef7e32)

// sum broadcast div reshape route
KERNEL void __launch_bounds__(128, BLOCKS(4)) div_route_5705abab(const f32* __restrict__ x, f32* y, const i32* __restrict__ index, i32* offsets, i32* order, i32* expert, i32* inverse) {
  DYN_SMEM(smem);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    const ix c = task;
    par<2>(128, [&](auto v, ix j) {
      const auto t = ld(v, x + j);
      const auto t1 = all(v, x[j / 2 * 2]);
      const auto t2 = all(v, x[j / 2 * 2 + 1]);
      const auto t_div = t / (t1 + t2);
      st(v, y + j, t_div);
    });
    __syncthreads();
    i32* const table = (i32*)(smem + 0);
    par<1>(5, [&](auto, ix j) { table[j] = 0; });
    __syncthreads();
    tally(128, table, [&](ix i) { return ix(and_(ix(index[i]) >= 0, ix(index[i]) < 4) ? ix(index[i]) : 4); });
    __syncthreads();
    scan(5, [&](ix i1) { return table[i1]; }, [&](ix i1, auto sum) {
      offsets[i1] = sum;
      table[i1] = sum;
    });
    __syncthreads();
    tally(128, table, [&](ix i2) { return ix(and_(ix(index[i2]) >= 0, ix(index[i2]) < 4) ? ix(index[i2]) : 4); }, [&](ix i2, ix rank1) {
      const ix choice = c * 128 + i2;
      const ix group = and_(ix(index[choice]) >= 0, ix(index[choice]) < 4) ? ix(index[choice]) : 4;
      order[rank1] = group < 4 ? i32(choice) : -1;
      expert[rank1] = group < 4 ? i32(group) : -1;
      inverse[choice] = group < 4 ? i32(rank1) : -1;
    });
    __syncthreads();
  }
}
KERNEL_END(div_route_5705abab)

// broadcast reshape dispatch ragged_dot sigmoid mul
KERNEL void __launch_bounds__(128, BLOCKS(2)) ragged_dot_333a6ed5(const i32* __restrict__ offsets, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ w, const f32* __restrict__ w1, f32* y, f32* y1, f32* y2) {
  DYN_SMEM(smem);
  Stage<f32, 64, 32, 1, 128, false, 0> left(smem + 0);
  Stage<f32, 32, 64, 1, 128, false, 48> right(smem + 8192);
  Stage<f32, 32, 64, 1, 128, false, 48> right1(smem + 16384);
  Ragged tasks(offsets, 4, 1, 64);
  for (i32 task = blockIdx.x; tasks.seek(task); task += gridDim.x) {
    const ix e = tasks.e, m = tasks.at, mn = ix_min(64, tasks.to - tasks.at), n = 0, nn = ix_min(64, 48 - n);
    Acc<64, 64, 2, 2> acc;
    acc.fill(0.0f);
    Acc<64, 64, 2, 2> acc1;
    acc1.fill(0.0f);
    __syncthreads();
    left.load(0, mn, 32, [&](ix i, ix j) { return x1 + ix(x[m + i]) / 2 * 32 + j; });
    right.load(0, 32, nn, [&](ix i1, ix j1) { return w + e * 1536 + i1 * 48 + (n + j1); });
    right1.load(0, 32, nn, [&](ix i2, ix j2) { return w1 + e * 1536 + i2 * 48 + (n + j2); });
    staged();
    mma<32>(left[0], on(right[0], acc), on(right1[0], acc1));
    each<4, true>(mn, nn, [&](auto v, ix i3, ix j3, auto& acc_, auto& acc1_) {
      const auto t = acc_;
      const auto t1 = acc1_;
      const auto t_sigmoid = sigmoid_(t);
      const auto t_mul = t * t_sigmoid;
      const auto t_mul1 = t_mul * t1;
      st(v, y + (m + i3) * 48 + (n + j3), t);
      st(v, y1 + (m + i3) * 48 + (n + j3), t1);
      st(v, y2 + (m + i3) * 48 + (n + j3), t_mul1);
    }, acc, acc1);
  }
}
KERNEL_END(ragged_dot_333a6ed5)

// ragged_dot
KERNEL void __launch_bounds__(128, BLOCKS(2)) ragged_dot_ccc62fa2(const i32* __restrict__ offsets, const f32* __restrict__ x, const f32* __restrict__ w, f32* y) {
  DYN_SMEM(smem);
  Stage<f32, 64, 32, 4, 128, false, 48> left(smem + 0);
  Stage<f32, 32, 32, 4, 128, false, 32> right(smem + 32768);
  const auto begin = [&](ix e, ix m, ix mn, ix n) INLINE {
    left.bind(mn, [&](ix i, ix j) { return x + (m + i) * 48 + j; });
    right.bind(32, [&](ix i1, ix j1) { return w + e * 1536 + i1 * 32 + (n + j1); });
    load_first<3>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k * 32, kn, 32);
    });
  };
  Ragged tasks(offsets, 4, 1, 64);
  i32 task = blockIdx.x;
  for (bool more = tasks.seek(task); more;) {
    const ix e = tasks.e, m = tasks.at, mn = ix_min(64, tasks.to - tasks.at), n = 0;
    if (task == (i32)blockIdx.x) begin(e, m, mn, n);
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    pipeline<4>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k * 32, kn, 32);
    }, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      mma<32>(left[s], on(right[s], acc));
    });
    task += gridDim.x;
    more = tasks.seek(task);
    if (more) {
      const ix e = tasks.e, m = tasks.at, mn = ix_min(64, tasks.to - tasks.at), n = 0;
      begin(e, m, mn, n);
    }
    each<4, true>(mn, 32, [&](auto v, ix i2, ix j2, auto& acc_) {
      st(v, y + (m + i2) * 32 + (n + j2), acc_);
    }, acc);
  }
}
KERNEL_END(ragged_dot_ccc62fa2)

// broadcast combine reshape mul sum
KERNEL void __launch_bounds__(256, BLOCKS(2)) sum_b79f058c(f32* y, const f32* __restrict__ x, const i32* __restrict__ x1, const f32* __restrict__ x2, const f32* __restrict__ x3, f32* y1) {
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    const auto sum = fold<Sum, 1>(2048, [&](auto v, ix k) {
      const auto t = all(v, x[k / 32 * 2]);
      const auto t1 = all(v, x1[k / 32 * 2]);
      const auto t2 = all(v, x[k / 32 * 2 + 1]);
      const auto t3 = all(v, x1[k / 32 * 2 + 1]);
      const auto t4 = ld(v, x3 + k);
      return (t * where(and_(ix(t1) >= 0, ix(t1) < 128), ld(v, x2 + ix_min(ix_max(ix(t1), 0), 127) * 32 + k % 32), 0.0f) + t2 * where(and_(ix(t3) >= 0, ix(t3) < 128), ld(v, x2 + ix_min(ix_max(ix(t3), 0), 127) * 32 + k % 32), 0.0f)) * t4;
    });
    ONE y[0] = sum;
    for (ix i = 0, i_end = 64; i < i_end; i += 1) {
      const auto t5 = x[i * 2];
      const auto t6 = x1[i * 2];
      const auto t7 = x[i * 2 + 1];
      const auto t8 = x1[i * 2 + 1];
      par<4>(32, [&](auto v, ix j) {
        st(v, y1 + i * 32 + j, t5 * (and_(ix(t6) >= 0, ix(t6) < 128) ? ld(v, x2 + ix_min(ix_max(ix(t6), 0), 127) * 32 + j) : all(v, 0.0f)) + t7 * (and_(ix(t8) >= 0, ix(t8) < 128) ? ld(v, x2 + ix_min(ix_max(ix(t8), 0), 127) * 32 + j) : all(v, 0.0f)));
      });
    }
  }
}
KERNEL_END(sum_b79f058c)

// broadcast reshape dispatch transpose ragged_dot mul sigmoid const sub add sum
KERNEL void __launch_bounds__(128, BLOCKS(2)) ragged_dot_89454119(const i32* __restrict__ offsets, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ w, const f32* __restrict__ x2, const f32* x3, const f32* x4, f32* y, f32* y1, f32* parts, f32* y2) {
  DYN_SMEM(smem);
  Stage<f32, 64, 32, 1, 128, false, 0> left(smem + 0);
  Stage<f32, 64, 32, 1, 128, true, 32> right(smem + 8192);
  Ragged tasks(offsets, 4, 1, 64);
  for (i32 task = blockIdx.x; tasks.seek(task); task += gridDim.x) {
    const ix e = tasks.e, m = tasks.at, mn = ix_min(64, tasks.to - tasks.at), n = 0, nn = ix_min(64, 48 - n);
    Acc<64, 64, 2, 2> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, mn, 32, [&](ix i, ix j) { return x1 + ix(x[m + i]) / 2 * 32 + j; });
    right.load(0, nn, 32, [&](ix j1, ix i1) { return w + e * 1536 + (n + j1) * 32 + i1; });
    staged();
    mma<32>(left[0], on(right[0], acc));
    each_early(mn, nn, [&](ix i2) {
      const auto t1 = x[m + i2];
      const auto t2 = x2[ix(t1)];
      return [=](auto v, ix j2) {
        const auto t3 = ld(v, x3 + (m + i2) * 48 + (n + j2));
        const auto t4 = ld(v, x4 + (m + i2) * 48 + (n + j2));
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
          st(v, y + (m + i2) * 48 + (n + j2), t_mul2);
          st(v, y1 + (m + i2) * 48 + (n + j2), t_add);
          st_sum(v, parts + (n + j2) / 16 * 128 + (m + i2), j2, value);
          st(v, y2 + (m + i2) * 48 + (n + j2), value1);
        };
      };
    }, acc);
  }
}
KERNEL_END(ragged_dot_89454119)

// sum
KERNEL void __launch_bounds__(64, BLOCKS(8)) sum_28cd099b(const f32* __restrict__ parts, f32* y) {
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    const ix r = task * 256, rn = ix_min(256, 128 - r);
    par<4>(rn, [&](auto v, ix j) {
      const auto sum = fold_lane<Sum>(3, [&](ix k) { return ld(v, parts + k * 128 + (r + j)); });
      st(v, y + r + j, sum);
    });
  }
}
KERNEL_END(sum_28cd099b)

// transpose ragged_dot
KERNEL void __launch_bounds__(128, BLOCKS(2)) ragged_dot_2459da97(const i32* __restrict__ offsets, const f32* __restrict__ x, const f32* __restrict__ w, f32* y) {
  DYN_SMEM(smem);
  Stage<f32, 64, 32, 4, 128, false, 48> left(smem + 0);
  Stage<f32, 32, 32, 4, 128, true, 48> right(smem + 32768);
  const auto begin = [&](ix e, ix m, ix mn, ix n) INLINE {
    left.bind(mn, [&](ix i, ix j) { return x + (m + i) * 48 + j; });
    right.bind(32, [&](ix j1, ix i1) { return w + e * 1536 + (n + j1) * 48 + i1; });
    load_first<3>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k, 32, kn);
    });
  };
  Ragged tasks(offsets, 4, 1, 64);
  i32 task = blockIdx.x;
  for (bool more = tasks.seek(task); more;) {
    const ix e = tasks.e, m = tasks.at, mn = ix_min(64, tasks.to - tasks.at), n = 0;
    if (task == (i32)blockIdx.x) begin(e, m, mn, n);
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    pipeline<4>(0, 48, 32, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      left.load(s, k, mn, kn);
      right.load(s, k, 32, kn);
    }, [&](ix k, i32 s) {
      const ix kn = ix_min(32, 48 - k);
      mma<32>(left[s], on(right[s], acc));
    });
    task += gridDim.x;
    more = tasks.seek(task);
    if (more) {
      const ix e = tasks.e, m = tasks.at, mn = ix_min(64, tasks.to - tasks.at), n = 0;
      begin(e, m, mn, n);
    }
    each<4, true>(mn, 32, [&](auto v, ix i2, ix j2, auto& acc_) {
      st(v, y + (m + i2) * 32 + (n + j2), acc_);
    }, acc);
  }
}
KERNEL_END(ragged_dot_2459da97)

// broadcast iota eq combine reshape sum div mul neg add const select
KERNEL void __launch_bounds__(32, BLOCKS(16)) mul_a9fcd69c(const i32* __restrict__ x, const i32* __restrict__ x1, const f32* __restrict__ x2, const f32* __restrict__ x3, const f32* __restrict__ x4, const f32* __restrict__ x5, const f32* __restrict__ x6, const f32* x7, f32* y) {
  for (i32 task = blockIdx.x; task < 64; task += gridDim.x) {
    const ix r = task;
    const auto t = x[r * 2];
    const auto t1 = x1[r * 2];
    const auto t2 = x2[ix_min(ix_max(ix(t1), 0), 127)];
    const auto t_combine = and_(ix(t1) >= 0, ix(t1) < 128) ? t2 : 0.0f;
    const auto t3 = x3[r * 2];
    const auto t4 = x3[r * 2 + 1];
    const auto t_sum = t3 + t4;
    const auto t_div = t_combine / t_sum;
    const auto sum = fold<Sum, 1>(2, [&](auto v, ix k) {
      const auto t5 = ld(v, x1 + r * 2 + k);
      const auto t_div1 = where(and_(ix(t5) >= 0, ix(t5) < 128), all(v, x2[ix_min(ix_max(ix(t5), 0), 127)]), 0.0f) / t_sum;
      const auto t6 = ld(v, x4 + r * 2 + k);
      return -(t_div1 * t6);
    });
    const auto t_add = t_div + sum;
    const auto t7 = x[r * 2 + 1];
    const auto t8 = x1[r * 2 + 1];
    const auto t9 = x2[ix_min(ix_max(ix(t8), 0), 127)];
    const auto t_combine1 = and_(ix(t8) >= 0, ix(t8) < 128) ? t9 : 0.0f;
    const auto t_div2 = t_combine1 / t_sum;
    const auto t_add1 = t_div2 + sum;
    const auto t10 = x5[r];
    const auto sum1 = fold<Sum, 4>(4, [&](auto v, ix k1) {
      const auto t_div4 = (where(t == lane(v, i32(k1)), t_add, 0.0f) + where(t7 == lane(v, i32(k1)), t_add1, 0.0f)) / t10;
      const auto t11 = ld(v, x6 + r * 4 + k1);
      return -(t_div4 * t11);
    });
    par<4>(4, [&](auto v, ix j) {
      const auto t_div3 = (where(t == lane(v, i32(j)), t_add, 0.0f) + where(t7 == lane(v, i32(j)), t_add1, 0.0f)) / t10;
      const auto t12 = ld(v, x7 + r * 4 + j);
      const auto t_mul = (t_div3 + sum1) * t12;
      st(v, y + r * 4 + j, t_mul);
    });
  }
}
KERNEL_END(mul_a9fcd69c)

// add combine reshape sum transpose dot
KERNEL void __launch_bounds__(128, BLOCKS(2)) dot_0876f3ce(const f32* __restrict__ a, const f32* __restrict__ b, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ x2, f32* y) {
  DYN_SMEM(smem);
  Stage<f32, 64, 4, 1, 128, false, 4> left(smem + 0);
  Stage<f32, 32, 4, 1, 128, true, 4> right(smem + 1024);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    const ix e = task, mc = 0, n = 0;
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, 64, 4, [&](ix i, ix j) { return a + (mc + i) * 4 + j; });
    right.load(0, 32, 4, [&](ix j1, ix i1) { return b + (n + j1) * 4 + i1; });
    staged();
    mma<4>(left[0], on(right[0], acc));
    each<4, true>(64, 32, [&](auto v, ix i2, ix j2, auto& acc_) {
      const auto t = x[(mc + i2) * 2];
      const auto t1 = x[(mc + i2) * 2 + 1];
      st(v, y + (mc + i2) * 32 + (n + j2), (and_(ix(t) >= 0, ix(t) < 128) ? ld(v, x1 + ix_min(ix_max(ix(t), 0), 127) * 32 + (n + j2)) + ld(v, x2 + ix_min(ix_max(ix(t), 0), 127) * 32 + (n + j2)) : all(v, 0.0f)) + (and_(ix(t1) >= 0, ix(t1) < 128) ? ld(v, x1 + ix_min(ix_max(ix(t1), 0), 127) * 32 + (n + j2)) + ld(v, x2 + ix_min(ix_max(ix(t1), 0), 127) * 32 + (n + j2)) : all(v, 0.0f)) + acc_);
    }, acc);
  }
}
KERNEL_END(dot_0876f3ce)

// transpose dot
KERNEL void __launch_bounds__(64, BLOCKS(2)) dot_597d0b46(const f32* __restrict__ a, const f32* __restrict__ b, f32* y) {
  DYN_SMEM(smem);
  Stage<f32, 64, 32, 1, 64, true, 32> left(smem + 0);
  Stage<f32, 64, 16, 1, 64, false, 4> right(smem + 8192);
  for (i32 task = blockIdx.x; task < 1; task += gridDim.x) {
    const ix e = task, mc = 0, n = 0, nn = ix_min(16, 4 - n);
    Acc<32, 16, 2, 1> acc;
    acc.fill(0.0f);
    __syncthreads();
    left.load(0, 64, 32, [&](ix j, ix i) { return a + j * 32 + (mc + i); });
    right.load(0, 64, nn, [&](ix i1, ix j1) { return b + i1 * 4 + (n + j1); });
    staged();
    mma<64>(left[0], on(right[0], acc));
    each<4, true>(32, nn, [&](auto v, ix i2, ix j2, auto& acc_) {
      st(v, y + (mc + i2) * 4 + (n + j2), acc_);
    }, acc);
  }
}
KERNEL_END(dot_597d0b46)

// broadcast reshape dispatch ragged_outer
KERNEL void __launch_bounds__(64, BLOCKS(2)) ragged_outer_9fde74f1(const i32* __restrict__ offsets, const i32* __restrict__ x, const f32* __restrict__ x1, const f32* __restrict__ y, f32* w) {
  DYN_SMEM(smem);
  Stage<f32, 128, 32, 3, 64, true, 0> left(smem + 0);
  Stage<f32, 128, 16, 3, 64, false, 48> right(smem + 49152);
  const auto begin = [&](ix e, ix m, ix n) INLINE {
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    left.columns([&](ix i) { return x1 + m + i; });
    left.look(ix_min(128, ix(t1) - ix(t)), [&](ix j) { return x[ix(t) + j]; });
    right.bind(128, [&](ix i1, ix j1) { return y + (ix(t) + i1) * 48 + (n + j1); });
    load_first<2>(ix(t), ix(t1), 128, [&](ix r, i32 s) {
      const ix rn = ix_min(128, ix(t1) - r);
      left.gather(s, rn, 32, [&](ix number) { return ix(number) / 2 * 32; });
      left.look(ix_min(128, ix(t1) - (r + 128)), [&](ix j) { return x[r + 128 + j]; });
      right.load(s, (r - ix(t)) * 48, rn, 16);
    });
  };
  i32 task = blockIdx.x;
  for (bool more = task < 12; more;) {
    const ix e = task / 3, m = 0, n = task % 3 * 16;
    if (task == (i32)blockIdx.x) begin(e, m, n);
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    Acc<32, 16, 2, 1> acc;
    acc.fill(0.0f);
    pipeline<3>(ix(t), ix(t1), 128, [&](ix r, i32 s) {
      const ix rn = ix_min(128, ix(t1) - r);
      left.gather(s, rn, 32, [&](ix number) { return ix(number) / 2 * 32; });
      left.look(ix_min(128, ix(t1) - (r + 128)), [&](ix j) { return x[r + 128 + j]; });
      right.load(s, (r - ix(t)) * 48, rn, 16);
    }, [&](ix r, i32 s) {
      const ix rn = ix_min(128, ix(t1) - r);
      mma<128>(left[s], on(right[s], acc));
    });
    task += gridDim.x;
    more = task < 12;
    if (more) {
      const ix e = task / 3, m = 0, n = task % 3 * 16;
      begin(e, m, n);
    }
    each<4, true>(32, 16, [&](auto v, ix i2, ix j2, auto& acc_) {
      st(v, w + e * 1536 + (m + i2) * 48 + (n + j2), acc_);
    }, acc);
  }
}
KERNEL_END(ragged_outer_9fde74f1)

// broadcast reshape dispatch ragged_outer
KERNEL void __launch_bounds__(128, BLOCKS(2)) ragged_outer_9ca10cd9(const i32* __restrict__ offsets, const f32* __restrict__ x, const i32* __restrict__ y, const f32* __restrict__ y1, f32* w) {
  DYN_SMEM(smem);
  Stage<f32, 32, 64, 4, 128, true, 48> left(smem + 0);
  Stage<f32, 32, 32, 4, 128, false, 0> right(smem + 32768);
  const auto begin = [&](ix e, ix m, ix mn, ix n) INLINE {
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    left.bind(32, [&](ix j, ix i) { return x + (ix(t) + j) * 48 + (m + i); });
    right.columns([&](ix j1) { return y1 + n + j1; });
    right.look(ix_min(32, ix(t1) - ix(t)), [&](ix i1) { return y[ix(t) + i1]; });
    load_first<3>(ix(t), ix(t1), 32, [&](ix r, i32 s) {
      const ix rn = ix_min(32, ix(t1) - r);
      left.load(s, (r - ix(t)) * 48, rn, mn);
      right.gather(s, rn, 32, [&](ix number) { return ix(number) / 2 * 32; });
      right.look(ix_min(32, ix(t1) - (r + 32)), [&](ix i1) { return y[r + 32 + i1]; });
    });
  };
  i32 task = blockIdx.x;
  for (bool more = task < 4; more;) {
    const ix e = task, m = 0, mn = ix_min(64, 48 - m), n = 0;
    if (task == (i32)blockIdx.x) begin(e, m, mn, n);
    const auto t = offsets[e];
    const auto t1 = offsets[e + 1];
    Acc<64, 32, 2, 2> acc;
    acc.fill(0.0f);
    pipeline<4>(ix(t), ix(t1), 32, [&](ix r, i32 s) {
      const ix rn = ix_min(32, ix(t1) - r);
      left.load(s, (r - ix(t)) * 48, rn, mn);
      right.gather(s, rn, 32, [&](ix number) { return ix(number) / 2 * 32; });
      right.look(ix_min(32, ix(t1) - (r + 32)), [&](ix i1) { return y[r + 32 + i1]; });
    }, [&](ix r, i32 s) {
      const ix rn = ix_min(32, ix(t1) - r);
      mma<32>(left[s], on(right[s], acc));
    });
    task += gridDim.x;
    more = task < 4;
    if (more) {
      const ix e = task, m = 0, mn = ix_min(64, 48 - m), n = 0;
      begin(e, m, mn, n);
    }
    each<4, true>(mn, 32, [&](auto v, ix i2, ix j2, auto& acc_) {
      st(v, w + e * 1536 + (m + i2) * 32 + (n + j2), acc_);
    }, acc);
  }
}
KERNEL_END(ragged_outer_9ca10cd9)
