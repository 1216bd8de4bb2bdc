// `moec merge`: what a run's layers with adapters are without them (their `merged()`), written as a run of the model that it began from.
import { existsSync } from "node:fs";
import { type Elaboration, elaborate, findDeclaration, findModel, type Loaded } from "../compiler/check/index.ts";
import { requireValid } from "../compiler/check/valid.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { modelFlagText } from "../compiler/flag-text.ts";
import type { Store } from "../compiler/graph/node.ts";
import { storeOf, topological } from "../compiler/graph/walk.ts";
import type { CodesOfCopies } from "../compiler/transform/quantise.ts";
import type { Precision } from "../compiler/types/dtype.ts";
import { product, sum } from "../compiler/types/numbers.ts";
import { dims, dtypeOf } from "../compiler/types/type.ts";
import { type CommonOptions, commonRequest, compileLoaded } from "./compile.ts";
import type { Executable } from "./executable/executable.ts";
import { loadRun, programIn } from "./generation/open-run.ts";
import { copyProgram, readProgram } from "./program.ts";
import { type Checkpoint, newestModel, savedTensors, writeCheckpoint } from "./storage/checkpoint.ts";
import { isRun } from "./storage/checkpoint-folder.ts";
import { writeNewFolder } from "./storage/files.ts";
import { codesIn, NamedTensors, namesOf } from "./storage/names.ts";
import { type RunConfig, readConfig, runHelp, writeConfig } from "./storage/run-folder.ts";
import type { StoredTensors } from "./storage/stored-tensor.ts";
import { copyTokenizerFiles, selectCodec } from "./tokenizer/select-codec.ts";
import type { Codec } from "./tokens.ts";
import { singleWorker } from "./workers/workers.ts";

export interface MergeOptions extends Pick<CommonOptions, "set" | "target" | "threads" | "onCompile"> {
  /** The folder of the run: its newest intact checkpoint is merged. */
  readonly folder: string;
  /** A folder that does not exist yet. */
  readonly out: string;
  /** The model without adapters: a .moe file, or a run of it. Default: the run whose parameters this one began with. `set`: values of its header. */
  readonly into?: string | undefined;
  /** Which of the file's models. Default: its only one. */
  readonly model?: string | undefined;
  /** The name of the optimizer's state that is taken for each parameter, where it is kept: an average, such as `ema`. */
  readonly average?: string | undefined;
  readonly warn: (line: string) => void;
}
interface Merged {
  readonly step: number;
  /** The model without adapters, and how many numbers its parameters and states have. */
  readonly model: string;
  readonly parameters: number;
  /** How many of its tensors a `merged()` has set. */
  readonly merged: number;
}
/** A program of which one model is meant, with values for its header. */
interface SizedModel {
  readonly program: Loaded;
  readonly model: string;
  readonly sizes: RunConfig["sizes"];
}

/** Writes the folder of a run whose model has no adapters. What does not fit is found before anything is compiled or written. */
export async function mergeRun(options: MergeOptions): Promise<Merged> {
  const { folder, out, average, warn } = options;
  if (existsSync(out)) throw new Problem(`${out} exists already`, "choose another folder with --out");
  const config = readConfig(folder);
  const adapted = openRunModel(folder);
  const merge = elaborated(adapted, precisionOf(config));
  const merged = mergedNames(merge, config.model, folder).length;
  const base = baseOf(options, config);
  const checkpoint = newestModel(folder, warn, average);
  if (!checkpoint) throw new Problem(`${folder} has no checkpoint`, "train first: moec train writes one");
  try {
    const stores = plainStores(base, precisionOf(config));
    const names = plainNames({ folder, tensors: checkpoint.model, merge }, base.model, stores);
    const run = { config, base, state: checkpoint.state, codec: await selectCodec({}, { folder, config }) };
    const executable = await compiled(adapted, precisionOf(config), options, codesIn(checkpoint.model));
    try {
      const { step } = checkpoint.state;
      await loadRun(executable, checkpoint, config.seed);
      await executable.run(entry.name, new Map(), { seed: config.seed, call: 0, step });
      const saved = savedTensors(executable);
      const model = new Map([...saved.model, ...saved.frozen].filter(([name]) => names.has(name)));
      writeRun(out, run, model);
      const parameters = sum([...model.values()].map(({ shape }) => product(shape)));
      return { step, model: base.model, parameters, merged };
    } finally {
      executable.close();
    }
  } finally {
    checkpoint.close();
  }
}
/** That of the run's checkpoints: training keeps f32 of what it computes in bf16. */
const precisionOf = ({ precision }: RunConfig): Precision => (precision === "f64" ? "f64" : "f32");

const entry = { name: "merged", method: "merged", sizes: {} };
const requestOf = ({ model, sizes }: SizedModel, precision: Precision) => ({
  declaration: model,
  sizes,
  precision,
  entries: [entry],
});
function elaborated(model: SizedModel, precision: Precision): Elaboration {
  requireValid(model.program);
  return elaborate(model.program, requestOf(model, precision));
}
/** `kept`: which parameters are codes, and stay codes where nothing is merged into them. */
async function compiled(
  model: SizedModel,
  precision: Precision,
  options: MergeOptions,
  kept: CodesOfCopies,
): Promise<Executable> {
  const common = commonRequest(options, singleWorker);
  const request = { ...common, ...requestOf(model, precision), kept, restored: true };
  return (await compileLoaded(() => model.program, request)).executable;
}
/** Those of a run's sizes that a model's header declares: B and T may be those of its batches alone. */
function inHeader(program: Loaded, model: string, sizes: RunConfig["sizes"]): RunConfig["sizes"] {
  const header = new Set(findDeclaration(program, model).ast.header.map((p) => p.name.name));
  return Object.fromEntries(Object.entries(sizes).filter(([name]) => header.has(name)));
}
/** The parameters and states of a model, of which no layer may have adapters: those of the run would then count twice. */
function plainStores(base: SizedModel, precision: Precision): Store[] {
  const made = elaborated(base, precision);
  if (setBy(made).size === 0) return made.stores();
  throw new Problem(`${base.model} has adapters itself: a layer of it has a method \`merged()\``, otherModel);
}
const copiesOf = ({ name, type }: Store): string[] => namesOf({ name, shape: dims(type) });
/** The names of stores that a `merged()` sets. */
const setBy = ({ entries }: Elaboration): Set<string> =>
  new Set(entries.flatMap(({ graph }) => graph.results.map(({ name }) => name)));
/** The tensors that a `merged()` sets. */
function mergedNames(merge: Elaboration, model: string, folder: string): string[] {
  const set = setBy(merge);
  if (set.size > 0) return merge.stores().flatMap((s) => (set.has(s.name) ? copiesOf(s) : []));
  throw new Problem(
    `nothing to merge: no layer of ${model} has a method \`merged()\``,
    `in ${folder}, the run's copy of its program, let layers with adapters say what they are without: \`merged() { update weight = weight + scale * (a @ b) }\``,
  );
}

/** The model without adapters. Its header has the values that the run's has, where both have the name. */
function baseOf({ folder, into, model, set }: MergeOptions, config: RunConfig): SizedModel {
  const path = into ?? beganWith(config);
  const base = path === undefined ? null : openBase(path, model);
  if (base) return { ...base, sizes: { ...base.sizes, ...inHeader(base.program, base.model, config.sizes), ...set } };
  if (into !== undefined) throw new Problem(`${into} is neither a .moe file nor a run`, runHelp(into));
  throw new Problem(
    path === undefined
      ? `${folder} did not begin with another run's parameters, so nothing says what it is without adapters`
      : `${folder} began with the parameters of ${path}, which is no run`,
    otherModel,
  );
}
function openRunModel(folder: string): SizedModel {
  const [program, { model, sizes }] = [programIn(folder), readConfig(folder)];
  return { program, model, sizes: inHeader(program, model, sizes) };
}
function openBase(path: string, model: string | undefined): SizedModel | null {
  if (isRun(path)) return openRunModel(path);
  if (!path.endsWith(".moe")) return null;
  const program = readProgram(path);
  return { program, model: findModel(program, model, modelFlagText).ast.name.name, sizes: {} };
}
/** What `--params` named when the run began; if it went on from another run, when that one did. */
const beganWith = ({ params, from }: RunConfig): string | undefined =>
  params ?? (from !== undefined && isRun(from) ? beganWith(readConfig(from)) : from);

interface AdaptedRun {
  readonly folder: string;
  readonly tensors: StoredTensors;
  readonly merge: Elaboration;
}
/** The names of those of a run's tensors that are all that `model`, with these stores, has. What else the run has must have gone into them. */
function plainNames(run: AdaptedRun, model: string, stores: readonly Store[]): ReadonlySet<string> {
  const { folder, merge } = run;
  const tensors = new Map([...run.tensors].filter(([name]) => !name.includes("/"))); // `train/memory`: a state of `train` itself
  const named = new NamedTensors(tensors, folder, `that is its shape in ${model}: ${help}`);
  for (const { name, type, stack } of stores)
    if (!named.take({ name, dtype: dtypeOf(type), shape: dims(type), stack }))
      throw new Problem(`${model} needs \`${name}\`, which ${folder} lacks`, help);
  const lost = new Set(named.unread());
  const read = readByOthers(merge);
  const gone = new Set(merge.stores().flatMap((s) => (read.has(s.name) ? copiesOf(s) : [])));
  const [unmerged] = [...lost].filter((name) => !gone.has(name));
  if (unmerged === undefined) return new Set([...tensors.keys()].filter((name) => !lost.has(name)));
  throw new Problem(
    `${folder} has \`${unmerged}\`, which ${model} lacks and no \`merged()\` reads: it would be lost`,
    `let the \`merged()\` of its layer use it, or ${help}`,
  );
}
/** The names of stores that go into what another becomes. */
const readByOthers = ({ entries }: Elaboration): Set<string | null> =>
  new Set(
    entries.flatMap(({ graph }) =>
      graph.results.flatMap(({ name, value }) =>
        topological([value])
          .map(storeOf)
          .filter((read) => read !== name),
      ),
    ),
  );
const otherModel = "name the model without adapters: --into MODEL.moe, or the folder of a run of it";
const help = `${otherModel}; --set NAME=VALUE changes the values of its header`;

interface PlainRun {
  readonly config: RunConfig;
  readonly base: SizedModel;
  readonly state: Checkpoint["state"];
  readonly codec: Codec;
}
function writeRun(out: string, { config, base, state, codec }: PlainRun, model: StoredTensors): void {
  const { best: _, ...kept } = state;
  const plain = configOf(config, base);
  writeNewFolder(out, (path) => {
    copyProgram(base.program, path);
    copyTokenizerFiles(codec, path);
    writeConfig(path, plain);
    writeCheckpoint(path, { ...kept, sizes: plain.sizes }, { model, training: new Map() });
  });
}
/** All that says how the run reads and writes text, and what it was trained on; not how. */
function configOf(run: RunConfig, { model, sizes }: SizedModel): RunConfig {
  const { params: _, from: __, accumulate: ___, recompute: ____, keepBest: _____, ...kept } = run;
  const rows = Object.entries(run.sizes).filter(([name]) => name === "B" || name === "T");
  return { ...kept, model, sizes: { ...sizes, ...Object.fromEntries(rows) } };
}
