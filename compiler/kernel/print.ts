// Prints kernels and expressions. The hash of this text names a kernel.
import { item } from "../item.ts";
import type { Axis, Buffer, Expr, Kernel, Prefetch, Stmt } from "./ir.ts";

/** Binary operations written with a sign, with their precedence: a higher level binds tighter, as in C. */
export const infix: Readonly<Record<string, readonly [text: string, level: number]>> = {
  mul: ["*", 6],
  div: ["/", 6],
  over: ["/", 6],
  "*": ["*", 6],
  "/": ["/", 6],
  "%": ["%", 6],
  add: ["+", 5],
  sub: ["-", 5],
  "+": ["+", 5],
  "-": ["-", 5],
  lt: ["<", 4],
  le: ["<=", 4],
  gt: [">", 4],
  ge: [">=", 4],
  eq: ["==", 3],
  ne: ["!=", 3],
  xor: ["^", 2],
};
const signs: typeof infix = { ...infix, and: ["&&", 1], or: ["||", 0] };

/** The text of an expression; in parentheses where its precedence is below `above`. */
export function show(x: Expr, above = 0): string {
  if (x.e === "num") return Object.is(x.value, -0) ? "-0" : String(x.value);
  if (x.e === "var") return x.name;
  if (x.e === "load") return `${x.from.name}[${x.at.map((y) => show(y)).join(", ")}]`;
  const [sign, level] = signs[x.op] ?? [];
  if (sign === undefined || level === undefined) return `${x.op}(${x.args.map((y) => show(y)).join(", ")})`;
  const text = x.args.map((y, i) => show(y, level + i)).join(` ${sign} `);
  return level < above ? `(${text})` : text;
}
const layout = (b: Buffer): string => {
  if (b.layout.kind === "panels") return ` panels ${b.layout.width}`;
  return b.layout.pitch === (b.shape.at(-1) ?? 1) ? "" : ` pitch ${b.layout.pitch}`;
};
const axis = (a: Axis): string =>
  `${a.v.name} in ${show(a.from)} .. ${show(a.to)}${a.step === 1 ? "" : ` by ${a.step}`}${a.skip ? ` but ${show(a.skip.by)} from ${show(a.skip.at)}` : ""}`;

/** A parameter as `name: dtype[shape]`, with its layout. */
export const showBuffer = (b: Buffer): string => `${b.name}: ${b.dtype}[${b.shape.join(", ")}]${layout(b)}`;

export function print(k: Kernel): string {
  const params = k.params.map(showBuffer);
  const locals = k.locals.map((b) => `  local ${b.name}: ${b.dtype}[${b.shape.join(", ")}]`);
  const head = [
    `kernel ${k.name}(${params.join(", ")})`,
    `  // ${k.doc}`,
    ...locals,
    ...k.grid.map((a) => `  task ${axis(a)}`),
  ];
  return `${[...head, ...k.body.flatMap(lines).map((l) => `  ${l}`)].join("\n")}\n`;
}
const block = (head: string, body: readonly Stmt[], last: readonly string[] = []): string[] => [
  head,
  ...[...body.flatMap(lines), ...last].map((l) => `  ${l}`),
];
/** A body that ends with a value; on one line if there are no statements. */
const valued = (head: string, body: readonly Stmt[], value: Expr): string[] =>
  body.length === 0 ? [`${head}: ${show(value)}`] : block(head, body, [`= ${show(value)}`]);

export function lines(s: Stmt): string[] {
  switch (s.s) {
    case "let":
      return [`let ${s.v.name} = ${show(s.value)}`];
    case "for":
      return block(`for ${axis(s.axis)}`, s.body);
    case "if":
      return block(`if ${show(s.cond)}`, s.body);
    case "tile":
      return [
        `${s.tile.role} ${s.tile.name}[${s.tile.shape.join(", ")}] ${s.at ? `at ${show(s.at)}` : s.tile.role === "own" ? "of a lane" : `= ${s.fill}`}`,
      ];
    case "stage": {
      const vs = s.vs.map((v, d) => `${v.name} < ${show(item(s.valid, d))} of ${item(s.tile.shape, d)}`);
      return valued(`stage${s.tile.form ? ` ${s.tile.form}` : ""} ${s.tile.name}[${vs.join(", ")}]`, s.body, s.value);
    }
    case "mma":
      return [
        `mma ${s.acc.map((c, n) => `${c.name} += ${s.a.name}${s.transposed ? "^T" : ""} @ ${item(s.b, n).name}`).join(", ")}`,
      ];
    case "each":
      return block(
        `each ${s.over.name}[${s.vs.map((v, d) => `${v.name} < ${show(item(s.valid, d))}`).join(", ")}]`,
        s.body,
      );
    case "par":
      return block(`par ${s.v.name} < ${show(s.extent)}${showPrefetch(s)}`, s.body);
    case "fold":
      return valued(`fold ${s.into.name} = ${s.op} ${s.v.name} < ${show(s.extent)}${showPrefetch(s)}`, s.body, s.value);
    case "moments":
      return valued(
        `moments ${s.sum.name}, ${s.squares.name} of ${s.v.name} < ${show(s.extent)}${showPrefetch(s)}`,
        s.body,
        s.value,
      );
    case "both":
      return block("both", s.body);
    case "foldrows":
      return valued(
        `fold ${s.into.name}[${s.vs[0].name}] = ${s.op} ${s.vs[1].name} < ${show(s.extent)}`,
        s.body,
        s.value,
      );
    case "scan":
      return block(`scan ${s.sum.name} over ${s.v.name} < ${show(s.extent)}: ${show(s.value)}`, s.body);
    case "tally":
      return block(
        `tally ${s.rank.name} = ${s.counts.name}[${show(s.key)}]++ over ${s.v.name} < ${show(s.extent)}`,
        s.body,
      );
    case "store":
      return [`${s.to.name}[${s.at.map(show).join(", ")}] = ${s.run ? `sum of ${s.run}: ` : ""}${show(s.value)}`];
    case "sync":
      return ["sync"];
  }
}
function showPrefetch({ prefetchDistance, loop }: Prefetch): string {
  if (prefetchDistance === undefined) return "";
  return `, ahead ${prefetchDistance}${loop ? ` (loop ${loop.index} of ${loop.of})` : ""}`;
}
