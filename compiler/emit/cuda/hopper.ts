// Emits contractions of bf16 a second time, for sm_90a. One warpgroup fills stages of shared memory (by TMA where an operand is a box of a tensor),
// and two multiply from them by wgmma. The statements of the kernel are the same as for other GPUs; only the mma, the pipeline and the operands'
// layouts differ. wgmma reads operands K-major or MN-major, so a weight needs no second copy for its transposed use.
import { item } from "../../item.ts";
import { isNum } from "../../kernel/expr.ts";
import type { Kernel, Stmt, StmtOf } from "../../kernel/ir.ts";
import { bodyOf, statements, writtenBuffers } from "../../kernel/passes.ts";
import type { Variant } from "../../plan/plan.ts";
import { Emitter, emit, type Target } from "../emitter.ts";
import { declareBlock, openTaskLoop } from "../grid.ts";
import { named } from "../names.ts";
import { isStage } from "../runs.ts";
import { cuda, emitLoop, needsWideIndex, parameters } from "./cuda.ts";
import { canFuseLoops, roundsOf } from "./pipeline.ts";
import { mapName, slab, WgmmaTile } from "./wgmma-tile.ts";

/** Bytes of shared memory that all blocks of a multiprocessor may have on sm_90. */
const multiprocessorBytes = 227 * 1024;

/** The variant of a kernel for sm_90a; null if the kernel does not fit this form, although it has a schedule for it (schedule-hopper.ts). */
export function emitHopper(kernel: Kernel): Variant | null {
  const k = named(kernel);
  const run = pipelineOf(k);
  if (!run) return null;
  const name = `${k.name}_sm90`;
  const e = new Emitter(k, cuda);
  const operands = operandsOf(run, e);
  if (!operands) return null;
  const plan = planOf(operands, run, k);
  const { text } = emit({ ...k, name }, target(k, run, plan, e));
  return {
    name,
    text,
    launch: { threads: plan.consumers * 128 + 128, shared: plan.shared, wide: needsWideIndex(k) },
    maps: operands.flat().flatMap((o) => (o.map ? [o.map] : [])),
    writes: k.params.flatMap((p, i) => (writtenBuffers(k).has(p) ? [i] : [])),
  };
}

type Loop = StmtOf<"for">;
const isMma = (s: Stmt): s is StmtOf<"mma"> => s.s === "mma";
/** The loop that stages and multiplies, or several that can be joined; null if the kernel does anything that needs all threads of a block. */
function pipelineOf(k: Kernel): readonly Loop[] | null {
  const all = statements(k.body);
  const loops = all.filter((s): s is Loop => s.s === "for" && s.body.some(isMma));
  const staged = loops.flatMap((s) => s.body.filter(isStage)).length;
  if (loops.length === 0 || k.locals.length > 0 || all.some(isOther)) return null;
  if (all.filter(isMma).length !== loops.length || all.filter(isStage).length !== staged) return null;
  return loops.every((s) => s.body.every((t) => isStage(t) || isMma(t))) ? loops : null;
}
const isOther = (s: Stmt): boolean => !allowed.has(s.s) || (s.s === "tile" && s.tile.role === "shared");
const allowed: ReadonlySet<Stmt["s"]> = new Set([
  "let",
  "for",
  "if",
  "tile",
  "stage",
  "mma",
  "each",
  "foldrows",
  "store",
]);

/** The operands of each loop; those of later loops use the same shared memory as the first loop's. */
function operandsOf(run: readonly Loop[], e: Emitter): WgmmaTile[][] | null {
  const all = run.map((loop) => wgmmaTilesOf(loop, e));
  const [first] = all;
  const fit = (own: WgmmaTile[] | null): boolean => own !== null && own.every((o, i) => first?.[i]?.isLike(o));
  return first && (run.length === 1 || (canFuseLoops(run, e) && all.every(fit))) ? (all as WgmmaTile[][]) : null;
}
function wgmmaTilesOf(loop: Loop, e: Emitter): WgmmaTile[] | null {
  const mma = loop.body.find(isMma);
  if (loop.axis.step !== slab.columns || !mma || mma.a.role !== "operand") return null;
  if (!mma.acc.every((t) => item(t.shape, 0) === 128 && [128, 256].includes(item(t.shape, 1)))) return null;
  const operands = loop.body.filter(isStage).map((s) => WgmmaTile.of(s, s.tile === mma.a, loop.axis, e));
  return operands.every((o) => o !== null) ? operands : null;
}

interface PipelinePlan {
  /** The operands of each loop. */
  readonly operands: readonly (readonly WgmmaTile[])[];
  /** Consumer warpgroups. With one, two blocks share a multiprocessor: one multiplies while the other stores its results. */
  readonly consumers: 1 | 2;
  readonly stages: number;
  readonly shared: number;
  /** `tmaBytes`: bytes of a stage that TMA brings. `parts`: into how many parts a stage is divided; each is filled and released separately. */
  readonly tmaBytes: number;
  readonly parts: 1 | 3;
  /** Whether TMA brings all operands. */
  readonly isAllTma: boolean;
  /** The names of the kernel's tensor map parameters. */
  readonly maps: ReadonlyMap<WgmmaTile, string>;
}
const bytes = (list: readonly WgmmaTile[]): number => list.reduce((n, o) => n + o.bytes, 0);
/** With a depth up to this, multiplying takes less time than storing the results: two blocks of half the width then share a multiprocessor. */
const maxShortDepth = 512;
/**
 * With a greater depth, the beginning and the end of a task matter little, and products of 256 columns (whole stages) read less shared memory than
 * two of 128.
 */
const maxPartsDepth = 2048;
function planOf(operands: readonly WgmmaTile[][], run: readonly Loop[], k: Kernel): PipelinePlan {
  const first = item(operands, 0);
  const each = bytes(first);
  const accumulators = item(run, 0).body.find(isMma)?.acc ?? [];
  const narrow = accumulators.map((t) => item(t.shape, 1)).join() === "128";
  const depth = run.reduce((sum, { axis: { to } }) => sum + (isNum(to) ? to.value : Infinity), 0);
  const short = depth <= maxShortDepth && !k.body.some((s) => s.s === "foldrows");
  const consumers = narrow && short ? 1 : 2;
  const stages = Math.min(
    6,
    Math.floor(((consumers === 1 ? multiprocessorBytes / 2 - 512 : multiprocessorBytes) - 1024) / each),
  );
  const tmaBytes = bytes(first.filter((o) => o.map));
  const isAllTma = tmaBytes === each;
  const parts = isAllTma && !narrow && depth <= maxPartsDepth ? 3 : 1;
  const maps = new Map(operands.flat().flatMap((o) => (o.map ? [[o, o.map] as const] : [])));
  const names = new Map([...maps].map(([o, map], n) => [o, mapName(k, map, n)]));
  return { operands, consumers, stages, shared: stages * each + 1024, tmaBytes, parts, isAllTma, maps: names };
}
/** The target that emits the variant. `p` is a second emitter, which writes the producers' code. */
function target(k: Kernel, run: readonly Loop[], plan: PipelinePlan, p: Emitter): Target {
  const { consumers } = plan;
  return {
    ...cuda,
    tile: (t) =>
      `${t.role === "acc" ? `WgmmaAcc<${t.shape.join(", ")}, ${consumers}>` : `PerRow<${item(t.shape, 0)}, 8>`} ${t.name};`,
    frame(kernel, e) {
      const maps = [...plan.maps.values()].map((name) => `const __grid_constant__ TensorMap ${name}`);
      return {
        open: [
          `KERNEL void __launch_bounds__(${consumers * 128 + 128}, ${3 - consumers}) ${kernel.name}(${[parameters(k), ...maps].join(", ")}) {`,
          "  DYN_SMEM(smem);",
          ...declarations(plan).map((line) => `  ${line}`),
          `  if (is_producer<${consumers}>()) {`,
          "    producer_setmaxnreg();",
          ...(plan.isAllTma ? [`    if (warp_id() > ${consumers * 4}) return;`] : []),
          ...openTaskLoop(k).map((line) => `    ${line}`),
          ...producerLines(run, plan, p),
          "    }",
          ...(plan.isAllTma ? [] : ["    pipe.producer_tail();"]),
          "    return;",
          "  }",
          `  consumer_setmaxnreg<${consumers}>();`,
          ...openTaskLoop(e.kernel).map((line) => `  ${line}`),
        ],
        close: ["  }", "}", `KERNEL_END(${kernel.name})`],
      };
    },
    loop: (s, e) => (s === run[0] ? emitConsumers(run, e) : cuda.loop(s, e)),
    fuseLoops(run, e) {
      emitConsumers(run, e);
      return true;
    },
  };
}
function declarations({ operands, consumers, stages, shared, tmaBytes, parts, isAllTma }: PipelinePlan): string[] {
  const start = (i: number): number => stages * bytes(item(operands, 0).slice(0, i));
  const lines = operands.flatMap((own) => own.map((o, i) => o.declaration(start(i))));
  const arrivals = (tmaBytes > 0 ? 1 : 0) + (isAllTma ? 0 : 4);
  return [
    ...lines,
    `MbarrierPipeline<${[stages, consumers, ...(parts > 1 ? [parts] : [])].join(", ")}> pipe(smem + ${shared - 1024}, ${arrivals});`,
  ];
}

/** What the producers do in a task: the statements that lead to the loop, and the loop's loads. */
function producerLines(run: readonly Loop[], plan: PipelinePlan, e: Emitter): string[] {
  e.depth = 3;
  const loop = item(run, 0);
  const visit = (list: readonly Stmt[]): void => {
    const last = list.findIndex((s) => contains(s, loop));
    for (const s of list.slice(0, last)) if (s.s === "let") e.stmts([s]);
    const s = item(list, last);
    if (s === loop) emitProducerLoads(run, plan, e);
    else if (s.s === "if") e.block(`if (${e.expr(s.cond)}) {`, "}", () => visit(s.body));
    else if (s.s === "for") emitLoop(s.axis, e, () => visit(s.body));
  };
  visit(e.kernel.body);
  return e.lines;
}
function contains(s: Stmt, loop: Loop): boolean {
  return s === loop || bodyOf(s).some((t) => contains(t, loop));
}
function emitProducerLoads(run: readonly Loop[], plan: PipelinePlan, e: Emitter): void {
  const { operands, tmaBytes, isAllTma } = plan;
  run.forEach(({ axis }, n) => {
    for (const o of item(operands, n)) o.bind(axis);
  });
  const { range, each } = roundsOf(run, e);
  const head = isAllTma ? "pipe.produce(" : `pipe.produce_cp_async<${tmaBytes}>(`;
  e.block(`${head}${range}, [&](ix ${item(run, 0).axis.v.name}, i32 s) {`, "});", () =>
    each((axis, n) => {
      const own = item(operands, n);
      if (isAllTma) return loadParts(own, plan, e);
      declareBlock(axis, e);
      const loadBoxes = () => loadAll(own, "pipe.full(s)", plan);
      if (tmaBytes > 0) e.block("if (pipe.is_elected()) {", "}", loadBoxes);
      for (const o of own) o.copy(axis);
    }),
  );
}
function loadAll(own: readonly WgmmaTile[], full: string, { maps }: PipelinePlan): void {
  for (const o of own) for (const half of o.halves) o.loadBox(half, full, maps.get(o) ?? "");
}
/** Loads the parts of a stage in the order in which products use them. */
function loadParts(own: readonly WgmmaTile[], plan: PipelinePlan, e: Emitter): void {
  const { parts, tmaBytes, maps } = plan;
  if (parts === 1) {
    e.line(`const u32 full = pipe.acquire(${tmaBytes});`);
    return loadAll(own, "full", plan);
  }
  const halves = (isLeft: boolean) =>
    own.filter((o) => o.isLeft === isLeft).flatMap((o) => o.halves.map((half) => ({ o, half })));
  const [first, ...rest] = halves(false);
  const inOrder = [...(first ? [first] : []), ...halves(true), ...rest];
  inOrder.forEach(({ o, half }, part) => o.loadBox(half, `pipe.acquire(${slab.half}, ${part})`, maps.get(o) ?? ""));
}
function emitConsumers(run: readonly Loop[], e: Emitter): void {
  const mma = item(run, 0).body.find(isMma);
  if (!mma) return;
  const pairs = mma.b.map((b, n) => `wgmma_rhs(${b.name}, ${item(mma.acc, n).name})`);
  const text = `wgmma_stage(s, which, ${[mma.a.name, ...pairs].join(", ")});`;
  e.line(`pipe.consume(${roundsOf(run, e).range}, [&](i32 s, auto which) { ${text} });`);
}
