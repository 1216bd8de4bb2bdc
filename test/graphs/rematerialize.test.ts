// `recompute`: the backward makes each layer of an array again, from what entered it. The same numbers in less memory; sums of
// gradients may be added in another order.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Loaded, load, loadFile } from "../../compiler/check/index.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph } from "../../compiler/graph/node.ts";
import { nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import { hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type Sizes, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { printPlan } from "../../compiler/plan/print.ts";
import { backends } from "../../compiler/targets.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import { moe, type Tensor, train } from "../../runtime/index.ts";
import { assertProblem } from "../assert-problem.ts";
import { targets } from "../embed-programs.ts";
import { storesOf } from "../graphs.ts";
import { squared } from "../on-workers.ts";
import { project } from "../project.ts";

const test = suite("rematerialize");

interface Asked {
  readonly program: Loaded;
  readonly sizes: Sizes;
  readonly precision?: Precision;
  readonly accumulate?: number;
}
function built({ program, sizes, precision = "f32", accumulate = 1 }: Asked, recompute: boolean) {
  const entries = [{ method: "train", name: "train", sizes: {} }];
  return toGraphs(program, { sizes, precision, entries, accumulate, recompute }, silentObserver());
}
const count = (graph: Graph, name: string): number => nodesOf(graph).filter((n) => n.op.name === name).length;
/** How many RmsNorms are computed: by them, how often layers are. */
const norms = (graph: Graph): number =>
  nodesOf(graph).filter((n) => n.op.name === "unary" && (n.attrs as { fn: string }).fn === "rsqrt").length;
/** Both graphs of a training step, which must give the same numbers, to `tolerance` of a tensor's largest. */
function compared(asked: Asked, tolerance = 0): readonly [kept: Graph, again: Graph] {
  const [kept, again] = [false, true].map((recompute) =>
    built(asked, recompute).graphs.find((g) => g.name === "train"),
  ) as [Graph, Graph];
  const numbers = [...storesOf(valuesOf(kept))];
  const stores = new Map(numbers.map(([name, x]) => [name, /\.v$|train\//.test(name) ? squared(x) : x]));
  const [wanted, found] = [kept, again].map((graph) => {
    const values = interpret(valuesOf(graph), stores);
    return new Map(graph.results.map(({ role, name }, i) => [`${role} ${name}`, [...(values[i]?.data ?? [])]]));
  }) as [Map<string, number[]>, Map<string, number[]>];
  assert.equal([...found.keys()].toSorted(), [...wanted.keys()].toSorted());
  for (const [name, x] of wanted) {
    const y = found.get(name) ?? [];
    const most = Math.max(...x.map(Math.abs));
    assert.ok(most < Infinity && y.length === x.length, `${name} has numbers that tell something`);
    x.forEach((v, i) =>
      assert.ok(Math.abs(v - (y[i] ?? Number.NaN)) <= tolerance * most, `${name} [${i}]: ${y[i]}, not ${v}`),
    );
  }
  return [kept, again];
}

const example = loadFile(join(project, "examples/gpt-moe.moe"));
const small = { L: 3, D: 12, H: 8, Heads: 2, E: 4, V: 30, Context: 16, B: 3, T: 5 };
for (const accumulate of [1, 2])
  test(`a step of the demo, ${accumulate} times: all layers are made again, and each waits for the gradients of the next`, () => {
    const [kept, again] = compared({ program: example, sizes: small, accumulate });
    assert.is(norms(again) - norms(kept), 2 * 3);
    assert.is(count(again, "top_k"), count(kept, "top_k"), "the routers' choices are kept");
    assert.is(count(again, "after"), 3);
  });
test("in bf16", () => {
  compared({ program: example, sizes: small, precision: "bf16" });
});

const text = (lines: string): Loaded =>
  load({
    name: "layers.moe",
    text: `import { Linear, RmsNorm, SwiGlu, dropout } from "std/nn"
       import { MoE } from "std/moe"
       import { TopKGate } from "std/gates"
       import { AdamW, Sgd } from "std/optim"
       layer Block(D) {
         norm: RmsNorm(D)
         feed: MoE(D, 2, 3, TopKGate(D, 3, 2), SwiGlu(D, 5))
         forward(x: float[N, D]) -> float[N, D] { return x + feed(norm(x)) }
       }
       layer Pair(D) {
         blocks: Block(D)[2]
         forward(x: float[N, D]) -> float[N, D] {
           for block in blocks { x = block(x) }
           return x
         }
       }
       layer Gated(D) {
         gate: Linear(D, D)
         forward(x: float[N, D]) -> float[N, D] { return x * tanh(gate(x)) }
       }
       layer Cross(D) {
         a: Linear(D, D)
         b: Linear(D, D)
         forward(x: float[N, D], memory: float[N, D]) -> (float[N, D], float[N]) {
           let y = x + dropout(tanh(a(x)), 0.25) * b(memory)
           loss small = 0.1 * mean(y * y)
           return y, sum(y, axis: -1)
         }
       }
       ${lines}`,
  });
const trained = `loss square = mean(y * y)
           optimize with Sgd(lr: 0.1)`;
const programs: Readonly<Record<string, readonly [text: string, again: number]>> = {
  "arrays of layers inside layers of an array: the outer ones": [
    `model M(D) {
       pairs: Pair(D)[2]
       train(x: float[N, D]) {
         let y = x
         for pair in pairs { y = pair(y) }
         ${trained}
       }
     }`,
    4,
  ],
  "an array inside a layer that stands alone": [
    `model M(D) {
       pair: Pair(D)
       train(x: float[N, D]) {
         let y = pair(x)
         ${trained}
       }
     }`,
    2,
  ],
  "layers by their index, one of them twice, with work between them": [
    `model M(D) {
       blocks: Block(D)[2]
       train(x: float[N, D]) {
         let y = blocks[1](tanh(blocks[0](x)) + x)
         y = blocks[1](y) * y
         ${trained}
       }
     }`,
    3,
  ],
};
for (const [what, [lines, again]] of Object.entries(programs))
  test(what, () => {
    const [before, after] = compared({ program: text(lines), sizes: { D: 4, N: 6 }, precision: "f64" }, 1e-12);
    assert.is(norms(after) - norms(before), again);
  });
test("several arguments and results, a skipped layer, losses and random numbers inside of layers", () => {
  const program = text(`model M(D) {
       first: Linear(D, D)
       blocks: Cross(D)[3]
       train(x: float[N, D]) {
         let memory = first(x)
         let y = x
         let sums: float[N] = 0
         for block in blocks {
           let (z, s) = block(y, memory)
           y = z + 0.5 * x
           sums = sums + s
         }
         y = y * sums[:, new]
         ${trained}
       }
     }`);
  const [, again] = compared({ program, sizes: { D: 4, N: 6 }, precision: "f64" }, 1e-12);
  assert.ok(count(again, "after") >= 3);
});

/** How many products a step of three gated layers has: with all kept, and with each layer made again. */
const productsOf = (lines: string): number[] => {
  const program = text(`model M(D) {
    inner: Gated(D)[3]
    param scale: float[D] = 1
    train(x: float[N, D]) {
      let y = scale * x
      for each in inner { y = each(y) }
      ${lines}
    }
  }`);
  return [false, true].map((recompute) => {
    const { graphs } = built({ program, sizes: { D: 4, N: 6 } }, recompute);
    return count(graphs.find((g) => g.name === "train") as Graph, "dot");
  });
};
test("weights that are not trained have no gradients, which no layer waits for", () => {
  assert.equal(productsOf(trained), [9, 12]);
  assert.equal(productsOf(`optimize inner with none\n${trained}`), [6, 9]);
});
test("memory holds what passes between layers, the routers' choices, and one layer", () => {
  const sizes = { ...small, L: 12, D: 64, H: 128, Heads: 4, B: 32, T: 256, Context: 256 };
  const [kept, again] = [false, true].map((r) => toPlan(built({ program: example, sizes }, r), silentObserver()).bytes);
  if (!kept || !again) throw new Error("two plans");
  const between = 32 * 256 * 64 * 4;
  const choices = 12 * 32 * 256 * 2 * 16;
  const rest = again.activations - 13 * between - choices;
  assert.ok(rest < 2 * between, `${again.activations} bytes are kept: ${rest} besides 13 tensors of ${between}`);
  const least = ({ parameters, optimizer, gradients, activations }: typeof kept): number =>
    parameters + optimizer + gradients + activations;
  assert.ok(
    kept.arena < 1.05 * least(kept),
    `${kept.arena} bytes, ${least(kept)} of which are needed at one time or another`,
  );
  assert.ok(again.arena < kept.arena / 3, `${again.arena} bytes for ${kept.arena}`);
});

test("a layer's own methods, and what it calls, are made again with it", () => {
  const program = text(`layer Halves(D) {
       feed: Linear(D, D)
       half(x: float[N, D]) -> float[N, D] { return x + 0.5 * tanh(feed(x)) }
       forward(x: float[N, D]) -> float[N, D] { return half(half(x)) }
     }
     model M(D) {
       blocks: Halves(D)[2]
       train(x: float[N, D]) {
         let y = x
         for block in blocks { y = block(y) }
         ${trained}
       }
     }`);
  const [, again] = compared({ program, sizes: { D: 4, N: 6 }, precision: "f64" }, 1e-12);
  assert.is(count(again, "after"), 2);
});
/** Plans of a model of eight layers, whose weights are large beside its batch. */
const widePlans = (layer: string, optimizer: string): Plan[] => {
  const program = text(`model M(D) {
       first: Linear(D, D)
       blocks: ${layer}[8]
       train(x: float[N, D]) {
         let y = first(x)
         for block in blocks { y = y + tanh(block(y)) }
         loss square = mean(y * y)
         optimize with ${optimizer}
       }
     }`);
  const backend = { ...backends.host, choices: hostChoicesOf(64) };
  return [false, true].map((r) =>
    toPlan(built({ program, sizes: { D: 256, N: 64 } }, r), silentObserver(), undefined, undefined, backend),
  );
};
test("each layer's weights are updated before the layer in front of it is made again", () => {
  const [, again] = widePlans("MoE(D, 2, 4, TopKGate(D, 4, 2), SwiGlu(D, D))", "Sgd(lr: 0.1)");
  const { arena = 0, parameters = 0, optimizer = 0 } = again?.bytes ?? {};
  const temporary = arena - parameters - optimizer;
  assert.ok(temporary < parameters / 2, `${temporary} bytes beside parameters of ${parameters}`);
});
const inPanels = (plan: Plan): number => printPlan(plan).match(/buffer dot\S*: f32\[256, 256\], panels/g)?.length ?? 0;
test("gradients that layers wait for lie in panels, as they do without", () => {
  assert.equal(widePlans("Linear(D, D)", "AdamW(clip: 1)").map(inPanels), [9, 9]);
});
const matrices = (plan: Plan): number => printPlan(plan).match(/buffer \S*: f32\[256, 256\]/g)?.length ?? 0;
test("a gradient that its product's kernel uses up is not stored for what waits for it", () => {
  const [kept, again] = widePlans("Linear(D, D)", "Sgd(lr: 0.1)").map(matrices);
  assert.is(again, kept);
});

test("without layers of an array, or without training, it is refused", async () => {
  const one = text(`model M(D) {
    block: Block(D)
    train(x: float[N, D]) {
      let y = block(x)
      ${trained}
    }
  }`);
  const asked = { program: one, sizes: { D: 4, N: 6 } };
  await assertProblem(
    () => built(asked, true),
    "`train` calls no array of layers one after the other",
    /leave `--recompute`.*out, or put/,
  );
  const entries = [{ method: "forward", name: "forward", sizes: { B: 1, T: 2 } }];
  const request = { sizes: small, precision: "f32", entries, recompute: true } as const;
  await assertProblem(() => toGraphs(example, request, silentObserver()), "nothing is trained here", "--recompute");
});

const { Deep } = moe<"Deep">`
  import { MoE } from "std/moe"
  import { NoisyGate } from "std/gates"
  import { SwiGlu } from "std/nn"
  import { AdamW } from "std/optim"
  model Deep(D) {
    layers: MoE(D, 2, 3, NoisyGate(D, 3, 2), SwiGlu(D, 8))[3]
    train(x: float[N, D]) {
      let y = x
      for mixture in layers { y = y + mixture(y) }
      loss square = mean((y - 1) * (y - 1))
      optimize with AdamW(lr: 1e-2)
    }
  }`;
for (const target of targets)
  test(`training ends with the same bits, on ${target}`, async () => {
    const batches = Array.from({ length: 4 }, (_, step) => ({
      x: Float32Array.from({ length: 5 * 4 }, (_, i) => Math.sin(3 * step + i)),
    }));
    const last = async (recompute: boolean): Promise<Map<string, Tensor>> => {
      let state = new Map<string, Tensor>();
      for await (const { program } of train(Deep, { batches, sizes: { D: 4, N: 5 }, target, recompute }))
        state = program.state();
      return state;
    };
    assert.equal(await last(true), await last(false));
  });

test.run();
