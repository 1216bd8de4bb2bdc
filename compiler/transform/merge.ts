// Joins regions into one kernel: points with the contraction that they follow, contractions of the same rows, rows of the same space.
import type { Node, Value } from "../graph/node.ts";
import { isRight, wholeOf } from "../ops/pairs.ts";
import { isFloat } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { count, dims, dtypeOf } from "../types/type.ts";
import { carries, type Region } from "./region.ts";

/**
 * A region with what it reads from memory. `exact`: each value that is read at the element that is made, and nowhere else; of a sum of rows,
 * at the element that is added.
 */
export interface Part extends Region {
  readonly reads: ReadonlySet<Value>;
  readonly exact: ReadonlySet<Value>;
  /** What is read at elements far from the one that is made: the same kernel would have to make it again, and what that reads. */
  readonly far: ReadonlySet<Value>;
  /** What is added up, where the part is but a sum over the last axis, and no other fold is made for it. */
  readonly summed: Value | null;
}
class Group {
  readonly kind: Part["kind"];
  readonly late: boolean;
  readonly again: ReadonlySet<Value>;
  readonly nodes: Node[] = [];
  readonly outputs: Value[] = [];
  readonly reads = new Set<Value>();
  readonly exact = new Set<Value>();
  depth: number | null = null;
  /** How many groups there were when it began; and the same of the youngest of all that it waits for, itself included. */
  readonly age: number;
  youngest: number;
  constructor(part: Part, age: number) {
    this.age = age;
    this.youngest = age;
    this.late = part.late;
    this.again = part.again;
    this.kind = part.kind;
    this.join(part);
  }
  join(part: Part): void {
    if (part.kind === this.kind || this.kind === "rows") this.nodes.push(...part.nodes);
    this.outputs.push(...part.outputs);
    for (const v of part.reads) this.reads.add(v);
    for (const v of part.exact) this.exact.add(v);
    this.depth ??= part.depth;
  }
}
const shapeOf = (v: Value): readonly number[] => dims(v.type);
const equal = (a: readonly number[], b: readonly number[]): boolean => a.join() === b.join();

/** Right operands whose accumulators share the registers, where nothing says otherwise, and results that one kernel makes. */
const mostOperands = (): number => 2;
const mostOutputs = 12;
/** Fewer rows than this are too few tasks, unless they are short. */
const fewRows = 64;
const shortRows = 256;

export interface MergeOptions {
  /** Epilogues of contractions may add up rows, of so many columns at a time. */
  readonly sums?: number;
  /** They may add up rows that are chosen elsewhere: not where some columns of a row, far from the others, are slow to read. */
  readonly gathers?: boolean;
  /** Products of one left operand with so many parts of one tensor are made together; of two if not given. */
  readonly parts?: number;
  /** Elements of a row that one task makes, however few the rows are. */
  readonly rowOfFew?: number;
  /** What makes so few elements, of something that it shares, takes no longer with others than alone. */
  readonly small?: number;
  /** Contractions of the same so many rows that are one kernel. */
  readonly operands?: (rows: number) => number;
}
/** `parts` come each after what it reads; so do the regions. `results` are wanted in memory. */
export function merge(parts: readonly Part[], results: ReadonlySet<Value>, options: MergeOptions): Region[] {
  const { sums = Infinity } = options;
  const makers = new Map<Value, Group>();
  const readers = new Map<Value, Group[]>();
  const groups: Group[] = [];
  for (const part of parts) {
    const near = [...part.reads]
      .toReversed()
      .flatMap((v) => [...(makers.has(v) ? [makers.get(v) as Group] : []), ...(readers.get(v) ?? [])]);
    const addsUp = (g: Group): boolean => isWhole(part, sums) && spares(g, part, parts, results);
    const home = [...new Set(near)].find((g) => fits(g, part, addsUp, options) && !leadsBack(g, part, makers));
    const group = home ?? new Group(part, groups.length);
    if (home) home.join(part);
    else groups.push(group);
    for (const v of part.outputs) makers.set(v, group);
    wait(group, Math.max(...[...part.reads].map((v) => makers.get(v)?.youngest ?? 0)), readers);
    for (const v of part.reads) readers.set(v, [...(readers.get(v) ?? []).filter((g) => g !== group), group]);
  }
  const ordered = sorted(groups, makers);
  const wanted = (v: Value, g: Group): boolean => results.has(v) || (readers.get(v) ?? []).some((r) => r !== g);
  return ordered.map((g) => ({
    kind: g.kind,
    late: g.late,
    again: g.again,
    nodes: g.nodes,
    depth: g.depth,
    outputs: g.kind === "algorithm" ? g.outputs : g.outputs.filter((v) => wanted(v, g)),
  }));
}

function fits(g: Group, part: Part, addsUp: (g: Group) => boolean, options: MergeOptions): boolean {
  const { gathers = true, rowOfFew = shortRows, small = 0 } = options;
  if (g.late !== part.late || [...g.nodes, ...part.nodes].some(waits)) return false;
  if (g.outputs.length + part.outputs.length > mostOutputs) return false;
  if (g.kind === "rows" && part.kind === "rows")
    return related(g, part, small) && oneSpace(g, part, rowOfFew) && !innerOf(g, part).some((v) => part.far.has(v));
  if (g.kind === "algorithm" && part.kind === "algorithm") return putsAlike(g, part);
  if (g.kind !== "tile") return false;
  const [first] = g.nodes;
  const shape = first?.results[0] ? shapeOf(first.results[0]) : [];
  if (part.kind === "rows") {
    const inner = innerOf(g, part);
    if (!inner.every((v) => part.exact.has(v))) return false;
    if (first?.op.name === "ragged_dot" && asksForRows(part)) return false;
    if (part.summed) return inner.length > 0 && equal(shapeOf(part.summed), shape) && addsUp(g);
    const along = inner.length > 0 || (first !== undefined && besides(first, g, part));
    return along && isPoints(part, shape) && (gathers || !addsChosen(part));
  }
  const [node] = part.nodes;
  return (
    part.kind === "tile" &&
    first !== undefined &&
    node !== undefined &&
    g.nodes.length < operandsOf([...g.nodes, node], options) &&
    sameRows(first, node)
  );
}
/** Whether the right operands of products of one pair are parts of one tensor. */
function arePartsOfOne(nodes: readonly Node[]): boolean {
  const rights = nodes.flatMap(({ args: [x, y, ...more] }) => (x && y && more.length === 0 ? [wholeOf(y)] : []));
  return rights.length === nodes.length && new Set(rights).size === 1;
}
/** Whether it tells rows of groups from others, which an epilogue of groups does not write. */
function asksForRows({ outputs, reads }: Part): boolean {
  const seen = new Set<Value>();
  const visit = (v: Value): boolean => {
    // a condition may lie in memory; numbers that do are made of all rows
    if (seen.has(v) || (reads.has(v) && isFloat(dtypeOf(v.type)))) return false;
    seen.add(v);
    const { op, args } = v.node;
    if (op.name === "route") return v.index === 0;
    return (op.lower === "point" || op.lower === "view") && args.some(visit);
  };
  return outputs.some(visit);
}
/** Whether it adds up rows that are chosen elsewhere. */
function addsChosen({ nodes, reads }: Part): boolean {
  const seen = new Set<Value>(reads);
  const visit = (v: Value, many: number): boolean => {
    if (seen.has(v)) return false;
    seen.add(v);
    const [x] = v.node.args;
    const here = v.node.op.name === "reduce" && x ? many * (count(x.type) / count(v.type)) : many;
    return (here > 1 && carries.has(v.node.op.name)) || v.node.args.some((a) => visit(a, here));
  };
  return nodes.some((n) => n.args.some((a) => visit(a, 1)));
}
const innerOf = (g: Group, part: Part): Value[] => g.outputs.filter((v) => part.reads.has(v));
const isPoints = ({ depth, outputs }: Part, shape: readonly number[]): boolean =>
  depth === null && outputs.every((v) => equal(shapeOf(v), shape));
const isWhole = ({ summed }: Part, columns: number): boolean =>
  summed !== null && (shapeOf(summed).at(-1) ?? 0) % columns === 0;
/** Whether nothing that a sum adds up must be in memory if the contraction's epilogue does: its other readers are points that do not wait for the sum. */
function spares(g: Group, sum: Part, parts: readonly Part[], results: ReadonlySet<Value>): boolean {
  const after = readersAfter(sum, parts);
  return innerOf(g, sum).every((v) => {
    const readers = parts.filter((p) => p !== sum && p.reads.has(v));
    return !results.has(v) && readers.every((p) => isPoints(p, shapeOf(v)) && p.exact.has(v) && !after.has(p));
  });
}
/** What reads a part's results, also through others; `parts` are in order. */
function readersAfter(part: Part, parts: readonly Part[]): Set<Part> {
  const made = new Set(part.outputs);
  const found = new Set<Part>();
  for (const p of parts) {
    if (![...p.reads].some((v) => made.has(v))) continue;
    found.add(p);
    for (const v of p.outputs) made.add(v);
  }
  return found;
}
/** Points of what a contraction over the same groups made, which this one reads at the same elements: so they are read once. */
function besides(first: Node, g: Group, part: Part): boolean {
  const shared = [...part.exact].filter((v) => g.exact.has(v) && v.node.op === first.op);
  return first.op.name === "ragged_dot" && shared.some((v) => v.node.args[2] === first.args[2]);
}
/** What only begins when others are made would hold up all that is made with it. */
const waits = ({ op }: Node): boolean => op.name === "after";
/** Contractions that one kernel may make, of such. */
function operandsOf(nodes: readonly Node[], { parts, operands = mostOperands }: MergeOptions): number {
  const rows = nodes[0]?.results[0] ? product(shapeOf(nodes[0].results[0]).slice(0, -1)) : 0;
  return parts !== undefined && arePartsOfOne(nodes) ? parts : operands(rows);
}
const putForm = ({ op, attrs, args, results }: Node): string =>
  JSON.stringify([op.name, attrs, args[1]?.node.id, args[1]?.index, results.map(shapeOf)]);
/** Rows are put at the same places of tensors of one shape, each into its own, which nothing else there reads. */
function putsAlike(g: Group, part: Part): boolean {
  const nodes = [...g.nodes, ...part.nodes];
  const [first] = nodes;
  if (!first || first.op.name !== "scatter" || nodes.some((n) => putForm(n) !== putForm(first))) return false;
  const [bases, read] = [
    nodes.map(({ args: [base] }) => base),
    nodes.flatMap(({ args }) => args.slice(1).map(wholeOf)),
  ];
  return innerOf(g, part).length === 0 && new Set(bases).size === bases.length && !read.some((v) => bases.includes(v));
}
/** Two contractions whose left operands, groups and space are one. */
function sameRows(a: Node, b: Node): boolean {
  const [x, y] = [a.results[0], b.results[0]];
  const attrs = JSON.stringify(a.attrs) === JSON.stringify(b.attrs);
  return (
    a.op === b.op &&
    attrs &&
    a.args.length === b.args.length &&
    a.args.every((v, i) => isRight(a, i) || v === b.args[i]) &&
    x !== undefined &&
    y !== undefined &&
    equal(shapeOf(x), shapeOf(y))
  );
}
/** One reads what the other makes, or both read something large, or make little. */
function related(g: Group, part: Part, small: number): boolean {
  const [made, read] = [g.outputs, g.reads];
  const size = Math.max(...part.outputs.map((v) => count(v.type)));
  const serves = (v: Value): boolean => size <= small || 2 * count(v.type) >= size;
  return made.some((v) => part.reads.has(v)) || [...part.reads].some((v) => read.has(v) && serves(v));
}
/** All results are elements of one space, or one for each of its rows. */
function oneSpace(g: Group, part: Part, rowOfFew: number): boolean {
  if (g.depth !== null && part.depth !== null && g.depth !== part.depth) return false;
  const depth = g.depth ?? part.depth;
  const shapes = [...g.outputs, ...part.outputs].map(shapeOf);
  const full = shapes.reduce((a, b) => (b.length > a.length ? b : a));
  if (
    depth !== null &&
    product(full) > rowOfFew * product(full.slice(0, depth)) &&
    product(full.slice(0, depth)) < fewRows
  )
    return false;
  return shapes.every((s) => equal(s, full) || (depth !== null && equal(s, full.slice(0, depth))));
}
/** The group waits for what is as young as that, and so do those that read what it makes. */
function wait(group: Group, youngest: number, readers: ReadonlyMap<Value, readonly Group[]>): void {
  const waiting = [group];
  for (let g = waiting.pop(); g; g = waiting.pop()) {
    if (g.youngest >= youngest) continue;
    g.youngest = youngest;
    for (const v of g.outputs) waiting.push(...(readers.get(v) ?? []));
  }
}
/** Whether something that the part reads, made elsewhere, waits for the group: what waits for nothing so young is not looked through. */
function leadsBack(g: Group, part: Part, makers: ReadonlyMap<Value, Group>): boolean {
  const seen = new Set<Group>([g]);
  const waits = (reads: Iterable<Value>): boolean => {
    for (const v of reads) {
      const maker = makers.get(v);
      if (maker === undefined || (maker === g && reads === part.reads)) continue;
      if (maker === g) return true;
      if (seen.has(maker) || maker.youngest < g.age) continue;
      seen.add(maker);
      if (waits(maker.reads)) return true;
    }
    return false;
  };
  return waits(part.reads);
}
function sorted(groups: readonly Group[], makers: ReadonlyMap<Value, Group>): Group[] {
  const done = new Set<Group>();
  const visit = (g: Group): void => {
    if (done.has(g)) return;
    done.add(g);
    for (const v of g.reads) {
      const maker = makers.get(v);
      if (maker) visit(maker);
    }
    order.push(g);
  };
  const order: Group[] = [];
  groups.forEach(visit);
  return order;
}
