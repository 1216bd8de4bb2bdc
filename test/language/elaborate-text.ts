// For tests of elaboration: elaborates programs given as strings and runs them in the reference interpreter.
import * as assert from "uvu/assert";
import {
  type Elaboration,
  type EntrySignature,
  elaborate,
  entrySignature,
  load,
  type Precision,
  type Sizes,
  sizesFromInputs,
} from "../../compiler/check/index.ts";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { NdArray, Result } from "../../compiler/graph/node.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { ndarray } from "../graphs.ts";

export type Numbers = number | readonly Numbers[];
const flat = (x: Numbers): number[] => (typeof x === "number" ? [x] : x.flatMap(flat));

export interface Run {
  readonly declaration?: string;
  readonly method?: string;
  readonly evaluates?: boolean;
  readonly sizes?: Sizes;
  readonly inputs?: Readonly<Record<string, Numbers>>;
  /** Values for stores, instead of their initial ones. */
  readonly stores?: Readonly<Record<string, Numbers>>;
  readonly precision?: Precision;
  readonly seed?: number;
  readonly step?: number;
}
export interface Outcome {
  readonly elaboration: Elaboration;
  /** Results by role and name: `output 0`, `loss z`, `metric load`, `store m`. */
  readonly values: ReadonlyMap<string, NdArray>;
  /** The values of the stores before the run. */
  readonly stores: ReadonlyMap<string, NdArray>;
}
const keyOf = (r: Result): string => `${r.role} ${r.name}`;

/** Elaborates one entry, in f64 unless `precision` is given, and runs it once with initial values. */
export function run(text: string, options: Run = {}): Outcome {
  const { method = "forward", evaluates = false } = options;
  const inputs = options.inputs ?? {};
  const loaded = load({ name: "test.moe", text });
  const found = sizesOf(entrySignature(loaded, options.declaration, method), inputs);
  const elaboration = elaborate(loaded, {
    ...(options.declaration === undefined ? {} : { declaration: options.declaration }),
    sizes: { ...found, ...options.sizes },
    precision: options.precision ?? "f64",
    entries: [{ name: "e", method, evaluates, sizes: {}, inputs: Object.keys(inputs) }],
  });
  const [entry] = elaboration.entries;
  if (!entry) throw new Error("no entry");
  const stores = hiddenStores(options.seed ?? 1, options.step ?? 0);
  const init = elaboration.init().results;
  interpret(
    init.map((r) => r.value),
    stores,
  ).forEach((v, i) => stores.set(init[i]?.name ?? "", v));
  for (const store of elaboration.stores()) {
    const given = options.stores?.[store.name] ?? inputs[store.name.replace("e/", "")];
    if (given !== undefined) stores.set(store.name, ndarray(dtypeOf(store.type), dims(store.type), flat(given)));
  }
  const { results } = entry.graph;
  const values = interpret(
    results.map((r) => r.value),
    stores,
  );
  return { elaboration, stores, values: new Map(results.map((r, i) => [keyOf(r), values[i] ?? missing(r.name)])) };
}
/** The sizes implied by nested lists; flat lists imply none. */
function sizesOf(signature: EntrySignature, inputs: Readonly<Record<string, Numbers>>): Sizes {
  const shapes = Object.entries(inputs).map(([name, x]): [string, number[]] => [name, shapeIn(x)]);
  const rank = (name: string): number | undefined =>
    signature.arguments.find((a) => a.name === name && a.spread === null)?.axes.length;
  return sizesFromInputs(signature, new Map(shapes.filter(([name, shape]) => shape.length === rank(name))));
}
const shapeIn = (x: Numbers): number[] => (typeof x === "number" ? [] : [x.length, ...shapeIn(x[0] ?? 0)]);
const missing = (name: string): never => {
  throw new Error(`no ${name}`);
};
function hiddenStores(seed: number, step: number): Map<string, NdArray> {
  return new Map([
    ["$key", ndarray("i32", [2], [seed, 0])],
    ["$step", ndarray("i32", [], [step])],
  ]);
}
/** The elements of one result, by default of the first. */
export const output = (text: string, options: Run = {}, name = "output 0"): number[] => [
  ...(run(text, options).values.get(name) ?? missing(name)).data,
];
export const shapeOf = (o: Outcome, name = "output 0"): readonly number[] =>
  (o.values.get(name) ?? missing(name)).shape;
/** The value of one expression; `inputs` become parameters of the function around it. */
export const expression = (
  e: string,
  type: string,
  inputs: Readonly<Record<string, { type: string; value: Numbers }>> = {},
): number[] => {
  const params = Object.entries(inputs).map(([name, { type: t }]) => `${name}: ${t}`);
  const given = Object.fromEntries(Object.entries(inputs).map(([name, { value }]) => [name, value]));
  return output(`fn f(${params.join(", ")}) -> ${type} { return ${e} }`, {
    declaration: "f",
    inputs: given,
    method: "f",
  });
};
/** The values of the stores after the optimizer's step with the given gradients. */
export function stepped(o: Outcome, grads: Readonly<Record<string, Numbers>>): Map<string, number[]> {
  const training = o.elaboration.entries[0]?.training ?? missing("training");
  const stores = new Map(o.stores);
  const values = new Map(
    training.trainable.map(({ store, value }) => {
      stores.set(`grad ${store.name}`, ndarray(dtypeOf(store.type), dims(store.type), flat(grads[store.name] ?? 0)));
      return [
        store.name,
        o.elaboration.g.add(value.node.op, [], { store: `grad ${store.name}`, type: store.type }).results[0] ??
          missing(store.name),
      ];
    }),
  );
  const results = training.update(values);
  const init = o.elaboration.init().results.filter((r) => !stores.has(r.name));
  interpret(
    init.map((r) => r.value),
    stores,
  ).forEach((v, i) => stores.set(init[i]?.name ?? "", v));
  const out = interpret(
    results.map((r) => r.value),
    stores,
  );
  return new Map(results.map((r, i) => [r.name, [...(out[i]?.data ?? [])]]));
}

/** Asserts equality up to `tolerance`, relative to the expected number if that is larger than 1. */
export function near(actual: readonly number[], expected: readonly number[], tolerance = 1e-12): void {
  assert.is(actual.length, expected.length, `${actual.length} numbers for ${expected.length}`);
  actual.forEach((x, i) => {
    const y = expected[i] ?? Number.NaN;
    assert.ok(
      Object.is(x, y) || Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(y)),
      `element ${i}: ${x} for ${y}`,
    );
  });
}
/** Reproducible numbers in [-1, 1). */
export const numbers = (n: number, seed = 1): number[] =>
  Array.from({ length: n }, (_, i) => (((i + 1) * 7919 * (seed + 3)) % 1000) / 500 - 1);
export const at = (list: readonly number[], i: number): number => list[i] ?? Number.NaN;
/** The first diagnostic that a program is rejected with; null if it is not. */
export const errorOf = (run: () => unknown): Diagnostic | null => {
  try {
    run();
  } catch (error) {
    if (error instanceof ProgramError) return error.diagnostics[0] ?? null;
    throw error;
  }
  return null;
};
/** Its code, or "none". */
export const codeOf = (run: () => unknown): string => errorOf(run)?.code ?? "none";
