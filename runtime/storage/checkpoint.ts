// Reads and writes checkpoints: a folder `step-000400` with the model's tensors, the optimizer's, and state.json, which records sizes and hashes of
// the files. Parameters that are not trained have a file of their own, which the checkpoints of a run share.
import { closeSync, existsSync, mkdirSync, openSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import { compilerVersion } from "../../compiler/assets.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { dtypeOfScales, shapeOfCodes, shapeOfScales } from "../../compiler/graph/codes.ts";
import { readText } from "../../compiler/read-file.ts";
import { sameShape } from "../../compiler/types/numbers.ts";
import { type Codes, type Executable, hasWholeCodes, type StoreInfo, type Tensor } from "../executable/executable.ts";
import { firstNonFinite } from "../tensor.ts";
import {
  checkFile,
  checkpointSteps,
  checkpointsOf,
  damaged,
  fileSchema,
  linkFile,
  placeCheckpoint,
  remedy,
  stepName,
  withKept,
  writeHashed,
} from "./checkpoint-folder.ts";
import { makeFolder, sha256, writeAtomic } from "./files.ts";
import { baseFormat, formatVersion, NewerFormat, requireKnownFormat } from "./format.ts";
import { integer, requireJson, whole } from "./json.ts";
import { NamedTensors, savedNames, stackOf, writeStored } from "./names.ts";
import { openSafetensors, safetensorsChunks } from "./safetensors.ts";
import { asKept, inMemory, latest, type StoredTensor, type StoredTensors, storedTensor } from "./stored-tensor.ts";

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
/** `frozen`: parameters that the run does not train. */
type Saved = Pick<Checkpoint, "model" | "training"> & { readonly frozen?: StoredTensors };
const schema = v.object({
  format: v.picklist([baseFormat, formatVersion]),
  compiler: v.string(),
  step: whole,
  sizes: v.record(v.string(), v.union([v.number(), v.boolean()])),
  random: v.object({ seed: integer, call: whole }),
  data: v.object({ hash: v.string(), bytes: whole, position: v.optional(whole) }),
  tokenizer: v.string(),
  best: v.optional(v.object({ step: whole, heldOut: v.number(), since: whole })),
  files: v.object({
    "model.safetensors": fileSchema,
    "training.safetensors": fileSchema,
    "frozen.safetensors": v.optional(fileSchema),
  }),
  checksum: v.string(),
});
type State = v.InferOutput<typeof schema>;
type Files = State["files"];
const frozenFile = "frozen.safetensors";
const keptCheckpoints = 2;
/** Hash of a state without its own `checksum` field. */
const checksumOf = (state: Partial<State>): string => sha256(JSON.stringify({ ...state, checksum: undefined }));

/**
 * The saved stores of an executable: `model` has parameters and states, but for `frozen` ones, `training` the rest (optimizer state). Read in order, each
 * store is read once. A value that is not finite is a Problem that names the tensor.
 */
export function savedTensors(executable: Executable): Required<Saved> {
  const numbers = latest((name: string) => executable.read(name));
  const { readCodes } = executable;
  const codes = readCodes && latest(readCodes);
  const copiesOf = (store: StoreInfo): [string, StoredTensor][] =>
    savedCopies(store, () => numbers(store.name), codes ? () => codes(store.name) : null);
  const { model, frozen, training } = savedStores(executable);
  const tensorsOf = (stores: readonly StoreInfo[]): StoredTensors => new Map(stores.flatMap(copiesOf));
  return { model: tensorsOf(model), frozen: tensorsOf(frozen), training: tensorsOf(training) };
}
/** The stores that checkpoints hold, by the file that has them. */
function savedStores({ stores }: Executable): Readonly<Record<keyof Saved, StoreInfo[]>> {
  const saved = stores.filter((s) => s.saved);
  return {
    model: saved.filter((s) => isModel(s) && !s.frozen),
    frozen: saved.filter((s) => s.frozen),
    training: saved.filter((s) => !isModel(s)),
  };
}
/** `codes`: those of a quantised store; null: they cannot be read. */
function savedCopies(store: StoreInfo, value: () => Tensor, codes: (() => Codes) | null): [string, StoredTensor][] {
  const { name, role, dtype, shape, quantised } = store;
  return savedNames(name, shape.slice(0, stackOf(name))).map(([copy, place]) => {
    const partOf = (t: Tensor, index: readonly number[] = []): Tensor => inMemory(t).read([...place, ...index]);
    const read = (index?: readonly number[]): Tensor => {
      const t = partOf(value(), index);
      if (firstNonFinite(t) >= 0) throw notFinite(role, copy);
      return t;
    };
    const inner = shape.slice(place.length);
    const t = storedTensor(dtype, inner, read);
    if (!quantised || !codes || !hasWholeCodes(store)) return [copy, t];
    const { code } = quantised;
    const [ofCodes, ofScales] = [shapeOfCodes(shape, quantised), shapeOfScales(shape, quantised)];
    const kept = {
      code,
      codes: storedTensor("i8", ofCodes.slice(place.length), (index) => partOf(codes().codes, index)),
      scales: storedTensor(dtypeOfScales[code], ofScales.slice(place.length), (index) => partOf(codes().scales, index)),
    };
    return [copy, { ...t, kept }];
  });
}
/**
 * Called by workers other than 0 while worker 0 writes `savedTensors`, all but the frozen ones if it `shares` those of an earlier checkpoint: reading a
 * store that they share needs all workers, in the same order. Returns the path of the checkpoint that worker 0 writes.
 */
export function joinSave(executable: Executable, run: string, step: number, shares: boolean): string {
  const { model, frozen, training } = savedStores(executable);
  for (const store of [...model, ...(shares ? [] : frozen), ...training].filter((s) => s.shards !== undefined))
    if (executable.readCodes && hasWholeCodes(store)) executable.readCodes(store.name);
    else executable.read(store.name);
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

/** Whether a checkpoint has frozen parameters, and the same ones as this executable. */
export function hasFrozen(executable: Executable, path: string): boolean {
  const { frozen } = savedTensors(executable);
  try {
    if (readState(path).files[frozenFile] === undefined) return false;
    const tensors = openSafetensors(join(path, frozenFile));
    const isHeld = ([name, { shape }]: readonly [string, StoredTensor]): boolean => {
      const of = tensors.get(name);
      return of !== undefined && sameShape(of.shape, shape);
    };
    return tensors.size === frozen.size && [...frozen].every(isHeld);
  } catch {
    return false; // it is damaged, or gone
  }
}
/**
 * Writes a checkpoint atomically, then deletes all but the newest two. Returns its path. `like`: the path of one that has the same frozen parameters, whose
 * file it then shares.
 */
export function writeCheckpoint(run: string, state: TrainingState, tensors: Saved, like: string | null = null): string {
  makeFolder(checkpointsOf(run));
  try {
    return placeCheckpoint(run, state.step, keptCheckpoints, (folder) => writeInto(folder, state, tensors, like));
  } catch (error) {
    throw withKept(run, error);
  }
}
function writeInto(folder: string, state: TrainingState, tensors: Saved, like: string | null): void {
  withFileErrors(folder, "make", () => mkdirSync(folder));
  const write = (name: keyof Files, of: StoredTensors): NonNullable<Files[typeof name]> =>
    writeHashed(join(folder, name), safetensorsChunks(asKept(of), { format: "pt" }));
  const { frozen = new Map() } = tensors;
  const model = write("model.safetensors", tensors.model);
  const shared = frozen.size === 0 ? undefined : like === null ? write(frozenFile, frozen) : linkFrozen(folder, like);
  const training = write("training.safetensors", tensors.training);
  const files = {
    "model.safetensors": model,
    "training.safetensors": training,
    ...(shared && { [frozenFile]: shared }),
  };
  const format = shared ? formatVersion : baseFormat;
  const unsigned = { format, compiler: compilerVersion, ...state, files } as const;
  const signed: State = { ...unsigned, checksum: checksumOf(unsigned) };
  writeAtomic(join(folder, "state.json"), `${JSON.stringify(signed)}\n`);
}
function linkFrozen(folder: string, like: string): Files[typeof frozenFile] {
  linkFile(join(like, frozenFile), join(folder, frozenFile));
  return readState(like).files[frozenFile];
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
  const open = (name: keyof Files): StoredTensors => {
    const expected = files[name];
    if (!expected) return new Map();
    const file = withFileErrors(join(path, name), "read", () => openSync(join(path, name), "r"));
    held.push(file);
    checkFile(join(path, name), file, expected);
    return openSafetensors(join(path, name), file);
  };
  try {
    const model = new Map([...open("model.safetensors"), ...open(frozenFile)]);
    const training = parts === "all" ? open("training.safetensors") : new Map<string, StoredTensor>();
    return { path, checksum, state, model, training, close };
  } catch (error) {
    close();
    throw error;
  }
}
/** The tensors of a safetensors file; with a checkpoint's model.safetensors also those of the frozen parameters beside it. */
export function openModelFile(path: string): StoredTensors {
  const [tensors, beside] = [openSafetensors(path), join(dirname(path), frozenFile)];
  const isOfCheckpoint = basename(path) === "model.safetensors" && existsSync(beside);
  return isOfCheckpoint ? new Map([...tensors, ...openSafetensors(beside)]) : tensors;
}
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
