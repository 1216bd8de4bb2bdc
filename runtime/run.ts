// `moec run`: runs an entry once, from named input tensors to named result tensors.
import { type Argument, type EntrySignature, type Loaded, sizesFromInputs } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { gradFlagText } from "../compiler/flag-text.ts";
import { pluralize } from "../compiler/pluralize.ts";
import type { Precision } from "../compiler/types/dtype.ts";
import { product, sameShape } from "../compiler/types/numbers.ts";
import { type CommonOptions, commonRequest, type ParameterSharing, type Sizes } from "./compile.ts";
import {
  type Executable,
  inputOfStore,
  type Outcome,
  requireGiven,
  type StoreInfo,
  storeOfInput,
  type Tensor,
} from "./executable/executable.ts";
import type { InputFigures } from "./figures.ts";
import { afterErrors, findEntry, headerSizes, readProgram } from "./program.ts";
import { readJsonObject } from "./storage/json.ts";
import { splitStacked } from "./storage/names.ts";
import {
  type LoadedParameters,
  loadParameters,
  matchParameters,
  readParameters,
  sizesFromConfig,
  upcycledArrays,
} from "./storage/parameters.ts";
import { readSafetensors } from "./storage/safetensors.ts";
import { type CopiedArray, requireLayers } from "./storage/upcycle.ts";
import { convert, fromNested, fromNumbers, requireIndices, showShape } from "./tensor.ts";
import { sumByName } from "./training/means.ts";
import { compileOnWorkers } from "./workers/compile-on-workers.ts";
import { requireEqualEntries, requireEqualSharing, requireFiles } from "./workers/train-distributed.ts";
import { singleWorker, type Workers } from "./workers/workers.ts";

export interface RunOptions extends CommonOptions, ParameterSharing {
  /** The path of a .moe file. */
  readonly program: string;
  /** `Declaration`, `Declaration.method` or a function. Default: the file's only model. */
  readonly entry?: string | undefined;
  /** A file of inputs: JSON if its name ends in .json or it is /dev/stdin (a pipe), else safetensors. */
  readonly input?: string | undefined;
  /**
   * A safetensors file, or a folder that training or transformers wrote, whose config.json then gives the sizes that neither `set` nor the inputs
   * give.
   */
  readonly params?: string | undefined;
  /** Whether arrays of layers that `params` lacks begin as copies of its layers. */
  readonly upcycle?: boolean | undefined;
  /** Whether to compute gradients too: of the sum of all losses, plus the sum of each float result I times the input `cotangent.I`. */
  readonly gradients?: boolean | undefined;
  readonly seed?: number | undefined;
  /** Called with warnings. */
  readonly warn?: ((line: string) => void) | undefined;
  /** Called with what is copied. */
  readonly onCopies?: ((copies: readonly CopiedArray[]) => void) | undefined;
}

/**
 * Runs one entry. Returns the results `0`, `1`, ...; `loss.NAME`; `metric.PATH.NAME`; `state.PATH`; `grad.PATH`, `grad.input.NAME`; and `param.PATH`
 * for each parameter that was drawn from the seed. All workers call it, with the same options, and have all results.
 */
export async function runEntry(options: RunOptions, world: Workers = singleWorker): Promise<Map<string, Tensor>> {
  const { seed = 0, gradients = false } = options;
  requireLayers(options);
  requireEqualSharing(options, world);
  requireFiles(options.input === undefined ? [] : [options.input], world, "--input");
  const program = readProgram(options.program);
  const { entry, inputs, params, sizes } = afterErrors(program, () => readGiven(program, options));
  const given = [...inputs.keys()].filter((name) => !isCotangent(name));
  const request = {
    declaration: entry.declaration,
    sizes,
    entries: [{ method: entry.method, name: entry.method, sizes: {}, inputs: given, gradients }],
    ...commonRequest(options, world),
  };
  const onInputs = (figures: InputFigures): void => requireInputs(entry.method, inputs, figures);
  const onStores = (stores: readonly StoreInfo[]): void => void (params && matchParameters(stores, params));
  try {
    requireEqualEntries(program, { ...request, seed, params }, world);
    const { executable } = await compileOnWorkers(() => program, { ...request, onInputs, onStores });
    if (params?.upcycle) options.onCopies?.(upcycledArrays(executable.stores, params)); // a program of the cache has no onStores
    return await runOn(executable, entry.method, { inputs, params, seed }).finally(() => executable.close());
  } finally {
    params?.close?.();
  }
}
interface Given {
  readonly entry: EntrySignature;
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly sizes: Sizes;
  readonly params: LoadedParameters | null;
}
/** What the options say of the entry and of what it gets. The caller closes `params`. */
function readGiven(program: Loaded, options: RunOptions): Given {
  const { input, precision = "f32", gradients = false, params, set = {} } = options;
  const entry = findEntry(program, options.entry);
  const inputs = input === undefined ? new Map<string, Tensor>() : readInputs(input, entry, precision);
  requireResults([...inputs.keys()], entry, gradients);
  const said = params === undefined ? {} : headerSizes(entry, sizesFromConfig(params));
  const sizes = { ...said, ...sizesOf(entry, set, inputs) };
  return { entry, inputs, sizes, params: weightsOf(options) }; // last, as it opens files
}
/** Throws Problem unless each input that is read is given, and what is looked up is there. */
function requireInputs(method: string, inputs: ReadonlyMap<string, Tensor>, { choices, reads }: InputFigures): void {
  const read = reads
    .filter((store) => store.startsWith(storeOfInput(method, "")))
    .map((store) => inputOfStore(method, store));
  requireGiven(
    method,
    read.filter((name) => !isCotangent(name)),
    inputs,
  );
  for (const [name, t] of inputs) requireIndices(name, t, choices[storeOfInput(method, name)]);
}
const weightsOf = ({ params, upcycle = false, warn = () => {} }: RunOptions): LoadedParameters | null =>
  params === undefined ? null : { ...readParameters(params, warn), upcycle };
/** The same for an entry that is already compiled. */
export async function runOn(
  executable: Executable,
  entry: string,
  given: {
    readonly inputs: ReadonlyMap<string, Tensor>;
    readonly params: LoadedParameters | null;
    readonly seed: number;
  },
): Promise<Map<string, Tensor>> {
  const prepare = async (): Promise<Map<string, Tensor>> => {
    await executable.run("init", new Map(), { seed: given.seed, call: 0, step: 0 });
    return loadParameters(executable, given.params ?? { path: "", tensors: new Map() });
  };
  const fresh = await prepare();
  const outcome = await runOnce(executable, entry, given.inputs, given.seed, prepare);
  return new Map([
    ...results(executable, outcome),
    ...[...fresh].map(([name, t]): [string, Tensor] => [`param.${name}`, t]),
  ]);
}

/** The sizes that the inputs' shapes imply, and those set by hand; a Problem if they differ. */
function sizesOf(entry: EntrySignature, set: Sizes, inputs: ReadonlyMap<string, Tensor>): Sizes {
  const said = new Map(
    Object.entries(sizesFromInputs(entry, new Map([...inputs].map(([name, t]) => [name, t.shape])))),
  );
  for (const [name, value] of Object.entries(set)) {
    const other = said.get(name);
    if (other !== undefined && String(other) !== String(value))
      throw new Problem(
        `${name} is ${String(value)} by --set and ${String(other)} by the inputs`,
        `leave --set ${name} out`,
      );
  }
  return { ...set, ...Object.fromEntries(said) };
}

/** Reads JSON (`{ "x": [[1, 2]] }`) or safetensors. Names must be the entry's inputs or `cotangent.I`. */
function readInputs(path: string, entry: EntrySignature, precision: Precision): Map<string, Tensor> {
  const known = new Map(entry.arguments.map((a) => [a.name, a]));
  const f32 = precision === "f64" ? "f64" : "f32";
  const dtypeOf = (name: string): Tensor["dtype"] => {
    const dtype = known.get(name)?.dtype ?? "f32";
    return dtype === "float" ? precision : dtype === "f32" ? f32 : dtype;
  };
  const check = (name: string): void => {
    if (known.has(name) || /^cotangent\.\d+$/.test(name)) return;
    throw new Problem(
      `${path}: \`${name}\` is not an input`,
      `the inputs are ${[...known.keys()].join(", ") || "none"}, and cotangent.0 and on`,
    );
  };
  const tensors = /\.json$|^\/dev\/stdin$/.test(path)
    ? Object.entries(
        readJsonObject(
          path,
          'write an object of nested arrays: { "x": [[1, 2]] }; infinity and NaN are strings, "NaN"',
        ),
      ).map(([name, x]): [string, Tensor] => [
        name,
        requireAllAxes(fromNested(dtypeOf(name), x, `${path}: \`${name}\``), known.get(name)),
      ])
    : [...readSafetensors(path)];
  return new Map(
    tensors.map(([name, t]) => {
      check(name);
      return [name, convert(t, dtypeOf(name))];
    }),
  );
}
const isCotangent = (name: string): boolean => name.startsWith("cotangent.");
/** Throws Problem if a cotangent is given of a result that the entry does not have, or without gradients. */
function requireResults(given: readonly string[], { method, results }: EntrySignature, gradients: boolean): void {
  for (const name of given.filter(isCotangent)) {
    if (!gradients) throw new Problem(`\`${name}\` is given, and no gradients are asked for`, `add ${gradFlagText}`);
    if (Number(name.slice("cotangent.".length)) >= results.length)
      throw new Problem(
        `\`${name}\` is of no result: \`${method}\` has ${pluralize(results.length, "result")}`,
        "they count from 0",
      );
  }
}
/** Throws Problem if an axis of 0 hides later axes, which nested arrays cannot express. */
function requireAllAxes(t: Tensor, argument: Argument | undefined): Tensor {
  if (argument && t.shape.at(-1) === 0 && t.shape.length < argument.axes.length)
    throw new Problem(
      `JSON cannot say the axes of ${argument.name}: ${argument.text} that follow one of 0`,
      "give it as safetensors",
    );
  return t;
}

/**
 * Runs with absent cotangents of 0 if there are losses, else of 1. Whether there are losses is known only after the first run, which may therefore be
 * repeated.
 */
async function runOnce(
  executable: Executable,
  entry: string,
  inputs: ReadonlyMap<string, Tensor>,
  seed: number,
  prepare: () => Promise<unknown>,
): Promise<Outcome> {
  const prefix = storeOfInput(entry, "");
  const stores = executable.stores.flatMap((s) =>
    s.role === "input" && s.name.startsWith(prefix) ? [{ ...s, name: s.name.slice(prefix.length) }] : [],
  );
  const absent = stores.filter((s) => isCotangent(s.name) && !inputs.has(s.name));
  const given = [...inputs].map(([name, t]): [string, Tensor] => [name, fitted(name, t, stores)]);
  const run = (fill: number): Promise<Outcome> => {
    const filled = absent.map(({ name, dtype, shape }): [string, Tensor] => [
      name,
      fromNumbers(dtype, shape, new Float64Array(product(shape)).fill(fill)),
    ]);
    return executable.run(entry, new Map([...given, ...filled]), { seed, call: 0, step: 0 });
  };
  const outcome = await run(0);
  if (absent.length === 0 || outcome.losses.size > 0) return outcome;
  await prepare();
  return run(1);
}
function fitted(name: string, t: Tensor, stores: readonly StoreInfo[]): Tensor {
  const store = stores.find((s) => s.name === name);
  if (!store)
    throw new Problem(
      `\`${name}\` is not read by this entry`,
      `it reads ${stores.map((s) => s.name).join(", ") || "nothing"}`,
    );
  if (!sameShape(t.shape, store.shape))
    throw new Problem(
      `\`${name}\` has shape ${showShape(t.shape)} and must have ${showShape(store.shape)}`,
      "give a tensor of that shape",
    );
  return convert(t, store.dtype);
}

function results(executable: Executable, { outputs, losses, metrics, gradients }: Outcome): Map<string, Tensor> {
  const states = executable.stores.filter((s) => s.role === "state");
  return new Map([
    ...outputs.map((t, i): [string, Tensor] => [String(i), t]),
    ...[...sumByName(losses)].map(([name, x]): [string, Tensor] => [`loss.${name}`, fromNumbers("f64", [], [x])]),
    ...copiesOf("metric", metrics),
    ...copiesOf(
      "state",
      states.map((s) => [s.name, executable.read(s.name)]),
    ),
    ...copiesOf("grad", gradients),
  ]);
}
const copiesOf = (prefix: string, tensors: Iterable<readonly [string, Tensor]>): [string, Tensor][] =>
  [...tensors].flatMap(([name, t]) => splitStacked(name, t)).map(([name, t]) => [`${prefix}.${name}`, t]);
