// The kinds of random tests of `npm run fuzz`: what each draws from a seed, and how it is checked.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, load } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Graph } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import { tuningAxes } from "../../compiler/kernel/candidates.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { tune } from "../../runtime/measure/tune.ts";
import { storesOf } from "../graphs.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { randomAttention } from "./attention.ts";
import { checkCommands, checkKilled } from "./commands.ts";
import type { Stores } from "./compare.ts";
import { checkDamaged } from "./damaged.ts";
import { randomDecoder } from "./decoders.ts";
import { checkFiles } from "./files.ts";
import { checkFrozen, partlyTrained } from "./frozen.ts";
import { checkGenerated, randomRequests } from "./generated.ts";
import { prepared, randomGraph, withEnds } from "./graphs.ts";
import { checkGraphs, type Given } from "./graphs-on-host.ts";
import { type HostMode, withIsa } from "./host-modes.ts";
import { checkIncrementalDecoding } from "./incremental-decoding.ts";
import { randomLoop } from "./loops.ts";
import { checkMisused } from "./misused.ts";
import { checkGraphsOnEmulator, checkOnEmulator, drawnEmulation } from "./on-emulator.ts";
import { checkOnHost } from "./on-host.ts";
import { checkOverlapped, drawnMixtures } from "./overlapped.ts";
import { checkPasses } from "./passes.ts";
import { randomProducts } from "./products.ts";
import { type Kind as Programs, type RandomProgram, randomProgram } from "./programs.ts";
import { Draw } from "./random-graph.ts";
import { checkRecomputed } from "./recomputed.ts";
import { checkResumed, randomRun } from "./resumed.ts";
import { randomRows } from "./rows.ts";
import { randomWritten } from "./tensors.ts";
import { checkWorkers } from "./workers.ts";
import { checkWritten, checkWrittenOnEmulator, checkWrittenPasses, type Written } from "./written.ts";

export interface Case {
  readonly text: string;
  /** Sizes and other settings to print beside the text. */
  readonly note: string;
  /** Throws if the check fails. `text`: a program to run instead of its own. */
  readonly run: (way: HostMode, text?: string) => Promise<void>;
}
/** By name: makes a case from a seed. */
export const kinds: Readonly<Record<string, (seed: string) => Case>> = {
  small: (seed) => trained(seed, "small"),
  middle: (seed) => trained(seed, "middle"),
  aligned: (seed) => trained(seed, "aligned"),
  empty: (seed) => refusable(trained(seed, "empty")),
  edged: (seed) => trained(seed, "edged"),
  passes: passed,
  recomputed,
  frozen,
  workers: shared,
  overlapped,
  resumed,
  past: decoder,
  generated,
  graph: (seed) => calculated(prepared(randomGraph(seed, 12))),
  extreme,
  rows: (seed) => calculated(randomRows(seed)),
  written: (seed) => asWritten(randomWritten(seed), checkWritten),
  "written-passes": (seed) => asWritten(randomWritten(seed), async (written, way) => checkWrittenPasses(written, way)),
  "cuda-written": (seed) =>
    asWritten(randomWritten(seed, 7), (written, { precision }) =>
      checkWrittenOnEmulator(written, precision, drawnEmulation(seed, precision)),
    ),
  loop: (seed) => calculated(prepared(randomLoop(seed))),
  product: (seed) => {
    const rights = new Draw(`${seed}, its right operands`).of(["numbers", "numbers", "codes", "fp4"] as const);
    const { graph, stores, forms } = randomProducts(seed, rights);
    return calculated({ ...graph, name: seed }, stores, forms);
  },
  attention: (seed) => {
    const { graph, stores, note } = randomAttention(seed);
    return calculated({ ...graph, name: seed }, stores, note);
  },
  tune: tuned,
  cuda: emulated,
  "cuda-graph": calculatedOnEmulator,
  damaged: (seed) => ({ text: "", note: "", run: async () => checkDamaged(seed, 150) }),
  commands: (seed) => ({ text: "", note: "", run: async () => checkCommands(seed, 20) }),
  killed: (seed) => ({ text: "", note: "", run: () => checkKilled(seed) }),
  misused: (seed) => ({ text: "", note: "", run: () => checkMisused(seed) }),
  files: (seed) => ({ text: "", note: "", run: async () => void (await checkFiles(seed, 60)) }),
};

const alone = async (_: unknown, run: () => unknown): Promise<void> => void (await run());
/** Checks that each pass on graphs keeps what they compute. */
function passed(seed: string): Case {
  const program = drawnProgram(seed, "small");
  return {
    text: program.text,
    note: notes(program),
    run: async (way, text = program.text) => checkPasses({ ...program, text }, way),
  };
}
/** Checks that a backward that makes layers again gives the same numbers in f64. */
function recomputed(seed: string): Case {
  const program = drawnProgram(seed, "small", 1 + new Draw(`${seed}, its copies`).below(3));
  return {
    text: program.text,
    note: notes(program),
    run: async (way, text = program.text) => checkRecomputed({ ...program, text }, way.limits),
  };
}
/** Checks steps of a program that trains a part of its parameters, and keeps others in 8 bits: the pass that does so, then kernels. */
function frozen(seed: string): Case {
  const program = partlyTrained(drawnProgram(seed, "small"));
  return keepsNone({
    text: program.text,
    note: notes(program),
    run: async (way, text = program.text) => {
      checkFrozen({ ...program, text }, way);
      await checkOnHost([{ ...program, text }], way, alone);
    },
  });
}
/** A case in which there may be nothing to train, or no matrix that can be kept in 8 bits. */
const nothingToKeep = /^no (loss of .* depends|matrix can be kept)/;
const keepsNone = (one: Case): Case => ({
  ...one,
  run: (way, text) =>
    one.run(way, text).catch((error: unknown) => {
      if (!(error instanceof Problem && nothingToKeep.test(error.message))) throw error;
    }),
});
/** Checks that several workers compute the same as one, whether or not they can share the batch, the experts or matrices. */
function shared(seed: string): Case {
  const program = drawnProgram(seed, "small");
  const draw = new Draw(`${seed}, its workers`);
  const workers = draw.of([2, 3, 4, 4, 6]);
  const tensorParallel = draw.chance(0.5) ? draw.of([2, 3, workers].filter((n) => workers % n === 0)) : 1;
  const groups = workers / tensorParallel;
  const rows = draw.chance(0.8) ? { ...program.sizes, B: groups * draw.of([1, 2]) } : program.sizes;
  const expertParallel = groups % 2 === 0 && groups > 3 && draw.chance(0.5) ? 2 : groups;
  const contextParallel = draw.chance(0.3) ? draw.of([2, 3, groups].filter((n) => groups % n === 0)) : 1;
  const shadow = draw.chance(0.3) ? { shadow: draw.of([1, 2, 3]) } : {};
  const divided = draw.of([{}, { shardOptimizer: true }, { shardParameters: true }]);
  const own = contextParallel > 1 ? { contextParallel } : { expertParallel };
  const sizes = contextParallel > 1 && draw.chance(0.7) ? { ...rows, T: contextParallel * draw.of([2, 4, 8]) } : rows;
  const sharing = { workers, tensorParallel, ...own, ...divided, ...shadow };
  return {
    text: program.text,
    note: `${JSON.stringify(sharing)}, ${notes({ ...program, sizes })}`,
    run: async (way, text = program.text) => checkWorkers({ ...program, sizes, text }, sharing, way),
  };
}
/** Checks under mpirun that a training of mixtures has the same bits however its messages overlap. */
function overlapped(seed: string): Case {
  const { program, sharing } = drawnMixtures(seed);
  return {
    text: program.text,
    note: `${JSON.stringify(sharing)}, ${notes(program)}`,
    run: ({ precision, limits = {}, isa }, text = program.text) =>
      checkOverlapped({ program: { ...program, text }, sharing, way: { precision, limits, isa } }),
  };
}
/**
 * Trains for two steps, in some cases with an evaluation in between, and compares with the interpreter. Threads, schedules and resuming must not
 * change a bit.
 */
function trained(seed: string, sizes: NonNullable<Programs["sizes"]>): Case {
  const program = drawnProgram(seed, sizes);
  return {
    text: program.text,
    note: notes(program),
    run: (way, text = program.text) => checkOnHost([{ ...program, text }], way, alone),
  };
}
/** A case whose sizes may be impossible (such as the maximum of no elements): it may also be rejected by a ProgramError. */
const refusable = (one: Case): Case => ({
  ...one,
  run: (way, text) =>
    one.run(way, text).catch((error: unknown) => {
      if (!(error instanceof ProgramError)) throw error;
    }),
});
/** `copies` of its layer: made again in the backward. Default: drawn, mostly one that is no array. */
function drawnProgram(
  seed: string,
  sizes: NonNullable<Programs["sizes"]>,
  copies = new Draw(`${seed}, its copies`).of([0, 0, 0, 1, 2]),
): RandomProgram {
  const draw = new Draw(`${seed}, its entries`);
  const [accumulate, evaluates] = [draw.of([1, 1, 2, 3]), draw.chance(0.5)];
  const kind = { looped: false, draws: true, sizes, ...(copies > 0 ? { copies } : {}) };
  return { ...randomProgram(seed, "p", kind), accumulate, evaluates, recompute: copies > 0 };
}
const notes = ({ sizes, accumulate, evaluates, recompute }: RandomProgram): string =>
  JSON.stringify({ ...sizes, accumulate, evaluates, recompute });
/** Checks that training with interruptions gives the bits of training without. */
function resumed(seed: string): Case {
  const run = randomRun(seed);
  const { sizes, batch, length, steps, breaks, accumulate } = run;
  return {
    text: run.text,
    note: JSON.stringify({ ...sizes, batch, length, steps, breaks, accumulate }),
    run: (way, text = run.text) => checkResumed({ ...run, text }, way),
  };
}
/** Checks one graph; its dtypes are drawn, whatever the precision. */
function calculated(graph: Graph, stores: Stores = storesOf(valuesOf(graph)), note = ""): Case {
  return {
    text: printGraph(graph),
    note,
    run: (way) => checkGraphs([{ graph, stores }], way, (_, run) => run()),
  };
}
/** Checks a random layer of tensors of any shape, with gradients, against an evaluation of its text. */
function asWritten(written: Written, check: (written: Written, way: HostMode) => Promise<void>): Case {
  return {
    text: written.text,
    note: "",
    run: (way, text = written.text) => check({ ...written, text }, way).catch(unlessPastTheEnd),
  };
}
/** Indices are drawn past the end of any tensor, which is an error where that is made of parameters alone. */
function unlessPastTheEnd(error: unknown): void {
  if (!(error instanceof ProgramError) || error.diagnostics.some(({ code }) => code !== "E0216")) throw error;
}
/** Checks a training whose CUDA kernels run on the emulator. */
function emulated(seed: string): Case {
  const program = drawnProgram(seed, new Draw(`${seed}, its sizes`).of(["small", "aligned", "middle", "empty"]));
  return refusable({
    text: program.text,
    note: notes(program),
    run: ({ precision }, text = program.text) =>
      checkOnEmulator([{ ...program, text }], precision, drawnEmulation(seed, precision), alone),
  });
}
function calculatedOnEmulator(seed: string): Case {
  const draw = new Draw(`${seed}, its graph`);
  const { graph, stores } = draw.of([
    () => given(prepared(randomGraph(seed, 12))),
    () => given(prepared(randomLoop(seed))),
    () => given(randomRows(seed)),
    () => randomProducts(seed),
    () => randomProducts(seed, "codes"),
    () => randomProducts(seed, "fp4"),
    () => randomAttention(seed),
  ])();
  const named = { graph: { ...graph, name: "graph" }, stores };
  return {
    text: printGraph(graph),
    note: "",
    run: ({ precision }) => checkGraphsOnEmulator([named], drawnEmulation(seed, precision), alone),
  };
}
/**
 * Checks a graph on extreme numbers. No gradients, passes, attention or AMX tiles, which may multiply an infinity by 0 where the definition does not.
 */
function extreme(seed: string): Case {
  const { graph } = randomGraph(seed, 4);
  if (nodesOf(graph).some(({ op }) => op.name.startsWith("attention"))) return extreme(`${seed}.`);
  const draw = new Draw(`${seed}, its numbers`);
  const stores = [...storesOf(valuesOf(graph))].map(([name, x]) => [name, withEnds(x, draw)] as const);
  const { run, ...rest } = calculated(graph, new Map(stores));
  return { ...rest, run: (way) => run({ ...way, isa: way.isa === "tiles" ? "native" : way.isa }) };
}
const given = (graph: Graph): Given => ({ graph, stores: storesOf(valuesOf(graph)) });
/** The largest relative difference between whole sequences and chunks; in bf16, sums of other pieces may be rounded either way. */
const tolerances: Readonly<Record<HostMode["precision"], number>> = { f32: 2e-5, bf16: 0.05 };
/** Checks that a decoder that is fed in chunks gives the same logits as on whole sequences. */
function decoder(seed: string): Case {
  const [any, whole] = [randomDecoder(seed), randomDecoder(seed, true)];
  const drawn = { f32: any, bf16: whole };
  const weights = new Draw(`${seed}, its weights`).chance(0.3) ? "int8" : undefined;
  return {
    text: whole.text,
    note: JSON.stringify({ weights, lengths: any.lengths, rows: any.rows, calls: any.calls.length }),
    run: ({ precision, isa, threads, schedules }, text = drawn[precision].text) =>
      withIsa(isa, () =>
        checkIncrementalDecoding(
          { ...drawn[precision], text },
          { target: "host", precision, weights, threads: threads[0], schedules, tolerance: tolerances[precision] },
        ),
      ),
  };
}
/** Checks that many tokens generated in one call are the same as those generated one by one. */
function generated(seed: string): Case {
  const drawn = randomRequests(seed);
  return {
    text: drawn.text,
    note: JSON.stringify({ rows: drawn.rows, requests: drawn.requests.length }),
    run: (way, text = drawn.text) => checkGenerated({ ...drawn, text }, way),
  };
}
const file = join(temporaryFolder(), "tuned.moe");
/** Runs `moec tune` on two axes; it fails by itself if a schedule changes a bit of the results. */
function tuned(seed: string): Case {
  const draw = new Draw(`${seed}, its axes`);
  const { text: own, sizes } = randomProgram(seed, "p", { looped: false, draws: true, sizes: "deep" });
  const tried = draw
    .order(tuningAxes.length)
    .slice(0, 2)
    .flatMap((i) => tuningAxes[i] ?? []);
  const run = async ({ precision, threads: [threads] }: HostMode, text: string): Promise<void> => {
    writeFileSync(file, text);
    await tune({ program: file, entry: "train", set: sizes, precision, threads, runs: 1, cache: null, axes: tried });
  };
  return {
    text: own,
    note: `${JSON.stringify(sizes)}, axes ${tried.join(" and ")}`,
    run: (way, text = own) => withIsa(way.isa, () => run(way, text)),
  };
}

/** The message of a failed check; null if it passed. A Problem or ProgramError is thrown: it is no wrong result. */
export async function failure({ run }: Case, way: HostMode, text?: string): Promise<string | null> {
  try {
    await run(way, text);
    return null;
  } catch (error) {
    if (error instanceof Problem || error instanceof ProgramError) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}
/** Reduces a failing program: leaves out each line and declaration in turn, with terms that only named it, as long as it still fails. */
export async function shrunk(one: Case, way: HostMode): Promise<string> {
  let text = one.text;
  const tried = async (less: string | null): Promise<void> => {
    if (less !== null && (await stillFails(one, way, less))) text = less;
  };
  for (let at = text.split("\n").length - 1; at >= 0; at--) await tried(withoutLine(text, at));
  for (let at = declarations(text).length - 1; at >= 0; at--) await tried(declarations(text).toSpliced(at, 1).join(""));
  return text;
}
async function stillFails(one: Case, way: HostMode, text: string): Promise<boolean> {
  if (text === "" || check(load({ name: "less.moe", text })).length > 0) return false;
  return (await failure(one, way, text).catch(() => null)) !== null;
}
const declarations = (text: string): string[] => text.split(/^(?=(?:layer|fn|model|\/\/) )/m);
/** The text without a line, and without the term of the result that names it; null if the line is not a statement or member by itself. */
function withoutLine(text: string, at: number): string | null {
  const lines = text.split("\n");
  const [, name] = /^ +(?:let |param |loss )?(\w+)(?::| =).*[^{]$/.exec(lines[at] ?? "") ?? [];
  if (name === undefined) return null;
  const term = new RegExp(String.raw` \+ (?:${name}|mean\(${name}, axis: -1, keep: true\))(?= \+|$)`);
  return lines
    .map((line) => (/^ +return /.test(line) ? line.replace(term, "") : line))
    .toSpliced(at, 1)
    .join("\n");
}
