// Calls the TypeScript interface in random wrong ways, on the host and in the interpreter. Each error must say what to do, and later correct calls
// must work.
import { join } from "node:path";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import {
  type CompileOptions,
  compile,
  moe,
  type Program,
  type Source,
  type TrainOptions,
  tensor,
  tensorOf,
  toNested,
  train,
  writeSafetensors,
  zeros,
} from "../../runtime/index.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { Draw } from "./random-graph.ts";

const handles = moe`
  import { Linear } from "std/nn"
  import { Sgd } from "std/optim"
  layer Some(D, E) {
    param w: f32[D] = 2
    state seen: f32 = 0
    state calls: i32 = 0
    experts: Linear(D, 2)[E]
    forward(x: float[N, D], index: i32[N], on: bool[N], scale: f32 = 1) -> (float[N, 2], i32, f32) {
      update calls = calls + 1
      update seen = seen + sum(f32(where(on, index, -1))) / 8
      return experts[index](float(scale * w) * x), sum(on), seen + calls
    }
  }
  model Fit(D) {
    param w: float[D] = 2
    state seen: f32 = 0
    train(x: float[N, D], on: bool[N]) {
      loss square = mean(f32(w * where(on[:, new], x, 1) * x)) ** 2
      metric seen = seen
      update seen = seen + 1
      optimize with Sgd(lr: 1e-2)
    }
  }
`;
const targets = ["host", "reference"] as const;
const sizes = { D: 3, E: 2, N: 4 };
const [Some, Fit] = [handles["Some"], handles["Fit"]];

const words = ["", "x"];
const numbers = [3, -1, 0, -0, 0.5, Number.NaN, Infinity, 2 ** 31, 2 ** 53];
/** A value of any kind, to replace a correct one. */
function odd(draw: Draw): unknown {
  const detached = new Float32Array(12);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  const list: (() => unknown)[] = [
    undefined,
    null,
    true,
    ...words,
    ...numbers,
    10n,
    Symbol("x"),
    () => 3,
    detached,
    new ArrayBuffer(48),
    new DataView(new ArrayBuffer(48)),
    new BigInt64Array(12),
    new Map(),
    new Date(0),
    /x/,
    new Proxy({}, {}),
    Object.create(null),
    Promise.resolve(3),
  ].map((x) => () => x);
  const nested = (): unknown =>
    draw.of<() => unknown>([() => [], () => ({}), () => [odd(draw)], () => tensorOdd(draw)])();
  return draw.chance(0.3) ? nested() : draw.of(list)();
}
/** Something that is almost a tensor. */
function tensorOdd(draw: Draw): unknown {
  const right: Record<string, unknown> = { dtype: "f32", shape: [4, 3], data: new Float32Array(12) };
  const dtype = draw.of(["f32", "f64", "bf16", "i32", "bool"] as const);
  const key = draw.of(["dtype", "shape", "data"]);
  if (draw.chance(0.3)) return zeros(dtype, draw.of([[4, 3], [12], [], [0], [4, 3, 1], [3, 4]]));
  return { ...right, [key]: odd(draw) };
}
const bools = (draw: Draw): Uint8Array => Uint8Array.from({ length: 4 }, () => draw.below(2));
const floats = (draw: Draw, n: number): Float32Array => Float32Array.from({ length: n }, () => draw.below(9) / 4 - 1);
/** The same elements, sometimes at an offset in another kind of memory (shared, resizable). */
function held(draw: Draw, x: Float32Array): Float32Array {
  const bytes = draw.of([
    () => Reflect.construct(ArrayBuffer, [64, { maxByteLength: 80 }]) as ArrayBuffer,
    () => new SharedArrayBuffer(64),
  ])();
  if (draw.chance(0.5)) return x;
  const view = new Float32Array(bytes, 4, x.length);
  view.set(x);
  return view;
}
type Wrong<T> = { readonly [K in keyof T]: unknown };
const right = (draw: Draw): Record<string, unknown> => ({
  x: draw.chance(0.8) ? held(draw, floats(draw, 12)) : tensor("f32", [4, 3], floats(draw, 12)),
  index: Int32Array.from({ length: 4 }, () => draw.below(4) - 1),
  on: bools(draw),
});
/** The inputs, sometimes with one missing or replaced by something else. */
function inputsOf(draw: Draw, good: Record<string, unknown>): Record<string, unknown> {
  if (draw.chance(0.5)) return good;
  if (draw.chance(0.1)) return odd(draw) as Record<string, unknown>;
  const key = draw.of([...Object.keys(good), "scale", "__proto__", "constructor", ""]);
  if (draw.chance(0.2)) return Object.fromEntries(Object.entries(good).filter(([name]) => name !== key));
  const ends = [
    new Float32Array(12).fill(Number.NaN),
    Uint8Array.of(0, 1, 2, 255),
    Int32Array.of(9, -9, 2 ** 31 - 1, 0),
  ];
  return { ...good, [key]: draw.chance(0.3) ? draw.of(ends) : odd(draw) };
}

/** The result or error as text that is equal on all targets. Errors that do not say what to do are thrown. */
async function outcomeOf(work: () => unknown): Promise<string> {
  try {
    return shown(await work());
  } catch (error) {
    if (error instanceof Stop) return "stopped";
    if (error instanceof ProgramError) return error.message;
    if (!(error instanceof Problem) || error.help === "")
      throw error instanceof Error ? new Error(`${error.stack}`, { cause: error }) : error;
    return error.message;
  }
}
class Stop extends Error {}
const shown = (x: unknown): string =>
  JSON.stringify(x ?? "nothing", (_, value: unknown) => {
    if (value instanceof Map) return [...(value as Map<string, unknown>)].toSorted(([a], [b]) => (a < b ? -1 : 1));
    if (ArrayBuffer.isView(value))
      return Array.from(value as Float32Array, (e) => (Number.isFinite(e) ? e.toFixed(5) : String(e)));
    return value;
  });

type Step = (program: Program, draw: Draw) => Promise<unknown>;
const steps: readonly Step[] = [
  ...[0, 0, 0].map((): Step => (program, draw) => program.run(inputsOf(draw, right(draw)) as never)),
  (program, draw) =>
    program.run(right(draw) as never, (draw.chance(0.5) ? odd(draw) : { step: odd(draw), signal: undefined }) as never),
  (program, draw) => program.run(right(draw) as never, { signal: odd(draw) } as never),
  (program, draw) => {
    const [one, two] = [right(draw), inputsOf(draw, right(draw))];
    return Promise.all([one, two, one].map((given) => outcomeOf(() => program.run(given as never))));
  },
  async (program, draw) => {
    const runs = [0, 1, 2].map((i) =>
      outcomeOf(() =>
        program.run(right(draw) as never, { signal: i === 1 ? AbortSignal.abort(new Stop()) : undefined }),
      ),
    );
    const busy = await Promise.all([outcomeOf(() => program.read("w")), outcomeOf(() => program.load(new Map()))]);
    return [busy, await Promise.all(runs)];
  },
  async (program, draw) => program.read(draw.chance(0.6) ? draw.of(program.names) : draw.of(strange)),
  async (program, draw) => program.load((draw.chance(0.2) ? odd(draw) : loaded(draw)) as never),
  async (program) => program.names.map((name) => program.read(name)),
  async (program, draw) => (draw.chance(0.1) ? program.close() : program.names),
  (program, draw) => program.update((draw.chance(0.5) ? 1 : odd(draw)) as number),
];
const strange = ["", "x", "w.0", "experts", "experts.2.weight", "experts.*.weight", "__proto__", "forward/x", "$key"];
function loaded(draw: Draw): Map<unknown, unknown> {
  const good: [unknown, unknown][] = [
    ["w", tensor("f32", [3], floats(draw, 3))],
    ["experts.weight", tensor("f32", [2, 3, 2], floats(draw, 12))],
    ["experts.1.weight", tensor("f32", [3, 2], floats(draw, 6))],
    ["calls", tensor("i32", [], [draw.below(9)])],
  ];
  const some = good.filter(() => draw.chance(0.5));
  if (draw.chance(0.5)) return new Map(some);
  return new Map([
    ...some,
    [draw.chance(0.5) ? draw.of(good)[0] : draw.of(strange), draw.chance(0.5) ? draw.of(good)[1] : odd(draw)],
  ]);
}
/** Makes the same sequence of calls on all targets and compares the outcomes: a correct call must not fail after a wrong one. */
async function checkCalls(draw: Draw, seed: string): Promise<void> {
  const gradients = draw.chance(0.3);
  const length = 3 + draw.below(12);
  const all: string[][] = [];
  for (const target of targets) {
    const program = await compile(Some, { sizes, target, gradients, threads: 2 });
    const own = new Draw(seed);
    const said: string[] = [];
    for (let i = 0; i < length; i++) {
      const step = own.below(steps.length);
      said.push(`${step}: ${await outcomeOf(() => (steps[step] as Step)(program, own))}`);
    }
    program.close();
    all.push(said);
  }
  same(all);
}
/** Asserts that texts are equal, except for rounding of numbers with decimal points. */
function same([one = [], other = []]: readonly string[][]): void {
  const point = /-?\d+(?:\.\d+|e-\d+)+/g;
  const pointed = (text: string): number[] => [...text.matchAll(point)].map(([x]) => Number(x));
  const near = (a: string, b: string): boolean =>
    pointed(a).every((x, i) => Math.abs(x - (pointed(b)[i] ?? Number.NaN)) <= 1e-4 * Math.max(1, Math.abs(x)));
  const alike = one.map((a, i) => {
    const b = other[i] ?? "";
    return a.replaceAll(point, "#") === b.replaceAll(point, "#") && near(a, b) ? a : b;
  });
  assert.equal([...alike, ...other.slice(one.length)], one);
}
/** Trains with batches of every kind, and does things in the loop's body that it should not. */
async function checkTraining(seed: string): Promise<void> {
  const all: string[][] = [];
  for (const target of targets) all.push(await trainedOn(target, new Draw(seed)));
  same(all);
}
async function trainedOn(target: (typeof targets)[number], draw: Draw): Promise<string[]> {
  const said: string[] = [];
  const good = (): Record<string, unknown> => ({ x: floats(draw, 12), on: bools(draw) });
  const stop = new AbortController();
  async function* batches() {
    for (let i = 2 + draw.below(5); i > 0; i--) {
      if (draw.chance(0.05)) throw new Stop();
      yield draw.chance(0.8) ? good() : inputsOf(draw, good());
    }
  }
  const options: Wrong<TrainOptions> = {
    batches: batches(),
    sizes: { D: 3, N: 4 },
    target,
    accumulate: draw.of([1, 1, 2, 3]),
    signal: stop.signal,
    threads: 2,
  };
  const key = draw.of(["accumulate", "parameters", "signal", "seed"]);
  const given = draw.chance(0.2) ? { ...options, [key]: odd(draw) } : options;
  said.push(
    await outcomeOf(async () => {
      for await (const { step, loss, losses, metrics, program } of train(Fit, given as unknown as TrainOptions)) {
        said.push(shown([step, loss, losses, metrics]));
        const how = draw.below(12);
        if (how === 0) stop.abort();
        if (how === 1) program.close();
        if (how === 2) break;
        if (how === 3) throw new Stop();
        if (how === 4) said.push(await outcomeOf(() => program.run(good() as never)));
        if (how === 5) said.push(await outcomeOf(() => program.load(new Map([["w", tensor("f32", [3], [1, 2, 3])]]))));
        if (how === 6) said.push(await outcomeOf(() => program.update(odd(draw) as number)));
        if (how === 7)
          said.push(await outcomeOf(() => Promise.all([program.run(good() as never), program.run(good() as never)])));
        said.push(await outcomeOf(() => program.read("w")));
      }
    }),
  );
  return said;
}
/** Compiles with options of every kind, for the interpreter because it is fastest. */
async function checkOptions(draw: Draw): Promise<void> {
  const good: Wrong<CompileOptions> = {
    entry: "forward",
    sizes,
    target: "reference",
    precision: "f32",
    threads: 1,
    seed: 0,
    gradients: false,
    given: [],
    evaluates: false,
    tf32: false,
  };
  const key = draw.of(Object.keys(good));
  const inner = draw.of(Object.keys(sizes));
  const given =
    key === "sizes" && draw.chance(0.7)
      ? { ...good, sizes: { ...sizes, [inner]: odd(draw) } }
      : { ...good, [key]: odd(draw) };
  const source = (
    draw.chance(0.1) ? odd(draw) : draw.chance(0.1) ? { [draw.chance(0.5) ? "file" : "text"]: odd(draw) } : Some
  ) as Source;
  const options = (draw.chance(0.05) ? odd(draw) : given) as CompileOptions;
  const large = (Object(Object(options).sizes) as Record<string, unknown>)[inner];
  if (typeof large === "number" && large > 1e6) return;
  await outcomeOf(async () => (await compile(source, options)).close());
}
const folder = temporaryFolder();
/** Calls the functions that make and read tensors. */
async function checkTensors(draw: Draw): Promise<void> {
  const any = (x: unknown): never => (draw.chance(0.5) ? odd(draw) : x) as never;
  await outcomeOf(() => tensor(any("f32"), any([2]), any([1, 2])));
  await outcomeOf(() => tensorOf(any("i32"), any([[1], [2]]), "x"));
  await outcomeOf(() => zeros(any("bool"), any([2])).shape);
  await outcomeOf(() => toNested(any(tensorOdd(draw))));
  await outcomeOf(() => writeSafetensors(join(folder, "x"), new Map([["x", any(tensorOdd(draw))]])));
}
export async function checkMisused(seed: string): Promise<void> {
  const draw = new Draw(seed);
  for (let i = 0; i < 10; i++) await checkOptions(draw);
  for (let i = 0; i < 10; i++) await checkTensors(draw);
  for (let i = 0; i < 6; i++) await checkCalls(draw, `${seed} ${i}`);
  for (let i = 0; i < 6; i++) await checkTraining(`${seed} training ${i}`);
}
