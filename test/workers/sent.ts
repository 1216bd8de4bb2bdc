// One of the workers that test/workers/collectives.test.ts starts: the bytes that `moec compile` says are sent, against those that workers give MPI. Fails with a
// stack.
import assert from "node:assert/strict";
import { load } from "../../compiler/check/index.ts";
import { emitHost, hostHeader } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { unstackedStore, type Value } from "../../compiler/graph/node.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { sum } from "../../compiler/types/numbers.ts";
import { dims, dtypeOf, type } from "../../compiler/types/type.ts";
import { compileLoaded, type TargetRequest } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { mpiWorkers } from "../../runtime/workers/mpi.ts";
import { workers as launched } from "../../runtime/workers/workers.ts";

const world = launched();
const { rank, size: workers } = world;

/** How many bytes all workers send in one run of an entry. */
async function counted(executable: Executable, entry: string, inputs: ReadonlyMap<string, Tensor>): Promise<number> {
  const before = mpiWorkers().sent();
  await executable.run(entry, inputs, { seed: 0, call: 0, step: 0, rank });
  return sum(world.gatherNumbers("bytes sent", mpiWorkers().sent() - before));
}

const g = new GraphBuilder(ops);
/** Sums of up to 16 KiB are gathered, which sends more. */
const many = b.param(g, "many", type("f32", [workers * 2001, 3]));
const each = b.reshape(g, many, [workers, 2001, 3]);
const moves: Readonly<Record<string, Value>> = {
  gathered: b.make1(g, "all_gather", [many], { workers }),
  summed: b.make1(g, "all_reduce", [many], { fn: "sum", workers }),
  swapped: b.make1(g, "all_to_all", [each], { workers }),
};
for (const [name, value] of Object.entries(moves)) {
  const graph = { name, results: [{ role: "output" as const, name, value }] };
  const stores = [unstackedStore("many", "parameter", type(dtypeOf(many.type), dims(many.type)), true)];
  const sequence = lower(graph, { emit: emitHost, panels: new Map() });
  const plan = planMemory([sequence], stores, { target: "host", header: hostHeader() });
  const executable = await world.localFirst("compile", () => hostExecutable(plan, { threads: 1 }));
  const { op } = value.node;
  assert.equal(await counted(executable, name, new Map()), workers * (op.sends?.(value.node) ?? 0), name);
  executable.close();
}

const text = `import { Embedding, RmsNorm, SwiGlu } from "std/nn"
  import { Attention } from "std/attention"
  import { cross_entropy } from "std/loss"
  import { AdamW } from "std/optim"
  model Attending(V = 16, D = 8) {
    embed: Embedding(V, D)
    attention: Attention(D, 2, Context: 16)
    feed: SwiGlu(D, 12)
    train(tokens: i32[B, T]) {
      let at: i32[B, T] = range(T)
      let x = embed(tokens)
      let y = x + attention(x, at)
      loss language = cross_entropy(embed.logits(y + feed(y)), tokens)
      optimize with AdamW(lr: 0.1)
    }
  }
  model Mixing(V = 16, D = 8, E = 4) {
    embed: Embedding(V, D)
    experts: SwiGlu(D, 12)[E]
    train(tokens: i32[B, T]) {
      let x = embed(tokens)
      let first = tokens % E
      let second = div(tokens, E)
      let index = concat([first[..., new], second[..., new]], axis: -1)
      loss language = cross_entropy(embed.logits(x + sum(experts[index](x), axis: -2)), tokens)
      optimize with AdamW(lr: 0.1)
    }
  }`;
/** All 16 tokens: of a row's two experts each pair occurs once, as even choices have it. */
const everyPair = Array.from({ length: 16 }, (_, i) => (7 * i) % 16);
const [shared, apart] = [{ limits: { sharedRows: -Infinity } }, { limits: { sharedRows: Infinity } }];
const attending = { declaration: "Attending", contextParallel: 2 };
const cases: readonly Partial<TargetRequest>[] = [
  { ...attending, shardOptimizer: true },
  { declaration: "Mixing", ...shared },
  { declaration: "Mixing", ...apart },
];
const program = load({ name: "sent.moe", text });
for (const one of workers === 2 ? cases : []) {
  const entries = [{ name: "train", method: "train", sizes: { B: one.contextParallel ?? 2, T: 16 } }];
  const request = { target: "host", precision: "f32", sizes: {}, entries, workers, threads: 1, ...one } as const;
  const made = (): ReturnType<typeof compileLoaded> => compileLoaded(() => program, request, null);
  const { executable, report } = await world.localFirst("compile", made);
  await executable.run("init", new Map(), { seed: 1, call: 0, step: 0, rank });
  const { shape = [] } = executable.stores.find((s) => s.name === "train/tokens") ?? {};
  const own = [...everyPair, ...everyPair].slice(
    0,
    shape.reduce((n, m) => n * m, 1),
  );
  const inputs = new Map([["tokens", fromNumbers("i32", shape, own)]]);
  const all = sum(Object.values(report.sent));
  assert.equal(await counted(executable, "train", inputs), workers * all, JSON.stringify(one));
  assert.ok(one.contextParallel ? report.sent["all_gather"] : report.sent["exchange"], JSON.stringify(report.sent));
  executable.close();
}
console.log(`worker ${rank} of ${workers} agrees`);
