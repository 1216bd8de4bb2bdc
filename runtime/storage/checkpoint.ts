// Reads and writes checkpoints: a folder `step-000400` with the model's tensors, the optimizer's, and state.json, which records sizes and hashes of
// both files.

import { createHash } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import { compilerVersion } from "../../compiler/assets.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { shapeOfScales } from "../../compiler/transform/quantise.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import type { Codes, Executable, StoreInfo, Tensor } from "../executable/executable.ts";
import { firstNonFinite, sameShape } from "../tensor.ts";
import { makeFolder, readText, sha256, sha256OfFile, syncFolder, writeAtomic, writeFlushed } from "./files.ts";
import { formatVersion, NewerFormat, requireKnownFormat } from "./format.ts";
import { requireJson } from "./json.ts";
import { NamedTensors, savedNames, stackOf, writeStored } from "./names.ts";
import { openSafetensors, safetensorsChunks } from "./safetensors.ts";
import { asKept, inMemory, type StoredTensor, type StoredTensors } from "./stored-tensor.ts";

/**
 * Everything besides tensors that is needed to resume with the same bits. `position`: how many tokens of each stream were read; none with --shuffle.
 * `call`: the call number that random numbers are keyed by.
 */
export interface TrainingState {
  readonly step: number;
  readonly sizes: Readonly<Record<string, number | boolean>>;
  readonly random: { readonly seed: number; readonly call: number };
  readonly data: { readonly hash: string; readonly bytes: number; readonly position?: number | undefined };
  readonly tokenizer: string;
  /** Of a run that compares its evaluations. */
  readonly best?: BestEvaluation | undefined;
}
/** The lowest held-out loss of a run so far, the step after which it was measured, and how many evaluations were made since. */
export interface BestEvaluation {
  readonly step: number;
  readonly heldOut: number;
  readonly since: number;
}
export interface Checkpoint {
  readonly path: string;
  /** Of state.json, which has the hashes of the files of tensors: equal ones are of the same checkpoint. */
  readonly checksum: string;
  readonly state: TrainingState;
  readonly model: StoredTensors;
  readonly training: StoredTensors;
  /** Until then its files stay open, so that their tensors can be read even if training deletes them meanwhile. */
  readonly close: () => void;
}
type Saved = Pick<Checkpoint, "model" | "training">;
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const fileSchema = v.object({ bytes: whole, sha256: v.string() });
const schema = v.object({
  format: v.literal(formatVersion),
  compiler: v.string(),
  step: whole,
  sizes: v.record(v.string(), v.union([v.number(), v.boolean()])),
  random: v.object({ seed: v.pipe(v.number(), v.safeInteger()), call: whole }),
  data: v.object({ hash: v.string(), bytes: whole, position: v.optional(whole) }),
  tokenizer: v.string(),
  best: v.optional(v.object({ step: whole, heldOut: v.number(), since: whole })),
  files: v.object({ "model.safetensors": fileSchema, "training.safetensors": fileSchema }),
  checksum: v.string(),
});
type State = v.InferOutput<typeof schema>;
type FileName = keyof State["files"];
const keptCheckpoints = 2;

const stepName = (step: number): string => `step-${String(step).padStart(6, "0")}`;
const checkpointsOf = (run: string): string => join(run, "checkpoints");
/** Where `--keep-best` keeps a run's best checkpoint: a folder that is like a run's itself, so that all that reads a run reads it. */
export const bestOf = (run: string): string => join(run, "best");
/** Whether a checkpoint is one of this run's own. */
export const isOf = (run: string, { path }: Pick<Checkpoint, "path">): boolean => dirname(path) === checkpointsOf(run);
/** Hash of a state without its own `checksum` field. */
const checksumOf = (state: Partial<State>): string => sha256(JSON.stringify({ ...state, checksum: undefined }));

/** The steps of a run's checkpoints, newest first. */
export function checkpointSteps(run: string): number[] {
  const folder = checkpointsOf(run);
  if (!existsSync(folder)) return [];
  return withFileErrors(folder, "read", () => readdirSync(folder))
    .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => b - a);
}

/**
 * The saved stores of an executable: `model` has parameters and states, `training` the rest (optimizer state). Read in order, each store is read
 * once. A value that is not finite is a Problem that names the tensor.
 */
export function savedTensors(executable: Executable): Saved {
  const numbers = latest((name) => executable.read(name));
  const { readCodes } = executable;
  const codes = readCodes && latest(readCodes);
  const copiesOf = (store: StoreInfo): [string, StoredTensor][] =>
    savedCopies(store, () => numbers(store.name), codes ? () => codes(store.name) : null);
  const [model, training] = savedStores(executable).map((stores) => new Map(stores.flatMap(copiesOf)));
  return { model: model ?? new Map(), training: training ?? new Map() };
}
/** Reads by name; what it read last is at hand, and is freed before another is read. */
function latest<T>(read: (name: string) => T): (name: string) => T {
  let last: { readonly name: string; readonly value: T } | undefined;
  return (name) => {
    if (last?.name === name) return last.value;
    last = undefined;
    last = { name, value: read(name) };
    return last.value;
  };
}
/** The stores that checkpoints hold: those of the model, then the others. */
function savedStores({ stores }: Executable): [model: StoreInfo[], training: StoreInfo[]] {
  const saved = stores.filter((s) => s.saved);
  return [saved.filter(isModel), saved.filter((s) => !isModel(s))];
}
/** `codes`: those of a quantised store; null: they cannot be read. */
function savedCopies(
  { name, role, dtype, shape, quantised }: StoreInfo,
  value: () => Tensor,
  codes: (() => Codes) | null,
): [string, StoredTensor][] {
  return savedNames(name, shape.slice(0, stackOf(name))).map(([copy, place]) => {
    const partOf = (t: Tensor, index: readonly number[] = []): Tensor => inMemory(t).read([...place, ...index]);
    const read = (index?: readonly number[]): Tensor => {
      const t = partOf(value(), index);
      if (firstNonFinite(t) >= 0) throw notFinite(role, copy);
      return t;
    };
    const inner = shape.slice(place.length);
    const t = storedAs(dtype, inner, read);
    if (!quantised || !codes) return [copy, t];
    const scales = shapeOfScales(shape, quantised.axes).slice(place.length);
    const kept = {
      codes: storedAs("i8", inner, (index) => partOf(codes().codes, index)),
      scales: storedAs("f32", scales, (index) => partOf(codes().scales, index)),
    };
    return [copy, { ...t, kept }];
  });
}
const storedAs = (dtype: DType, shape: readonly number[], read: StoredTensor["read"]): StoredTensor => ({
  dtype,
  shape,
  read,
  parts: () => [read()],
});
/**
 * Called by workers other than 0 while worker 0 writes `savedTensors`: reading a store that they share needs all workers, in the same order. Returns the path
 * of the checkpoint that worker 0 writes.
 */
export function joinSave(executable: Executable, run: string, step: number): string {
  for (const store of savedStores(executable).flat()) if (store.shards !== undefined) executable.read(store.name);
  return join(checkpointsOf(run), stepName(step));
}
const isModel = ({ role }: StoreInfo): boolean => role === "parameter" || role === "state";
function notFinite(role: StoreInfo["role"], name: string): Problem {
  const layer = name.split(".").slice(0, -1).join(".");
  return new Problem(
    `the ${role} \`${name}\`${layer === "" ? "" : ` of layer \`${layer}\``} is no longer finite`,
    "it is not saved; lower the learning rate, or clip gradients harder",
  );
}

type Tensors = Omit<Checkpoint, "checksum" | "state" | "close">;
const otherProgram = "the program is not the one that was trained: use the model.moe of its folder";
const namedIn = ({ path, model, training }: Tensors): NamedTensors =>
  new NamedTensors(new Map([...model, ...training]), path, otherProgram);
/** The tensor of each saved store. A store without one, or with one that does not fit, is a Problem. */
function matched({ stores }: Executable, path: string, named: NamedTensors): [StoreInfo, StoredTensor][] {
  return stores
    .filter((s) => s.saved)
    .map((store) => {
      const value = named.take(store);
      if (value) return [store, value];
      throw new Problem(`${path} has no \`${store.name}\``, otherProgram);
    });
}
/** Throws Problem unless each saved store has its tensor, and each tensor its store. */
export function requireSameStores(executable: Executable, checkpoint: Tensors): void {
  const named = namedIn(checkpoint);
  matched(executable, checkpoint.path, named);
  const [unread] = named.unread();
  if (unread !== undefined)
    throw new Problem(`${checkpoint.path} has \`${unread}\`, and the program does not`, otherProgram);
}
/** Writes a checkpoint's tensors into an executable's stores; those that have no store there, such as an optimizer's, are left out. */
export function loadStores(executable: Executable, checkpoint: Tensors): void {
  for (const [store, value] of matched(executable, checkpoint.path, namedIn(checkpoint)))
    writeStored(executable, store, value);
}

/** Writes a checkpoint atomically, then deletes all but the newest two. Returns its path. */
export function writeCheckpoint(run: string, state: TrainingState, tensors: Saved): string {
  makeFolder(checkpointsOf(run));
  try {
    return placeCheckpoint(run, state.step, keptCheckpoints, (folder) => writeInto(folder, state, tensors));
  } catch (error) {
    throw withKept(run, error);
  }
}
/** Puts one of a run's checkpoints in `bestOf(run)`, atomically, in place of the one there. Returns that folder. */
export function keepBest(run: string, step: number): string {
  const best = bestOf(run);
  const from = join(checkpointsOf(run), stepName(step));
  makeFolder(checkpointsOf(best));
  try {
    placeCheckpoint(best, step, 1, (folder) => linkInto(folder, from));
    return best;
  } catch (error) {
    throw withKept(run, error);
  }
}
/** `write` gets a folder to make, which then takes its place among the checkpoints, of which the `kept` last ones stay. Returns its path. */
function placeCheckpoint(run: string, step: number, kept: number, write: (folder: string) => void): string {
  const folder = checkpointsOf(run);
  const path = join(folder, stepName(step));
  const temporary = join(folder, `.${stepName(step)}.tmp`);
  rmSync(temporary, { recursive: true, force: true });
  try {
    write(temporary);
    withFileErrors(path, "write", () => {
      rmSync(path, { recursive: true, force: true });
      renameSync(temporary, path);
    });
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true }); // frees the space when the disk was full
    throw error;
  }
  syncFolder(folder);
  for (const other of checkpointSteps(run)
    .filter((s) => s !== step)
    .slice(kept - 1))
    rmSync(join(folder, stepName(other)), { recursive: true, force: true });
  return path;
}
/** Files of checkpoints are never written to, so two folders may share them; where the disk has no hard links they are copied. */
function linkInto(folder: string, from: string): void {
  withFileErrors(folder, "make", () => mkdirSync(folder));
  for (const name of readdirSync(from)) {
    const [source, path] = [join(from, name), join(folder, name)];
    withFileErrors(path, "write", () => {
      try {
        linkSync(source, path);
      } catch {
        copyFlushed(source, path);
      }
    });
  }
  syncFolder(folder);
}
function copyFlushed(source: string, path: string): void {
  copyFileSync(source, path);
  const file = openSync(path, "r+");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
/** The error of training, with the checkpoint that it can go on from, if there is one. */
export function withKept(run: string, error: unknown): unknown {
  const [kept] = checkpointSteps(run);
  if (!(error instanceof Problem) || kept === undefined) return error;
  return new Problem(error.message, `${error.help}; --resume goes on from ${stepName(kept)}`, { cause: error });
}
function writeInto(folder: string, state: TrainingState, tensors: Saved): void {
  withFileErrors(folder, "make", () => mkdirSync(folder));
  const model = writeHashed(
    join(folder, "model.safetensors"),
    safetensorsChunks(asKept(tensors.model), { format: "pt" }),
  );
  const training = writeHashed(join(folder, "training.safetensors"), safetensorsChunks(tensors.training));
  const files = { "model.safetensors": model, "training.safetensors": training };
  const unsigned = { format: formatVersion, compiler: compilerVersion, ...state, files } as const;
  const signed: State = { ...unsigned, checksum: checksumOf(unsigned) };
  writeAtomic(join(folder, "state.json"), `${JSON.stringify(signed)}\n`);
}
function writeHashed(path: string, chunks: Iterable<Uint8Array>): v.InferOutput<typeof fileSchema> {
  const hash = createHash("sha256");
  let bytes = 0;
  function* hashed(): Generator<Uint8Array> {
    for (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.byteLength;
      yield chunk;
    }
  }
  writeFlushed(path, hashed());
  return { bytes, sha256: hash.digest("hex") };
}

/** Which of a checkpoint's tensors are to be read: all, or those of the model alone. The others are neither verified nor opened. */
type Parts = "all" | "model";
/** Opens one checkpoint and verifies its checksum, file sizes and hashes. */
export function readCheckpoint(path: string, parts: Parts = "all"): Checkpoint {
  const { files, format: _, compiler: __, checksum, ...state } = readState(path);
  const held: number[] = [];
  const close = (): void => {
    for (const file of held.splice(0)) closeSync(file);
  };
  const open = (name: FileName): StoredTensors => {
    const file = withFileErrors(join(path, name), "read", () => openSync(join(path, name), "r"));
    held.push(file);
    checkFile(join(path, name), file, files[name]);
    return openSafetensors(join(path, name), file);
  };
  try {
    const model = open("model.safetensors");
    const training = parts === "all" ? open("training.safetensors") : new Map<string, StoredTensor>();
    return { path, checksum, state, model, training, close };
  } catch (error) {
    close();
    throw error;
  }
}
const remedy = "the file is damaged: restore it from a copy, or train again";
const damaged = (path: string, what: string): Problem => new Problem(`${path} ${what}`, remedy);

function readState(path: string): State {
  const file = join(path, "state.json");
  const json = requireJson(file, readText(file), remedy);
  const head = v.safeParse(v.object({ checksum: v.string() }), json);
  if (!head.success || head.output.checksum !== checksumOf(json as Partial<State>))
    throw damaged(file, "does not have the checksum it states");
  requireKnownFormat(file, json);
  const parsed = v.safeParse(schema, json);
  if (!parsed.success) throw damaged(file, `is not a state: ${parsed.issues[0].message}`);
  if (stepName(parsed.output.step) !== basename(path))
    throw damaged(file, `is of step ${parsed.output.step}, and its folder is of another`);
  return parsed.output;
}
function checkFile(path: string, file: number, expected: v.InferOutput<typeof fileSchema>): void {
  const bytes = fstatSync(file).size;
  if (bytes !== expected.bytes)
    throw damaged(path, `has ${pluralize(bytes, "byte")}, and state.json says ${expected.bytes}`);
  const hash = withFileErrors(path, "read", () => sha256OfFile(file));
  if (hash !== expected.sha256) throw damaged(path, "does not have the content that state.json states");
}

/**
 * The newest intact checkpoint of a run, or null if the run has none. Each damaged newer one is reported to `warn`; if all are damaged, the last
 * one's Problem is thrown.
 */
export function newestCheckpoint(run: string, warn: (line: string) => void, parts: Parts = "all"): Checkpoint | null {
  const steps = checkpointSteps(run);
  for (const [i, step] of steps.entries()) {
    const path = join(checkpointsOf(run), stepName(step));
    try {
      return readCheckpoint(path, parts);
    } catch (error) {
      const next = steps[i + 1];
      if (!(error instanceof Problem) || error instanceof NewerFormat || next === undefined) throw error;
      warn(`${error.message}; going back to ${stepName(next)}`);
    }
  }
  return null;
}
/**
 * The newest intact checkpoint of a run, to read its model. `average`: parameters are what the optimizer keeps as this state of each, where it keeps it;
 * a Problem if it is kept of none.
 */
export function newestModel(run: string, warn: (line: string) => void, average: string | undefined): Checkpoint | null {
  const checkpoint = newestCheckpoint(run, warn, average === undefined ? "model" : "all");
  if (checkpoint === null || average === undefined) return checkpoint;
  try {
    return { ...checkpoint, model: averaged(checkpoint, average) };
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}
function averaged({ path, model, training }: Checkpoint, name: string): StoredTensors {
  const isOfShape = (parameter: string, t: StoredTensor): boolean =>
    sameShape(t.shape, model.get(parameter)?.shape ?? []);
  const kept = [...model.keys()].flatMap((parameter) => {
    const t = training.get(`${parameter}.${name}`);
    return t && isOfShape(parameter, t) ? [[parameter, t] as const] : [];
  });
  if (kept.length > 0) return new Map([...model, ...kept]);
  throw new Problem(
    `${path} has no \`${name}\` of a parameter, of its shape`,
    "an optimizer keeps it as a state: AdamW(average: 0.999) of std/optim keeps `ema`",
  );
}
