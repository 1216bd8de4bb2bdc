// Training steps of workers that divide the parameters outside experts, run together in the interpreter, against one worker; and what each holds and moves.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Loaded, load, loadFile } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Graph, Node } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { partCount } from "../../compiler/partition/store-placement.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { count, dims, dtypeOf } from "../../compiler/types/type.ts";
import { type CompileRequest, compileProgram } from "../../runtime/compile.ts";
import { project } from "../project.ts";
import { compare, shown } from "./compare-workers.ts";

const test = suite("partition-parameters");

const example = loadFile(join(project, "examples/gpt-moe.moe"));
const sizes = { L: 3, D: 12, H: 8, Heads: 2, E: 6, V: 30, Context: 16 };
for (const { B, accumulate, recompute, ...sharing } of [
  { workers: 2, B: 2, accumulate: 1, recompute: true },
  { workers: 3, B: 3, accumulate: 2 },
  { workers: 4, tensorParallel: 2, B: 2, accumulate: 1, expertParallel: 1 },
  { workers: 2, B: 1, accumulate: 1, shadow: 1 }, // the batch stays whole
])
  test(`a step of the demo by ${shown({ ...sharing, shardParameters: true })}, ${B} rows, ${accumulate} times`, () => {
    const names = accumulate > 1 ? ["train", "evaluate"] : ["train"]; // whose forward is the same
    const entries = names.map((name) => ({ sizes: { B, T: 5 }, method: "train", name }));
    const request = { sizes: { ...sizes, L: recompute ? 3 : 1 }, entries, accumulate, recompute };
    compare({ program: example, request, ...sharing, shardParameters: true });
  });

/** Layers `first.0`, ..., a table that the head shares, and a matrix of 7 columns. */
const layered = (optimizer: string): Loaded =>
  load({
    name: "layered.moe",
    text: `import { Linear, RmsNorm, Embedding } from "std/nn"
       import { cross_entropy } from "std/loss"
       import { AdamW, AdEMAMix, Adafactor, Lion, Muon, Sgd } from "std/optim"
       layer Block(D, H) {
         norm: RmsNorm(D)
         up: Linear(D, H, biased: true)
         down: Linear(H, D)
         forward(x: float[...S, D]) -> float[...S, D] { return x + down(tanh(up(norm(x)))) }
       }
       model M(V, D, H, L) {
         embed: Embedding(V, D)
         first: Block(D, H)[L]
         odd: Linear(D, 7)
         even: Linear(7, D)
         train(tokens: i32[B, T], targets: i32[B, T]) {
           let x = embed(tokens)
           for block in first { x = block(x) }
           loss language = cross_entropy(embed.logits(x + even(odd(x))), targets)
           optimize with ${optimizer}
         }
       }`,
  });
const layeredSizes = { V: 10, D: 6, H: 8, L: 2 };
const trained = [{ method: "train", name: "train", sizes: { B: 6, T: 3 } }];
for (const optimizer of [
  "AdamW(lr: 0.1, average: 0.9)",
  "AdEMAMix(warm: 3, lr: 0.1)",
  "Adafactor()",
  "Lion()",
  "Muon()",
  "Sgd(clip: 1)",
])
  test(`each worker steps its part of the parameters: ${optimizer}`, () => {
    for (const workers of [2, 3])
      compare({
        program: layered(optimizer),
        request: { sizes: layeredSizes, entries: trained },
        workers,
        shardParameters: true,
      });
  });
const frozen = load({
  name: "frozen.moe",
  text: `import { Linear } from "std/nn"
     import { AdamW } from "std/optim"
     model M(D, R) {
       base: Linear(D, D)
       down: Linear(D, R)
       up: Linear(R, D)
       train(x: f32[B, D]) {
         let y = base(x) + up(down(x))
         loss square = mean(base(y) * base(y))
         optimize down, up with AdamW(lr: 0.1)
       }
     }`,
});
test("parameters that are not trained are divided too", () => {
  const request = { sizes: { D: 6, R: 2 }, entries: [{ method: "train", name: "train", sizes: { B: 4 } }] };
  compare({ program: frozen, request, workers: 2, shardParameters: true });
  const { stores } = toGraphs(frozen, { ...request, ...divided }, silentObserver());
  assert.ok(stores.every((s) => s.role !== "parameter" || partCount(s) === 2));
});

const divided = { precision: "f32", workers: 2, shardParameters: true } as const;
/** What one of two workers runs. */
function made(request: Partial<BuildRequest> = {}): {
  readonly train: readonly Node[];
  readonly held: Map<string, number>;
} {
  const all = { sizes: layeredSizes, entries: trained, ...divided, ...request };
  const { graphs, stores } = toGraphs(layered("AdamW(lr: 0.1, clip: inf)"), all, silentObserver());
  const held = new Map<string, number>();
  for (const s of stores) held.set(s.role, (held.get(s.role) ?? 0) + count(s.type));
  return { train: nodesOf(graphs.find((g) => g.name === "train") as Graph), held };
}
const collectives = (nodes: readonly Node[], name: string): string[] =>
  nodes.flatMap(({ op, args, results }) => {
    const [from, to] = [args[0]?.node.op.name, results[0]?.type];
    return op.name === name && to && count(to) > 10
      ? [`${from === "after" ? "again " : ""}${dtypeOf(to)} ${dims(to).join(" ")}`]
      : [];
  });
test("a worker holds its part of the matrices, of the optimizer's state and of sums of gradients; vectors of parameters are on each", () => {
  const [whole, parts] = [made({ shardParameters: false, accumulate: 2 }), made({ accumulate: 2 })];
  const vectors = 2 * (6 + 8);
  const all = whole.held.get("parameter") ?? 0;
  assert.is(parts.held.get("parameter"), (all - vectors) / 2 + vectors);
  assert.is(parts.held.get("optimizer"), all); // two numbers of each
  assert.is(parts.held.get("gradient"), all / 2 + 1);
});
/** The matrices of both blocks. */
const blocks = (how: string): string[] => [1, 2].flatMap(() => [`${how}f32 6 8`, `${how}f32 8 6`]);
test("matrices are gathered for each visit of their layer, for its forward and backward once where they follow; gradients are summed in parts", () => {
  const { train } = made();
  const forward = ["f32 10 6", ...blocks(""), "f32 6 7", "f32 6 7"];
  const backward = ["again f32 10 6", "again f32 6 7", ...blocks("again ")]; // `even` is the last before the table
  assert.equal(collectives(train, "all_gather").toSorted(), [...forward, ...backward].toSorted());
  assert.equal(collectives(train, "all_to_all").length, 2 * 2 + 3);
  assert.equal(collectives(train, "all_reduce"), []);
});
test("what is made of parameters alone is made of whole ones where rows meet it, and of parts in the optimizer's step", () => {
  const program = load({
    name: "decaying.moe",
    text: `import { normal } from "std/init"
       import { AdamW } from "std/optim"
       model M(D, N) {
         param rate: f32[D, N] = normal()
         param table: f32[D, N] = normal()
         train(x: f32[B, D]) {
           let memory = x[:, :, new] * exp(rate)[new]
           loss square = mean(memory ** 2) + mean((x @ tanh(table)) ** 2)
           optimize with AdamW(clip: inf)
         }
       }`,
  });
  const entries = [{ method: "train", name: "train", sizes: { B: 10 } }];
  const { graphs } = toGraphs(program, { sizes: { D: 8, N: 6 }, entries, ...divided }, silentObserver());
  const train = nodesOf(graphs[1] as Graph);
  assert.equal(collectives(train, "all_gather"), ["f32 8 6", "f32 8 6"]);
  assert.not(train.some(({ op }) => op.name === "gather")); // the step's part of what was gathered is the part that it was gathered from
  assert.equal(collectives(train, "all_to_all"), ["f32 2 4 6", "f32 2 4 6"]);
  compare({ program, request: { sizes: { D: 8, N: 6 }, entries }, workers: 2, shardParameters: true });
});
test("squares of a matrix that are only summed are of its part; three matrices of an element of an array are kept together", () => {
  const program = load({
    name: "gated.moe",
    text: `import { Linear } from "std/nn"
       import { AdamW } from "std/optim"
       layer Gated(D, H) {
         up: Linear(D, H)
         gate: Linear(D, H)
         down: Linear(H, D)
         forward(x: f32[B, D]) -> f32[B, D] { return x + down(tanh(up(x)) * gate(x)) }
       }
       model M(D, H) {
         param scale: f32[D] = 1
         blocks: Gated(D, H)[3]
         idle: Linear(D, H)
         train(x: f32[B, D]) {
           let y = scale * x
           for block in blocks { y = block(y) }
           loss square = mean(y ** 2)
           metric size = sum(idle.weight * idle.weight)
           optimize with AdamW(clip: inf)
         }
       }`,
  });
  const request = { sizes: { D: 4, H: 8 }, entries: [{ method: "train", name: "train", sizes: { B: 10 } }] };
  const { graphs } = toGraphs(program, { ...request, ...divided }, silentObserver());
  const gathers = collectives(nodesOf(graphs[1] as Graph), "all_gather");
  const again = gathers.filter((what) => what.startsWith("again"));
  assert.equal([gathers.length - again.length, again.length], [3 * 3, 3]); // of the first block; the last two are kept
  compare({ program, request, workers: 2, shardParameters: true });
});
test("matrices of experts of two kinds, which are joined, are gathered in bf16 as others are", () => {
  const program = load({
    name: "kinds.moe",
    text: `import { Linear } from "std/nn"
       import { AdamW } from "std/optim"
       layer Bent(D) {
         inner: Linear(D, D)
         forward(x: float[...S, D]) -> float[...S, D] { return tanh(inner(x)) }
       }
       model M(D) {
         experts: [Linear(D, D)[2], Bent(D)[2]]
         train(x: float[B, D], index: i32[B]) {
           loss square = mean(f32(experts[index](x)) ** 2)
           optimize with AdamW(clip: inf)
         }
       }`,
  });
  const entries = [{ method: "train", name: "train", sizes: { B: 10 } }];
  const { graphs } = toGraphs(program, { sizes: { D: 4 }, entries, ...divided, precision: "bf16" }, silentObserver());
  const gathers = collectives(nodesOf(graphs[1] as Graph), "all_gather");
  assert.equal(
    gathers.filter((what) => what.endsWith("4 4")),
    Array(4).fill("bf16 4 4"),
  );
});
test("what a gather waits for is no view, which would be stored for it", () => {
  const waiting = made().train.filter(({ op, args }) => op.name === "after" && args[0]?.node.op.name === "param");
  assert.is(waiting.length, 6);
  for (const { args } of waiting) {
    assert.is(args.length, 2);
    assert.is.not(args[1]?.node.op.lower, "view");
  }
});
const heads = load({
  name: "heads.moe",
  text: `import { Linear } from "std/nn"
     import { cross_entropy } from "std/loss"
     import { AdamW } from "std/optim"
     model M(D, V) {
       body: Linear(D, D)[3]
       heads: Linear(D, V)[3]
       train(x: f32[B, D], targets: i32[B]) {
         let y = x
         for linear in body { y = tanh(linear(y)) }
         loss first = cross_entropy(heads[0](y), targets)
         loss second = cross_entropy(heads[1](y), targets)
         loss third = cross_entropy(heads[2](y), targets)
         optimize with AdamW()
       }
     }`,
});
test("heads are cut into pieces of rows as they are where all workers have them, though a gather waits beside their gradients", () => {
  const [rows, columns] = [8, 32];
  const entries = [{ method: "train", name: "train", sizes: { B: 2 * rows } }];
  const request = { sizes: { D: 4, V: columns }, entries, limits: { heads: 64 } };
  const { graphs } = toGraphs(heads, { ...request, ...divided }, silentObserver());
  const shapes = nodesOf(graphs[1] as Graph).map(({ results: [made] }) => (made ? dims(made.type) : []));
  assert.not(shapes.some((shape) => shape[0] === rows && shape[1] === columns));
});
test("with recomputation a layer's matrices are gathered once for its second forward and its backward; of bf16 half the bytes move", () => {
  const { train } = made({ recompute: true, precision: "bf16" });
  const found = collectives(train, "all_gather");
  assert.ok(found.every((what) => what.includes("bf16")));
  assert.is(found.length, 2 * 7 - 1);
});
/** What a step of so many layers takes besides stores, in matrices of a layer. */
function temporary(L: number, V: number): number {
  const sizes = { V, D: 512, H: 8192, L };
  const entries = [{ method: "train", name: "train", sizes: { B: 8, T: 3 } }];
  const request = { sizes, entries, ...divided, workers: 4, recompute: true };
  const { bytes } = toPlan(toGraphs(layered("AdamW(lr: 0.1)"), request, silentObserver()), silentObserver());
  return (bytes.arena - bytes.parameters - bytes.optimizer) / (4 * 512 * 8192);
}
test("what a step takes besides stores grows with the layers by parts of gradients alone, and with the vocabulary by one table", () => {
  const few = temporary(4, 512);
  assert.ok(temporary(12, 512) - few < 1.01 * ((8 * 2) / 4));
  for (const V of [8 * 8192, 8 * 8192 + 1]) // of which the workers divide the rows, or the columns
    assert.ok(temporary(4, V) - few < 2.4 * 8); // the table, its gradient, and a part of terms
});
test("where parameters do not fit each worker, it is told to divide them; not to keep as codes what is divided", async () => {
  const path = join(project, "examples/gpt-moe.moe");
  const entries = [{ method: "train", name: "train", sizes: { B: 2, T: 4 } }];
  const huge = { path, target: "host", precision: "f32", sizes: { ...sizes, L: 1, D: 2 ** 20 }, entries } as const;
  const advice = (how: Partial<CompileRequest>): Promise<string> =>
    compileProgram({ ...huge, ...how }).then(
      () => "",
      (error: unknown) => (error instanceof Problem ? error.help : String(error)),
    );
  assert.match(await advice({}), /^if most of them are not trained/);
  assert.match(await advice({ workers: 2 }), /^give `--shard-parameters` .*, or if most of them are not trained/);
  assert.match(await advice({ workers: 2, shardParameters: true }), /^lower the model's sizes/);
});
test("codes are not divided", () => {
  assert.throws(
    () => made({ weights: "int8" }),
    (error: Error) => error.message.includes("weights that are kept as codes are whole on each worker"),
  );
});
test.run();
