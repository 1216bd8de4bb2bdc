// Reads and writes checkpoints: a folder `step-000400` with the model's tensors, the optimizer's, and state.json, which records sizes and hashes of
// both files.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import * as v from "valibot";
import { compilerVersion } from "../../compiler/assets.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import type { Executable, StoreInfo, Tensor } from "../executable.ts";
import { firstNonFinite } from "../tensor.ts";
import { makeFolder, readText, sha256, sha256OfFile, syncFolder, writeAtomic, writeFlushed } from "./files.ts";
import { requireJson } from "./json.ts";
import { NamedTensors, splitStacked } from "./names.ts";
import { readSafetensors, safetensorsChunks } from "./safetensors.ts";

/** To be raised when readers of the older format cannot read the newer one. */
export const formatVersion = 1;

/**
 * Everything besides tensors that is needed to resume with the same bits. `position`: how many tokens of each stream were read. `call`: the call
 * number that random numbers are keyed by.
 */
export interface TrainingState {
  readonly step: number;
  readonly sizes: Readonly<Record<string, number | boolean>>;
  readonly random: { readonly seed: number; readonly call: number };
  readonly data: { readonly hash: string; readonly bytes: number; readonly position: number };
  readonly tokenizer: string;
}
export interface Checkpoint {
  readonly path: string;
  readonly state: TrainingState;
  readonly model: ReadonlyMap<string, Tensor>;
  readonly training: ReadonlyMap<string, Tensor>;
}
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const fileSchema = v.object({ bytes: whole, sha256: v.string() });
const schema = v.object({
  format: v.literal(formatVersion),
  compiler: v.string(),
  step: whole,
  sizes: v.record(v.string(), v.union([v.number(), v.boolean()])),
  random: v.object({ seed: v.pipe(v.number(), v.safeInteger()), call: whole }),
  data: v.object({ hash: v.string(), bytes: whole, position: whole }),
  tokenizer: v.string(),
  files: v.object({ "model.safetensors": fileSchema, "training.safetensors": fileSchema }),
  checksum: v.string(),
});
type State = v.InferOutput<typeof schema>;
type FileName = keyof State["files"];
const fileNames: readonly FileName[] = ["model.safetensors", "training.safetensors"];
const keptCheckpoints = 2;

const stepName = (step: number): string => `step-${String(step).padStart(6, "0")}`;
const checkpointsOf = (run: string): string => join(run, "checkpoints");
/** Hash of a state without its own `checksum` field. */
const checksumOf = (state: Partial<State>): string => sha256(JSON.stringify({ ...state, checksum: undefined }));

/** The steps of a run's checkpoints, newest first. */
export function checkpointSteps(run: string): number[] {
  if (!existsSync(checkpointsOf(run))) return [];
  return withFileErrors(run, "read", () => readdirSync(checkpointsOf(run)))
    .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => b - a);
}

/**
 * The saved stores of an executable: `model` has parameters and states, `training` the rest (optimizer state). A value that is not finite is a
 * Problem that names the tensor.
 */
export function savedTensors(executable: Executable): Pick<Checkpoint, "model" | "training"> {
  const model = new Map<string, Tensor>();
  const training = new Map<string, Tensor>();
  for (const store of executable.stores.filter((s) => s.saved)) {
    for (const [name, t] of splitStacked(store.name, executable.read(store.name))) {
      if (firstNonFinite(t) >= 0) throw notFinite(store.role, name);
      (isModel(store) ? model : training).set(name, t);
    }
  }
  return { model, training };
}
/**
 * Called by workers other than 0 while worker 0 runs `savedTensors`: reading a split store needs all workers. Returns the path of the checkpoint that
 * worker 0 writes.
 */
export function joinSave(executable: Executable, run: string, step: number): string {
  for (const store of executable.stores.filter((s) => s.saved && s.split !== undefined)) executable.read(store.name);
  return join(checkpointsOf(run), stepName(step));
}
const isModel = ({ role }: StoreInfo): boolean => role === "parameter" || role === "state";
function notFinite(role: StoreInfo["role"], name: string): Problem {
  const layer = name.split(".").slice(0, -1).join(".");
  return new Problem(
    `the ${role} \`${name}\`${layer === "" ? "" : ` of layer \`${layer}\``} is no longer finite`,
    "it is not saved; lower the learning rate, or clip gradients harder, and go on from the last checkpoint with --resume",
  );
}

/** Writes a checkpoint's tensors into an executable's stores. A store without a tensor is a Problem. */
export function loadStores(executable: Executable, checkpoint: Pick<Checkpoint, "path" | "model" | "training">): void {
  const named = new NamedTensors(new Map([...checkpoint.model, ...checkpoint.training]), checkpoint.path);
  for (const store of executable.stores.filter((s) => s.saved)) {
    const t = named.take(store);
    if (!t)
      throw new Problem(
        `${checkpoint.path} has no \`${store.name}\``,
        "the program is not the one that was trained: use the model.moe of its folder",
      );
    executable.write(store.name, t);
  }
}

/** Writes a checkpoint atomically, then deletes all but the newest two. Returns its path. */
export function writeCheckpoint(
  run: string,
  state: TrainingState,
  tensors: Pick<Checkpoint, "model" | "training">,
): string {
  const folder = checkpointsOf(run);
  const path = join(folder, stepName(state.step));
  const temporary = join(folder, `.${stepName(state.step)}.tmp`);
  makeFolder(folder);
  rmSync(temporary, { recursive: true, force: true });
  try {
    writeInto(temporary, state, tensors);
    withFileErrors(path, "write", () => {
      rmSync(path, { recursive: true, force: true });
      renameSync(temporary, path);
    });
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true }); // frees the space when the disk was full
    throw error;
  }
  syncFolder(folder);
  for (const step of checkpointSteps(run)
    .filter((s) => s !== state.step)
    .slice(keptCheckpoints - 1))
    rmSync(join(folder, stepName(step)), { recursive: true, force: true });
  return path;
}
function writeInto(folder: string, state: TrainingState, tensors: Pick<Checkpoint, "model" | "training">): void {
  withFileErrors(folder, "make", () => mkdirSync(folder));
  const model = safetensorsChunks(tensors.model, { format: "pt" });
  const training = safetensorsChunks(tensors.training);
  writeFlushed(join(folder, "model.safetensors"), model);
  writeFlushed(join(folder, "training.safetensors"), training);
  writeAtomic(join(folder, "state.json"), `${JSON.stringify(stateOf(state, { model, training }))}\n`);
}
const describe = (chunks: readonly Uint8Array[]): v.InferOutput<typeof fileSchema> => ({
  bytes: chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0),
  sha256: sha256(chunks),
});
function stateOf(state: TrainingState, files: { model: Uint8Array[]; training: Uint8Array[] }): State {
  const unsigned = {
    format: formatVersion,
    compiler: compilerVersion,
    ...state,
    files: { "model.safetensors": describe(files.model), "training.safetensors": describe(files.training) },
  } as const;
  return { ...unsigned, checksum: checksumOf(unsigned) };
}

/** Reads one checkpoint and verifies its checksum, file sizes and hashes. */
export function readCheckpoint(path: string): Checkpoint {
  const { files, format: _, compiler: __, checksum: ___, ...state } = readState(path);
  for (const name of fileNames) checkFile(join(path, name), files[name]);
  const [model, training] = fileNames.map((name) => readSafetensors(join(path, name)));
  return { path, state, model: model ?? new Map(), training: training ?? new Map() };
}
const remedy = "the file is damaged: use an earlier checkpoint, or another copy";
const damaged = (path: string, what: string): Problem => new Problem(`${path} ${what}`, remedy);

function readState(path: string): State {
  const file = join(path, "state.json");
  const json = requireJson(file, readText(file), remedy);
  const head = v.safeParse(v.object({ format: whole, compiler: v.string(), checksum: v.string() }), json);
  if (!head.success || head.output.checksum !== checksumOf(json as Partial<State>))
    throw damaged(file, "does not have the checksum it states");
  const { format, compiler } = head.output;
  if (format > formatVersion) throw new NewerFormat(file, format, compiler);
  const parsed = v.safeParse(schema, json);
  if (!parsed.success) throw damaged(file, `is not a state: ${parsed.issues[0].message}`);
  if (stepName(parsed.output.step) !== basename(path))
    throw damaged(file, `is of step ${parsed.output.step}, and its folder is of another`);
  return parsed.output;
}
/** A Problem of its own because this is not damage: going back to an earlier checkpoint would not help. */
class NewerFormat extends Problem {
  constructor(file: string, format: number, compiler: string) {
    super(
      `${file} is in format ${format}, written by moec ${compiler}; this is moec ${compilerVersion}, which reads formats up to ${formatVersion}`,
      `install moec ${compiler} or later`,
    );
  }
}
function checkFile(path: string, expected: { readonly bytes: number; readonly sha256: string }): void {
  const bytes = withFileErrors(path, "read", () => statSync(path).size);
  if (bytes !== expected.bytes)
    throw damaged(path, `has ${pluralize(bytes, "byte")}, and state.json says ${expected.bytes}`);
  if (sha256OfFile(path) !== expected.sha256) throw damaged(path, "does not have the content that state.json states");
}

/**
 * The newest intact checkpoint of a run, or null if the run has none. Each damaged newer one is reported to `warn`; if all are damaged, the last
 * one's Problem is thrown.
 */
export function newestCheckpoint(run: string, warn: (line: string) => void): Checkpoint | null {
  const steps = checkpointSteps(run);
  for (const [i, step] of steps.entries()) {
    const path = join(checkpointsOf(run), stepName(step));
    try {
      return readCheckpoint(path);
    } catch (error) {
      const next = steps[i + 1];
      if (!(error instanceof Problem) || error instanceof NewerFormat || next === undefined) throw error;
      warn(`${error.message}; going back to ${stepName(next)}`);
    }
  }
  return null;
}
