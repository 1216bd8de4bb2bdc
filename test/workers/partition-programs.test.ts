// Training steps and mixtures of whole programs by several workers, run together in the interpreter, against one worker.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Loaded, load, loadFile } from "../../compiler/check/index.ts";
import type { Graph, Node, Value } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import type { OpAttrs } from "../../compiler/ops/attrs.ts";
import { partCount } from "../../compiler/partition/store-placement.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { count, dims, dtypeOf } from "../../compiler/types/type.ts";
import { project } from "../project.ts";
import { compare, shown } from "./compare-workers.ts";

const test = suite("partition-programs");

const example = loadFile(join(project, "examples/gpt-moe.moe"));
const sizes = { L: 1, D: 12, H: 8, Heads: 2, E: 6, V: 30, Context: 16 };
/** Rows that choices share are sent once to each owner, whether that saves anything or not. */
const sendingShared = { sharedRows: -Infinity };
for (const { B, accumulate, ...sharing } of [
  { workers: 2, B: 6, accumulate: 1 },
  { workers: 2, B: 6, accumulate: 1, shardOptimizer: true },
  { workers: 3, B: 6, accumulate: 2, shardOptimizer: true },
  { workers: 3, B: 6, accumulate: 1 },
  { workers: 6, B: 6, accumulate: 1, room: 2.5 },
  { workers: 2, B: 2, accumulate: 2 },
  { workers: 4, B: 4, accumulate: 1 }, // experts in two groups of two workers
  { workers: 4, B: 4, accumulate: 2, room: 1.9 },
  { workers: 6, B: 6, accumulate: 1, expertParallel: 2 },
  { workers: 6, B: 6, accumulate: 1, expertParallel: 3, room: 2.9 },
  { workers: 5, B: 5, accumulate: 1 }, // experts stay whole
  { workers: 2, B: 4, accumulate: 2, shadow: 1, shardOptimizer: true },
  { workers: 4, B: 4, accumulate: 1, shadow: 2 },
  { workers: 3, B: 3, accumulate: 1, shadow: 9 }, // all of 6
  { workers: 6, tensorParallel: 2, B: 3, accumulate: 1, shadow: 1 },
  { workers: 2, B: 2, accumulate: 1, expertParallel: 1 },
  { workers: 3, B: 2, accumulate: 1 }, // the batch stays whole
  { workers: 2, tensorParallel: 2, B: 3, accumulate: 2 },
  { workers: 6, tensorParallel: 2, B: 3, accumulate: 1, shardOptimizer: true, room: 2.5 }, // an expert on each
])
  test(`a step of the demo by ${shown(sharing)}, ${B} rows, ${accumulate} times`, () => {
    const of = { sizes: { B, T: 5 }, method: "train" };
    const names = accumulate > 1 ? ["train", "evaluate"] : ["train"]; // whose forward is the same
    const entries = names.map((name) => ({ ...of, name }));
    for (const limits of [{}, sendingShared])
      compare({ program: example, request: { sizes, entries, accumulate, limits }, ...sharing });
  });
const small = (optimizer: string): Loaded =>
  load({
    name: "optimizers.moe",
    text: `import { Linear, RmsNorm, Embedding } from "std/nn"
       import { cross_entropy } from "std/loss"
       import { AdamW, AdEMAMix, Adafactor, Lion, Muon, Sgd } from "std/optim"
       model M(V, D, H) {
         embed: Embedding(V, D)
         norm: RmsNorm(D)
         up: Linear(D, H, biased: true)
         down: Linear(H, D)
         train(tokens: i32[B, T], targets: i32[B, T]) {
           let x = embed(tokens)
           loss language = cross_entropy(embed.logits(x + down(tanh(up(norm(x))))), targets)
           optimize with ${optimizer}
         }
       }`,
  });
const trained = [{ method: "train", name: "train", sizes: { B: 6, T: 3 } }];
for (const optimizer of [
  "AdamW(lr: 0.1)",
  "AdamW(lr: 0.1, clip: inf)",
  "AdEMAMix(warm: 3, lr: 0.1)",
  "Adafactor()",
  "Lion()",
  "Muon()",
  "Sgd(clip: 1)",
])
  test(`each worker steps its part of what all have: ${optimizer}; a matrix of 7 rows is stepped by all`, () => {
    for (const workers of [2, 3]) {
      const sizes = { V: 10, D: 6, H: 7 };
      compare({ program: small(optimizer), request: { sizes, entries: trained }, workers, shardOptimizer: true });
    }
  });
test("gradients of what is stepped in parts are summed in parts; a worker holds its part of the optimizer's state", () => {
  const [whole, parts] = [false, true].map((shardOptimizer) => {
    const request = {
      sizes: { V: 10, D: 6, H: 8 },
      entries: trained,
      precision: "f32",
      workers: 2,
      shardOptimizer,
    } as const;
    return toGraphs(small("AdamW(lr: 0.1)"), request, silentObserver());
  });
  const sums = (of: typeof whole): string[] =>
    nodesOf(of?.graphs.find((g) => g.name === "train") as Graph).flatMap(({ op, results }) =>
      op.name === "all_reduce" || op.name === "all_to_all"
        ? results.filter((r) => count(r.type) > 10).map((r) => `${op.name} ${dims(r.type).join(" ")}`)
        : [],
    );
  assert.equal(sums(whole).toSorted(), ["all_reduce 10 6", "all_reduce 6 8", "all_reduce 8 6"]);
  assert.equal(sums(parts).toSorted(), ["all_to_all 2 3 8", "all_to_all 2 4 6", "all_to_all 2 5 6"]);
  const state = ({ stores }: NonNullable<typeof whole>): number =>
    stores.filter((s) => s.role === "optimizer").reduce((n, s) => n + count(s.type), 0);
  assert.is(whole && parts && state(whole) / state(parts), 2);
});
test("the gradient of a parameter that 5000 rounds of a loop add to is summed in parts", () => {
  const program = load({
    name: "loop.moe",
    text: `import { Sgd } from "std/optim"
       model M(N) {
         param a: float[N] = 0.5
         train(x: float[B, N]) {
           let y = a
           for i in 0:5000 { y = 0.999 * y + a }
           loss square = mean((x - y) * (x - y))
           optimize with Sgd(lr: 0.1)
         }
       }`,
  });
  const entries = [{ method: "train", name: "train", sizes: { B: 4 } }];
  const request = { sizes: { N: 4 }, entries, precision: "f32", workers: 2, shardOptimizer: true } as const;
  const [step] = toGraphs(program, request, silentObserver()).graphs.filter((g) => g.name === "train");
  assert.ok(nodesOf(step as Graph).some((n) => n.op.name === "all_to_all"));
});
test("layers that the backward computes again exchange their rows again", () => {
  const entries = [{ method: "train", name: "train", sizes: { B: 4, T: 5 } }];
  for (const limits of [{}, sendingShared])
    compare({ program: example, request: { sizes: { ...sizes, L: 2 }, entries, limits, recompute: true }, workers: 2 });
});
test("rows of six choices, of which half an owner's are its own, return as one sum of each owner, some of no choice", () => {
  for (const sharing of [{ workers: 2 }, { workers: 3, room: 1.9 }, { workers: 6, expertParallel: 3 }]) {
    const entries = [{ method: "train", name: "train", sizes: { B: 6, T: 5 } }];
    compare({ program: example, request: { sizes: { ...sizes, K: 5 }, entries, limits: sendingShared }, ...sharing });
  }
});

const bodies = loadFile(join(project, "test/programs/bodies.moe"));
const rows = { N: 8, K: 2 };
/** Sizes, and as many workers as share both the batch and the experts. */
const routed: Readonly<Record<string, readonly [sizes: Readonly<Record<string, number>>, workers: number]>> = {
  ScaledRows: [rows, 4],
  PlainMatrix: [rows, 4],
  Shared: [rows, 4],
  Merged: [rows, 4],
  WeightNorm: [rows, 4],
  Biased: [rows, 4],
  Elsewhere: [rows, 4],
  Merging: [rows, 4],
  Gated: [rows, 4],
  Looked: [rows, 4],
  PerChoice: [{ B: 4, T: 3, K: 2 }, 4],
  OwnAxes: [rows, 4],
  Nested: [rows, 4],
  Thrice: [rows, 2],
  Drawn: [rows, 4],
  Whole: [{ N: 6, T: 4 }, 3],
  WholeBlock: [{ N: 6, T: 4 }, 3],
  Different: [rows, 4],
  Pattern: [rows, 4],
  Stacked: [{ C: 3 }, 4],
  StackedMixtures: [{ C: 3 }, 3],
};
for (const [declaration, [sizes, workers]] of Object.entries(routed))
  for (const expertParallel of workers % 2 === 0 ? [workers, 2] : [workers])
    test(`experts of ${declaration} by ${shown({ workers, expertParallel })}, with gradients`, () => {
      const entries = [{ method: "routed", name: "routed", sizes: {}, gradients: true }];
      const room = expertParallel > 2 ? 2 : undefined;
      for (const limits of [{}, sendingShared])
        compare({ program: bodies, request: { declaration, sizes, entries, limits }, workers, expertParallel, room });
    });
for (const declaration of ["Shared", "Biased", "PerChoice", "Thrice", "Drawn", "Different"])
  test(`experts of ${declaration}, those with the most rows where the rows are, with gradients`, () => {
    const [sizes, workers] = routed[declaration] as (typeof routed)[string];
    const entries = [{ method: "routed", name: "routed", sizes: {}, gradients: true }];
    for (const expertParallel of [workers, 2])
      for (const limits of [{}, sendingShared])
        compare({
          program: bodies,
          request: { declaration, sizes, entries, limits },
          workers,
          expertParallel,
          shadow: 2,
        });
  });
test("rows of shadowed experts that workers share out get their own experts' biases", () => {
  const entries = [{ method: "routed", name: "routed", sizes: {}, gradients: true }];
  const request = { declaration: "Biased", sizes: rows, entries };
  compare({ program: bodies, request, workers: 4, tensorParallel: 2, shadow: 2 });
});
/** The same of a batch that the workers cannot divide. */
const undivided: Readonly<Record<string, number>> = { N: 7, K: 2 };
for (const [declaration, [sizes, workers]] of Object.entries(routed))
  if (sizes === rows)
    test(`experts of ${declaration} by ${workers}, all of which have the rows, with gradients`, () => {
      const entries = [{ method: "routed", name: "routed", sizes: {}, gradients: true }];
      for (const expertParallel of workers > 2 ? [workers, 2] : [workers])
        compare({ program: bodies, request: { declaration, sizes: undivided, entries }, workers, expertParallel });
    });

test("experts that another layer holds are shared out like a layer's own: each worker has the same of them, and makes the same steps", () => {
  const [held, own] = ["Elsewhere", "Biased"].map((declaration) => {
    const entries = [{ method: "routed", name: "routed", sizes: {}, gradients: true }];
    const request = { declaration, sizes: rows, entries, workers: 4, precision: "f32" } as const;
    const program = toGraphs(bodies, request, silentObserver());
    const steps = program.graphs.flatMap(nodesOf).map((n) => n.op.name);
    const { bytes } = toPlan(program, silentObserver());
    return { bytes, steps: steps.toSorted() };
  });
  assert.ok((own?.bytes.parameters ?? 0) > 0);
  assert.equal(held, own);
});

const sums = loadFile(join(project, "test/programs/sums.moe"));
for (const method of ["choices", "halves", "split", "kept", "total", "features", "mixed", "turned", "beside"])
  test(`sums over results of experts: ${method}`, () => {
    const entries = [{ method, name: method, sizes: {}, gradients: true }];
    for (const expertParallel of [4, 2])
      for (const limits of [{}, sendingShared])
        for (const sizes of [rows, undivided])
          compare({ program: sums, request: { sizes, entries, limits }, workers: 4, expertParallel });
  });

const nested = loadFile(join(project, "test/programs/nested.moe"));
for (const declaration of ["Twice", "Thrice", "Single", "Unlearned", "Empty", "Handed"])
  for (const { workers, ...sharing } of [
    { workers: 4 },
    { workers: 4, expertParallel: 2, room: 1.5 },
    { workers: 4, expertParallel: 1 },
    { workers: 3 }, // the batch stays whole
  ])
    test(`a mixture in an expert, ${declaration}, by ${shown({ workers, ...sharing })}, with gradients`, () => {
      const entries = [{ method: "routed", name: "routed", sizes: {}, gradients: true }];
      for (const limits of [{}, sendingShared])
        for (const sizes of [rows, undivided])
          compare({ program: nested, request: { declaration, sizes, entries, limits }, workers, ...sharing });
    });
test("of a mixture in an expert a worker holds and learns its share, and only what is not in experts besides; no matrix moves", () => {
  for (const declaration of ["Twice", "Thrice", "Unlearned"]) {
    const [one, two, four] = [1, 2, 4].map((workers) => {
      const entries = [{ name: "train", method: "train", sizes: {} }];
      const request = { declaration, sizes: { N: 8, K: 2, D: 16 }, entries, workers, precision: "f32" } as const;
      const { graphs, stores } = toGraphs(nested, request, silentObserver());
      const gathered = graphs.flatMap(nodesOf).filter((n) => n.op.name === "all_gather");
      assert.ok(gathered.every((n) => n.results.every((r) => r.type.dtype === "i32")));
      return toPlan({ graphs, stores }, silentObserver()).bytes;
    });
    const [all = 0, half = 0, quarter = 0] = [one, two, four].map((bytes) => bytes?.parameters);
    assert.is(all - half, 2 * (half - quarter), declaration);
    assert.ok(quarter < 0.3 * all, `${quarter} of ${all} bytes`);
    for (const bytes of [two, four]) assert.ok((bytes?.gradients ?? Infinity) <= (bytes?.parameters ?? 0), declaration);
  }
});
test("a row of a mixture in an expert is sent to its owner once and its result back, with a few whole numbers, however many inner experts it has", () => {
  for (const [declaration, levels] of [
    ["Twice", 1],
    ["Thrice", 2],
    ["Unlearned", 1],
  ] as const) {
    const [N, K, D, workers] = [8, 2, 16, 4];
    const entries = [{ name: "routed", method: "routed", sizes: {} }];
    const request = { declaration, sizes: { N, K, D }, entries, workers, precision: "f32" } as const;
    const { graphs } = toGraphs(nested, request, silentObserver());
    const sent = graphs.flatMap(nodesOf).flatMap((n) => (n.op.name === "exchange" ? n.results : []));
    const numbers = (dtype: DType): number =>
      sent.filter((v) => dtypeOf(v.type) === dtype).reduce((sum, v) => sum + count(v.type), 0);
    assert.is(numbers("f32"), (N * K + (N * K) / workers) * D, declaration); // an owner has room for all rows
    assert.ok(numbers("i32") <= 5 * levels * N * K, `${declaration}: ${numbers("i32")}`);
  }
});
test("choices share a row with those of another worker: of three rows of two choices, and of one row of all", () => {
  const program = load({
    name: "straddling.moe",
    text: `
      import { Mlp } from "std/nn"
      model Straddling(D = 4, E = 4) {
        experts: Mlp(D, 5)[E]
        param one: f32[D] = 1
        routed(x: f32[3, D], index: i32[6]) -> (f32[3, D], f32[6, D]) {
          let all: f32[6, D] = one
          return sum(experts[reshape(index, [3, 2])](x), axis: 1), experts[index](all)
        }
      }`,
  });
  const entries = [{ method: "routed", name: "routed", sizes: {}, gradients: true }];
  compare({ program, request: { sizes: {}, entries, limits: sendingShared }, workers: 2 });
});
test("two mixtures give all rows the same vector, which learns from rows of both, where either leaves some out", () => {
  const program = load({
    name: "both.moe",
    text: `model Both(D = 3, E = 4) {
        experts: One(D)[E]
        routed(x: f32[N, D], i: i32[N], j: i32[N], all: f32[D]) -> f32[N, D] {
          return experts[i](x, all) + experts[where(j > 1, j, -1)](x, all)
        }
      }
      layer One(D) {
        param weight: f32[D, D] = 0
        forward(x: f32[...S, D], all: f32[D]) -> f32[...S, D] { return x @ weight * all }
      }`,
  });
  const entries = [{ method: "routed", name: "routed", sizes: { N: 8 }, gradients: true }];
  compare({ program, request: { sizes: {}, entries }, workers: 2 });
  compare({ program, request: { sizes: {}, entries }, workers: 4, tensorParallel: 2, shadow: 1 });
});
const bools = load({
  name: "bools.moe",
  text: `model Bools(D = 3, E = 4) {
      experts: One(D)[E]
      routed(x: f32[N, D], index: i32[N]) -> (bool[N, D], i32[N]) {
        let (over, count) = experts[index](x)
        return over, count
      }
    }
    layer One(D) {
      param least: f32[D] = 0
      param weight: f32[D, D] = 0
      forward(x: f32[...S, D]) -> (bool[...S, D], i32[...S]) {
        let over = x @ weight > least
        return over, sum(i32(over), axis: -1)
      }
    }`,
});
test("bools and whole numbers of experts, where all have the rows", () => {
  const entries = [{ method: "routed", name: "routed", sizes: { N: 5 } }];
  for (const expertParallel of [4, 2])
    compare({ program: bools, request: { sizes: {}, entries }, workers: 4, expertParallel });
});

/** The demo's `generate` for a batch of B. */
const generating = (B: number) => ({
  sizes: { ...sizes, L: 2 },
  entries: [1, 3].map((T) => ({
    method: "generate",
    name: `generate:${T}`,
    sizes: { B, T },
    inputs: ["top_p", "top_k"],
  })),
});
for (const { B, ...sharing } of [
  { B: 4, workers: 2 },
  { B: 1, workers: 2 },
  { B: 3, workers: 6, expertParallel: 2 },
])
  test(`tokens of ${B} sequences, with what is kept of them, by ${shown(sharing)}`, () => {
    compare({ program: example, request: generating(B), ...sharing });
  });
/** What workers tell one another for one token of each of B sequences: names and shapes of collectives' results. */
function told(B: number, of: BuildRequest["sizes"] = {}): string[] {
  const { sizes, entries } = generating(B);
  const request = { sizes: { ...sizes, ...of }, entries: entries.slice(0, 1), precision: "f32", workers: 2 } as const;
  const { graphs } = toGraphs(example, request, silentObserver());
  const [one] = graphs.filter((g) => g.name === "generate:1");
  const collectives = nodesOf(one as Graph).filter((n) => n.op.lower === "collective");
  return collectives.map(({ op, results }) => `${op.name} ${results.map((r) => dims(r.type).join(" ")).join()}`);
}
test("one token: where all have its row, one sum of a row for each mixture; else rows go to their experts, and no matrix or cache moves", () => {
  assert.equal(told(1), ["all_reduce 1 12", "all_reduce 1 12"]);
  assert.equal(told(3), ["all_reduce 3 12", "all_reduce 3 12"]);
  const mixture = ["all_gather 2 7", "exchange 8 1 12", "exchange 4 1 12"];
  assert.equal(told(4), [...mixture, ...mixture, "all_gather 4"]);
});
const memories = load({
  name: "memories.moe",
  text: `model Memories(M = 4, D = 3) {
      state seen: f32[6, D] = 0
      read(x: f32[B, D]) -> f32[B, D] {
        state known: f32[B, D] = 0
        state bank: f32[M, D] = 0
        update known = known + x
        update seen = seen + 1
        update bank = 0.5 * bank + mean(x, axis: 0)
        return known + x @ transpose(bank) @ bank
      }
    }`,
});
test("a state that is not of the batch's rows is on each worker, whatever divides its length", () => {
  for (const [B, split] of [
    [6, { known: 2 }],
    [3, {}],
  ] as const) {
    const request = { sizes: {}, entries: [{ method: "read", name: "read", sizes: { B } }] };
    compare({ program: memories, request, workers: 2 });
    const { graphs, stores } = toGraphs(memories, { ...request, precision: "f32", workers: 2 }, silentObserver());
    const shared = stores.flatMap((s) =>
      s.role === "state" && s.shards ? [[s.name.replace("read/", ""), partCount(s)]] : [],
    );
    assert.equal(Object.fromEntries(shared), split);
    const [read] = graphs.filter((g) => g.name === "read");
    const told = nodesOf(read as Graph)
      .filter((n) => n.op.lower === "collective")
      .map((n) => n.op.name);
    assert.equal(told, B === 6 ? ["all_reduce", "all_gather"] : []);
  }
});
test("a worker keeps the keys and values of its own sequences", () => {
  const [whole, half] = [1, 2].map((workers) => {
    const request = { ...generating(4), precision: "f32", workers } as const;
    const { stores } = toGraphs(example, request, silentObserver());
    return stores.filter((s) => s.role === "state").reduce((n, s) => n + count(s.type), 0);
  });
  assert.is(half, (whole ?? 0) / 2);
});
/** Rows of the demo, of four choices each, for which an owner has room: as they come, and as they go back. */
function exchanged(T: number, precision: "f32" | "bf16", workers: number): Value[] {
  const entries = [{ method: "train", name: "train", sizes: { B: 6, T } }];
  const wide = { ...sizes, D: 64, K: 4, V: 256, Context: T };
  const { graphs } = toGraphs(example, { sizes: wide, entries, workers, precision }, silentObserver());
  const all = graphs.flatMap(nodesOf).filter((n) => n.op.name === "exchange") as Node<OpAttrs["exchange"]>[];
  return all.flatMap((n) => (n.attrs.back ? n.args.slice(0, 1) : n.results)).filter((v) => dims(v.type).at(-1) === 64);
}
test("a row is sent once to each owner of its choices' experts, and comes back once, in its own dtype, where that saves more than it costs", () => {
  for (const precision of ["f32", "bf16"] as const)
    for (const [T, workers, each, back = each] of [
      [4, 2, 4],
      [1024, 2, 1, 4],
      [8192, 2, 1],
      [1024, 6, 4], // 3.1 owners of four choices
      [8192, 6, 1, 4],
    ] as const) {
      const rows = exchanged(T, precision, workers);
      assert.ok(rows.every((v) => dtypeOf(v.type) === precision));
      assert.equal(
        rows.map((v) => dims(v.type)[0]),
        [each, back, each, back].map((n) => 6 * T * n),
        `${precision}, ${T}, ${workers}`,
      );
    }
});
test.run();
