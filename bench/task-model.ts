// Runs sass-lens' model of a multiprocessor on a whole task of a wgmma kernel, not only on its loop over the depth: the consumer's prologue, all
// rounds of the loop, and its epilogue, while the producer runs ahead. sass_report.ts itself charges a constant for the epilogue.
import { dirname, join } from "node:path";

interface Instruction {
  readonly address: number;
  readonly op: string;
  readonly predicate: string;
  readonly target: number;
}
interface Loop {
  readonly head: number;
  readonly tail: number;
  readonly depth: number;
  readonly body: readonly Instruction[];
}
interface Kernel {
  readonly code: readonly Instruction[];
  readonly loops: readonly Loop[];
}
interface Lens {
  readCubin(file: string): readonly [Kernel];
  hotLoop(k: Kernel): Loop;
  readonly machines: Readonly<Record<string, unknown>>;
  simulate(body: readonly Instruction[], machine: unknown, pipeline: PipelineShape): TaskEstimate;
}
/** `warps`: warps of a block that multiply; `blocks`: blocks of a multiprocessor; `tmaBytes`: bytes of a stage. */
export interface PipelineShape {
  readonly warps: number;
  readonly blocks: number;
  readonly tmaBytes: number;
  readonly stages: number;
}
/** Cycles that one task of each resident block takes, and the share of them in which each pipe is busy. */
export interface TaskEstimate {
  readonly cycles: number;
  readonly busy: Readonly<Record<"tensor" | "link" | "issue", number>>;
}
/** `lens`: the path of sass_report.ts; `rounds`: of the loop over the depth. */
export async function simulateTask(
  lens: string,
  cubin: string,
  rounds: number,
  pipeline: PipelineShape,
): Promise<TaskEstimate> {
  const parts = ["cubin", "model", "machine", "simulate"].map(
    (name) => import(join(dirname(lens), "tool", `${name}.ts`)),
  );
  const tool = Object.assign({}, ...(await Promise.all(parts))) as Lens;
  const [kernel] = tool.readCubin(cubin);
  return tool.simulate(task(kernel, tool.hotLoop(kernel), rounds), tool.machines["h100"], pipeline);
}
function task({ code, loops }: Kernel, hot: Loop, rounds: number): Instruction[] {
  const flow = new Flow(code, hot);
  const around = loops.filter((l) => l.depth === hot.depth - 1 && l.head < hot.head && l.tail >= hot.head);
  const start = Math.max(...around.map((l) => l.head)) / 16;
  const numbers = [...flow.into(start), ...flow.outOf(start)];
  const at = flow.into(start).length;
  const body = numbers.flatMap((n) => code[n] ?? []);
  // The first round does not release the stage that the last round releases only after the loop.
  const arrives = (i: Instruction): boolean => i.op.startsWith("SYNCS.ARRIVE");
  let late = body.slice(at).filter(arrives).length;
  const first = hot.body.map((i) => (arrives(i) && late-- > 0 ? { ...i, op: "NOP", write: -1, read: -1 } : i));
  const rest = Array.from({ length: rounds - 1 }, () => hot.body).flat();
  return [...body.slice(0, at), ...first, ...rest, ...body.slice(at)];
}
/** The control flow graph of a kernel's instructions, by number (address / 16). */
class Flow {
  readonly #code: readonly Instruction[];
  readonly #hot: Loop;
  readonly #inside: ReadonlySet<number>;

  constructor(code: readonly Instruction[], hot: Loop) {
    [this.#code, this.#hot] = [code, hot];
    this.#inside = new Set(hot.body.map((i) => i.address / 16));
  }
  #after(n: number): number[] {
    const i = this.#code[n];
    if (!i) return [];
    const ends = !i.predicate && /^(BRA|JMP|EXIT|RET|BRX)/.test(i.op) && !i.op.startsWith("BRA.DIV");
    return [...(ends ? [] : [n + 1]), ...(i.target >= 0 ? [i.target / 16] : [])];
  }
  /** The shortest path from the head of the loop over tasks to the loop over the depth. */
  into(start: number): number[] {
    const before = new Map([[start, -1]]);
    for (const n of before.keys()) for (const m of this.#after(n)) if (!before.has(m)) before.set(m, n);
    const way: number[] = [];
    for (let n = before.get(this.#hot.head / 16) ?? -1; n >= 0; n = before.get(n) ?? -1) way.unshift(n);
    return way;
  }
  /** A path from the loop over the depth to the next task, which takes as few jumps as it can. */
  outOf(start: number): number[] {
    const back = this.#leadingTo(start);
    const way = new Set<number>();
    const open = (n: number): boolean => (n === start || back.has(n)) && !way.has(n);
    let at = [...this.#inside].flatMap((n) => this.#after(n)).find((n) => back.has(n));
    while (at !== undefined && at !== start) {
      way.add(at);
      at = this.#after(at).find(open);
    }
    return [...way];
  }
  /** The instructions from which `end` can be reached without the loop over the depth. */
  #leadingTo(end: number): Set<number> {
    const before = new Map<number, number[]>();
    this.#code.forEach((_, n) => {
      for (const m of this.#after(n)) before.set(m, [...(before.get(m) ?? []), n]);
    });
    const found = new Set<number>();
    const wanted = [end];
    for (let n = wanted.pop(); n !== undefined; n = wanted.pop())
      for (const m of before.get(n) ?? [])
        if (!found.has(m) && !this.#inside.has(m)) {
          found.add(m);
          wanted.push(m);
        }
    return found;
  }
}
