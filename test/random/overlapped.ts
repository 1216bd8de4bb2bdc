// Checks under mpirun that random trainings have the same bits however their messages overlap with kernels (test/workers/overlapped.ts).
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { execPath } from "node:process";
import { emitHost, hostHeader } from "../../compiler/emit/unit.ts";
import { choosePanels } from "../../compiler/lower/layout.ts";
import { lower } from "../../compiler/lower/lower.ts";
import type { Sharing } from "../../compiler/partition/mesh.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { isBeside, type Plan } from "../../compiler/plan/plan.ts";
import { panelWidth } from "../../runtime/host/backend.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { type HostMode, withIsa } from "./host-modes.ts";
import type { RandomProgram } from "./programs.ts";
import { Draw } from "./random-graph.ts";
import { trainingOf } from "./training.ts";
import { sharedBy } from "./workers.ts";

export interface Overlapped {
  readonly program: RandomProgram;
  readonly sharing: Sharing;
  readonly way: Pick<HostMode, "precision" | "limits" | "isa">;
}
/** A training of mixtures, of which each worker has several experts, and of matrices that all have. */
export function drawnMixtures(seed: string): Pick<Overlapped, "program" | "sharing"> {
  const draw = new Draw(`${seed}, its mixtures`);
  const workers = draw.of([2, 2, 2, 3, 4]);
  const tensorParallel = workers === 4 && draw.chance(0.3) ? 2 : 1;
  const groups = workers / tensorParallel;
  const expertParallel = groups === 4 && draw.chance(0.3) ? 2 : groups;
  const layers = (n: number): string[] => Array.from({ length: n }, () => drawnLayer(draw, workers));
  const [array, others] = [draw.of([0, 1, 2]), layers(draw.of([1, 1, 2]))];
  const text = `import { Embedding, Linear, Mlp, SwiGlu } from "std/nn"
import { MoE, SharedMoE } from "std/moe"
import { BiasGate, NaiveGate, NoisyGate, SoftmaxGate, TopKGate } from "std/gates"
import { cross_entropy } from "std/loss"
import { AdamW, Sgd } from "std/optim"
model Program(V, D, L, B, T) {
  embed: Embedding(V, D)
  array: ${layers(1).join("")}[L]
${others.map((layer, i) => `  p${i}: ${layer}\n`).join("")}  train(tokens: i32[B, T], targets: i32[B, T]) {
    let x = embed(tokens)
    for one in array { x = x + one(x) }
${others.map((_, i) => `    x = ${draw.of(sums)(`p${i}(x)`)}\n`).join("")}    loss language = cross_entropy(embed.logits(x), targets)
    optimize with ${draw.of(["Sgd(lr: 0.1, clip: 1)", "Sgd(lr: 0.1)", "AdamW(lr: 0.01)"])}
  }
}
`;
  const sizes = { V: 11, D: draw.of([5, 16, 24]), L: array, B: groups * draw.of([1, 2]), T: draw.of([1, 7, 13]) };
  const program = {
    seed,
    name: "p",
    text,
    sizes,
    accumulate: draw.of([1, 1, 2]),
    recompute: array > 0 && draw.chance(0.3),
  };
  const shadow = draw.chance(0.2) ? { shadow: 1 } : {};
  const room = draw.chance(0.2) ? { room: workers } : {};
  const divided = draw.of([{}, {}, { shardOptimizer: true }, { shardParameters: true }]);
  const sharing = { workers, tensorParallel, expertParallel, ...divided, ...shadow, ...room };
  return { program, sharing };
}
const sums = [(y: string) => `x + ${y}`, (y: string) => `x - tanh(${y})`, (y: string) => `${y} * x`] as const;
function drawnLayer(draw: Draw, workers: number): string {
  const H = draw.of([3, 8, 17]);
  const row = (): string => draw.of([`SwiGlu(D, ${H})`, `Mlp(D, ${H})`, "Linear(D, D)"]);
  if (draw.chance(0.2)) return row();
  const E = workers * draw.of([1, 2, 3, 5]);
  const K = Math.min(E - 1, draw.of([1, 2, 3]));
  const gate = draw.of(["TopKGate", "TopKGate", "NaiveGate", "BiasGate", "NoisyGate"]);
  const inner = draw.chance(0.15) ? `MoE(D, 1, 2, SoftmaxGate(D, 2, 1), ${row()})` : row();
  const [name, more] = draw.of([
    ["MoE", ""],
    ["MoE", ""],
    ["SharedMoE", `, ${row()}`],
  ] as const);
  return `${name}(D, ${K}, ${E}, ${gate}(D, ${E}, ${K}), ${inner}${more})`;
}
/** The entries in order, and plans of them. `leastPiece`, `leastOverlapped`: see `planMemory`. */
export async function plansOf({ program, sharing, way: { precision, limits } }: Overlapped): Promise<{
  readonly names: readonly string[];
  readonly planOf: (leastPiece: number, leastOverlapped: number) => Plan;
}> {
  const { graphs, stores } = sharedBy(sharing, (how) => trainingOf(program, precision, limits, { sharing: how }));
  const entries = [...new Set(graphs)];
  const panels = choosePanels(entries, stores, panelWidth(await toolchain()));
  const sequences = entries.map((graph) => lower(graph, { emit: emitHost, panels, stores }));
  return {
    names: graphs.map(({ name }) => name),
    planOf: (leastPiece, leastOverlapped) =>
      planMemory(sequences, stores, { target: "host", header: hostHeader(), leastPiece, leastOverlapped }),
  };
}
const folder = temporaryFolder();
const quick = join(project, "test", "quick", "g++");
/** Runs it under mpirun, if anything overlaps. */
export async function checkOverlapped(drawn: Overlapped): Promise<void> {
  const { mpirun, skipped } = await import("../../scripts/mpirun.ts");
  if (!mpirun) return skipped("trainings whose messages overlap");
  const plan = (await plansOf(drawn)).planOf(1, 0);
  if (!plan.entries.some(({ steps }) => steps.some(isBeside))) return;
  const { workerScript } = await import("../command.ts");
  const file = join(folder, "drawn.json");
  writeFileSync(file, JSON.stringify({ ...drawn, cache: folder }));
  const [command = "", ...flags] = mpirun;
  const args = [...flags, "-n", String(drawn.sharing.workers), execPath, workerScript("overlapped"), file];
  const { status, stdout, stderr } = await withIsa(drawn.way.isa, async () =>
    spawnSync(command, args, { encoding: "utf8", timeout: 300_000, env: { CXX: quick, ...process.env } }),
  );
  if (status !== 0 || !stdout.includes("agrees")) throw new Error(`${stdout}${stderr}`.trim());
}
