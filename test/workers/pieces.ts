// One of the workers that test/workers/pieces.test.ts starts: training steps whose rows are exchanged in pieces, against the same with rows exchanged as a
// whole. Fails with a stack.
import assert from "node:assert/strict";
import { load } from "../../compiler/check/index.ts";
import { emitHost, hostHeader } from "../../compiler/emit/unit.ts";
import { choosePanels } from "../../compiler/lower/layout.ts";
import { lower } from "../../compiler/lower/lower.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../../compiler/pipeline.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { isBeside, type Plan } from "../../compiler/plan/plan.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { panelWidth } from "../../runtime/host/backend.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { bytesOfTensor, fromNumbers } from "../../runtime/tensor.ts";
import { workers as launched } from "../../runtime/workers/workers.ts";
import { filled } from "../graphs.ts";

const world = launched();
const { rank, size: workers } = world;
const width = panelWidth(await toolchain());
const program = load({
  name: "mixtures.moe",
  text: `import { Embedding, SwiGlu } from "std/nn"
    import { MoE } from "std/moe"
    import { TopKGate } from "std/gates"
    import { cross_entropy } from "std/loss"
    import { Sgd } from "std/optim"
    model Mixtures(V, D, H, L, E, K) {
      embed: Embedding(V, D)
      mixtures: MoE(D, K, E, TopKGate(D, E, K), SwiGlu(D, H))[L]
      train(tokens: i32[B, T], targets: i32[B, T]) {
        let x = embed(tokens)
        for mixture in mixtures { x = x + mixture(x) }
        loss language = cross_entropy(embed.logits(x), targets)
        optimize with Sgd(lr: 0.1, clip: 1)
      }
    }`,
});
const sizes = { D: 40, H: 264, V: 30 };

interface Case extends Pick<BuildRequest, "recompute" | "shadow" | "expertParallel"> {
  readonly precision?: "f32" | "bf16";
  readonly E: number;
  readonly K: number;
  readonly L?: number;
  /** How many pieces there are of the exchanges that are cut; 1: none is. */
  readonly pieces: number;
}
/** Plans of a training step whose pieces have so many bytes at least. */
function plansOf({ E, K, L = 1, precision = "f32", ...more }: Case): (leastPiece: number) => Plan {
  const entries = [{ method: "train", name: "train", sizes: { B: 4 * workers, T: 31 } }];
  const request: BuildRequest = { sizes: { ...sizes, E, K, L }, entries, precision, workers, ...more };
  const { graphs, stores } = toGraphs(program, request, silentObserver());
  const panels = choosePanels(graphs, stores, width);
  const sequences = graphs.map((graph) => lower(graph, { emit: emitHost, panels, stores }));
  return (leastPiece) => planMemory(sequences, stores, { target: "host", header: hostHeader(), leastPiece });
}
/** The bits of all that three steps make. In the second all rows are alike, so most experts have none. */
async function run(plan: Plan, threads: number): Promise<Uint8Array[]> {
  // the first worker compiles, and the others find its kernels
  const executable = await world.localFirst("compile", () => hostExecutable(plan, { threads, poison: true }));
  await executable.run("init", new Map(), { seed: 1, call: 0, step: 0, rank });
  const bits: Uint8Array[] = [];
  for (let step = 0; step < 3; step++) {
    const tokens = new Map(["tokens", "targets"].map((name) => [name, drawn(name, step, executable)]));
    const { losses, outputs, metrics } = await executable.run("train", tokens, { seed: 1, call: step, step, rank });
    bits.push(new Uint8Array(Float64Array.from(losses.values()).buffer));
    bits.push(...[...outputs, ...metrics.values()].map(bytesOfTensor));
  }
  for (const { name, role } of executable.stores) if (role !== "input") bits.push(bytesOfTensor(executable.read(name)));
  executable.close();
  return bits;
}
function drawn(name: string, step: number, { stores }: Executable): Tensor {
  const { shape = [] } = stores.find((s) => s.name === `train/${name}`) ?? {};
  const numbers = filled(`${name} of ${rank} at ${step}`, "f32", shape).data;
  const token = (x: number): number => (step === 1 ? 7 : Math.floor(Math.abs(x) * 997) % sizes.V);
  return fromNumbers("i32", shape, numbers.map(token));
}
/** The numbers of pieces of all exchanges. */
const piecesOf = (plan: Plan): number[] =>
  plan.entries.flatMap(({ steps }) =>
    steps.flatMap((s) => (s.kind === "collective" ? [s.collective.op.pieces ?? 1] : [])),
  );

const cases: readonly Case[] =
  workers === 2
    ? [
        { E: 10, K: 2, pieces: 4, precision: "bf16" },
        { E: 6, K: 3, L: 2, pieces: 3, recompute: true },
        { E: 6, K: 3, pieces: 3, shadow: 1 },
      ]
    : [
        { E: 4 * workers, K: 1, pieces: 4 },
        { E: 6, K: 2, pieces: 3, expertParallel: 2 },
      ];
for (const one of cases) {
  const name = JSON.stringify(one);
  const planOf = plansOf(one);
  const [cut, whole] = [planOf(1), planOf(Infinity)];
  assert.equal(Math.max(...piecesOf(cut)), one.pieces, name);
  assert.equal(Math.max(...piecesOf(whole)), 1, name);
  const begun = cut.entries.flatMap(({ steps }) =>
    steps.filter((s) => isBeside(s) && s.kind === "collective" && s.collective.op.pieces),
  );
  assert.ok(begun.length > 0, `${name}: no piece is on its way beside others`);
  assert.deepEqual(await run(cut, 2), await run(whole, 1), name);
}
console.log(`worker ${rank} of ${workers} agrees`);
