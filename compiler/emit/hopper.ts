// Contractions of bf16 on sm_90a: the second meaning of a CUDA kernel. One warpgroup fills stages of shared memory, by TMA where an operand is
// a box of a tensor, and two multiply from them by wgmma. The kernel's statements are the same; only the mma, the pipeline and the layouts
// of operands differ. Operands are read as they lie (K-major or MN-major), so a weight needs no second copy for its transposed use.
import { isNum, item } from "../kernel/expr.ts";
import type { Axis, Kernel, Stmt, StmtOf } from "../kernel/ir.ts";
import { bodyOf, walk } from "../kernel/passes.ts";
import type { Variant } from "../plan/plan.ts";
import { cuda, isWide, parameters } from "./cuda.ts";
import { dealt } from "./grid.ts";
import { mapName, Slabs, slab } from "./slabs.ts";
import { Emitter, emit, type Target, written } from "./text.ts";

/** Bytes of shared memory that the blocks of a multiprocessor may have on sm_90. */
const room = 227 * 1024;

/** The kernel for sm_90a; null where it is not of this kind, which a schedule for it (schedule-hopper.ts) does not rule out. */
export function emitHopper(k: Kernel): Variant | null {
  const loop = pipelineOf(k);
  if (!loop) return null;
  const name = `${k.name}_sm90`;
  const e = new Emitter(k, cuda);
  const operands = operandsOf(loop, e);
  if (!operands) return null;
  const plan = planOf(operands, loop, k);
  const { text } = emit({ ...k, name }, target(k, loop, plan, e));
  return {
    name,
    text,
    launch: { threads: plan.groups * 128 + 128, shared: plan.shared, wide: isWide(k) },
    maps: operands.flatMap((o) => (o.map ? [o.map] : [])),
    writes: k.params.flatMap((p, i) => (written(k).has(p) ? [i] : [])),
  };
}

type Loop = StmtOf<"for">;
const isStage = (s: Stmt): s is StmtOf<"stage"> => s.s === "stage";
const isMma = (s: Stmt): s is StmtOf<"mma"> => s.s === "mma";
/** The one loop that stages and multiplies, where nothing in the kernel needs all threads of a block. */
function pipelineOf(k: Kernel): Loop | null {
  const [loops, mmas, stages]: [Loop[], Stmt[], Stmt[]] = [[], [], []];
  let others = k.locals.length;
  walk(k.body, (s) => {
    if (s.s === "for" && s.body.some(isMma)) loops.push(s);
    if (isMma(s)) mmas.push(s);
    if (isStage(s)) stages.push(s);
    if (!allowed.has(s.s) || (s.s === "tile" && s.tile.role === "shared")) others++;
  });
  const [loop] = loops;
  if (!loop || others > 0 || mmas.length !== 1 || stages.length !== loop.body.filter(isStage).length) return null;
  return loop.body.every((s) => isStage(s) || isMma(s)) ? loop : null;
}
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

function operandsOf(loop: Loop, e: Emitter): Slabs[] | null {
  const mma = loop.body.find(isMma);
  if (loop.axis.step !== slab.columns || !mma || mma.a.role !== "operand") return null;
  if (!mma.acc.every((t) => item(t.shape, 0) === 128 && [128, 256].includes(item(t.shape, 1)))) return null;
  const operands = loop.body.filter(isStage).map((s) => Slabs.of(s, s.tile === mma.a, loop.axis, e));
  return operands.every((o) => o !== null) ? operands : null;
}

interface Plan {
  readonly operands: readonly Slabs[];
  /** Warpgroups that consume; one, where a second block of the multiprocessor multiplies while this one stores. */
  readonly groups: 1 | 2;
  readonly stages: number;
  readonly shared: number;
  /** Of a stage: bytes that come by TMA. */
  readonly boxes: number;
  /** Whether all come so. */
  readonly boxed: boolean;
}
const bytes = (list: readonly Slabs[]): number => list.reduce((n, o) => n + o.bytes, 0);
/** A short depth is over before its results are stored: then blocks of half the width share a multiprocessor. */
const shortest = 512;
function planOf(operands: readonly Slabs[], { axis: { to }, body }: Loop, k: Kernel): Plan {
  const each = bytes(operands);
  const narrow =
    body
      .find(isMma)
      ?.acc.map((t) => item(t.shape, 1))
      .join() === "128";
  const short = isNum(to) && to.value <= shortest && !k.body.some((s) => s.s === "foldrows");
  const groups = narrow && short ? 1 : 2;
  const stages = Math.min(6, Math.floor(((groups === 1 ? room / 2 - 512 : room) - 1024) / each));
  const boxes = bytes(operands.filter((o) => o.map));
  return { operands, groups, stages, shared: stages * each + 1024, boxes, boxed: boxes === each };
}
/** `p`: writes what producers do. */
function target(k: Kernel, loop: Loop, plan: Plan, p: Emitter): Target {
  const { groups } = plan;
  const mapped = plan.operands.filter((o) => o.map).map((o) => o.tile);
  const mapOf = (o: Slabs): string => (o.map ? mapName(k, o.map, mapped.indexOf(o.tile)) : "");
  return {
    ...cuda,
    fresh: "always",
    tile: (t) =>
      `${t.role === "acc" ? `Held<${t.shape.join(", ")}, ${groups}>` : `Row<${item(t.shape, 0)}, 8, 1>`} ${t.name};`,
    frame(named, e) {
      const maps = plan.operands.filter((o) => o.map).map((o) => `const __grid_constant__ TensorMap ${mapOf(o)}`);
      return {
        open: [
          `KERNEL void __launch_bounds__(${groups * 128 + 128}, ${3 - groups}) ${named.name}(${[parameters(k), ...maps].join(", ")}) {`,
          "  DYN_SMEM(smem);",
          ...declared(plan).map((line) => `  ${line}`),
          `  if (produces<${groups}>()) {`,
          "    produce_with_few();",
          ...(plan.boxed ? [`    if (warp_id() > ${groups * 4}) return;`] : []),
          ...dealt(k).map((line) => `    ${line}`),
          ...produced(loop, plan, p, mapOf),
          "    }",
          ...(plan.boxed ? [] : ["    pipe.drain();"]),
          "    return;",
          "  }",
          `  consume_with_many<${groups}>();`,
          ...dealt(e.kernel).map((line) => `  ${line}`),
        ],
        close: ["  }", "}", `KERNEL_END(${named.name})`],
      };
    },
    loop: (s, e) => (s === loop ? consumed(s, e) : cuda.loop(s, e)),
  };
}
function declared({ operands, groups, stages, shared, boxes, boxed }: Plan): string[] {
  let place = 0;
  const lines = operands.map((o) => {
    const line = o.declaration(place);
    place += o.bytes * stages;
    return line;
  });
  const arrivals = (boxes > 0 ? 1 : 0) + (boxed ? 0 : 4);
  return [...lines, `Pipe<${stages}, ${groups}> pipe(smem + ${shared - 1024}, ${arrivals});`];
}

/** What a task is to the producers: the way to the loop, and its loads. */
function produced(loop: Loop, plan: Plan, e: Emitter, mapOf: (o: Slabs) => string): string[] {
  e.depth = 3;
  const visit = (list: readonly Stmt[]): void => {
    const last = list.findIndex((s) => leadsTo(s, loop));
    for (const s of list.slice(0, last)) if (s.s === "let") e.stmts([s]);
    const s = item(list, last);
    if (s === loop) load(loop.axis, plan, e, mapOf);
    else if (s.s === "if") e.block(`if (${e.expr(s.cond)}) {`, "}", () => visit(s.body));
    else if (s.s === "for") {
      const { v, from, to, step } = s.axis;
      const head = `for (ix ${v.name} = ${e.expr(from)}, ${v.name}_end = ${e.expr(to)}; ${v.name} < ${v.name}_end; ${v.name} += ${step}) {`;
      e.block(head, "}", () => {
        counted(s.axis, e);
        visit(s.body);
      });
    }
  };
  visit(e.kernel.body);
  return e.lines;
}
function leadsTo(s: Stmt, loop: Loop): boolean {
  return s === loop || bodyOf(s).some((t) => leadsTo(t, loop));
}
function load(axis: Axis, { operands, boxes, boxed }: Plan, e: Emitter, mapOf: (o: Slabs) => string): void {
  const { v, from, to, step } = axis;
  for (const o of operands) o.bind(axis);
  const head = `pipe.${boxed ? "produce" : "gather"}<${boxes}>(${e.expr(from)}, ${e.expr(to)}, ${step}, `;
  e.block(`${head}[&](ix ${v.name}, i32 s) {`, "});", () => {
    if (!boxed) counted(axis, e);
    if (boxes > 0 && !boxed) e.line("if (pipe.first()) {");
    for (const o of operands) o.loadBox(mapOf(o));
    if (boxes > 0 && !boxed) e.line("}");
    for (const o of operands) o.copy(axis);
  });
}
function consumed({ axis, body }: Loop, e: Emitter): void {
  const mma = body.find(isMma);
  if (!mma) return;
  const pairs = mma.b.map((b, n) => `by(${b.name}, ${item(mma.acc, n).name})`);
  const { v, from, to, step } = axis;
  const text = `multiply(s, ${v.name} > ${e.expr(from)}, ${[mma.a.name, ...pairs].join(", ")});`;
  e.line(`pipe.consume(${e.expr(from)}, ${e.expr(to)}, ${step}, [&](ix ${v.name}, i32 s) { ${text} });`);
}
function counted({ v, n, to, step }: Axis, e: Emitter): void {
  if (n.e === "var") e.line(`const ix ${n.name} = ix_min(${step}, ${e.expr(to)} - ${v.name});`);
}
