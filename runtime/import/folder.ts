// A model that transformers wrote, as a run's folder: what `generate` and `run` open.
import { join } from "node:path";
import { elaborate, load } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { checkpointSteps, writeCheckpoint } from "../checkpoint.ts";
import type { Tensor } from "../executable.ts";
import { writeAtomic } from "../files.ts";
import { lockFolder } from "../lock.ts";
import { NamedTensors } from "../names.ts";
import { defaultRunFolder, writeConfig } from "../run-folder.ts";
import { type Foreign, foreignTensors, openForeign } from "./weights.ts";

export interface ImportOptions {
  /** What save_pretrained wrote. */
  readonly folder: string;
  /** runs/NAME. */
  readonly out?: string | undefined;
  /** How many positions a sequence may have: what config.json says, up to 4096. The caches of `generate` are that long. */
  readonly context?: number | undefined;
}
export interface Imported {
  readonly out: string;
  readonly model: string;
  readonly parameters: number;
  readonly context: number;
}

/** Writes model.moe, config.json and a checkpoint of step 0. All weights are there and fit before anything is written. */
export function importModel(options: ImportOptions): Imported {
  const { folder, out = defaultRunFolder(folder, false) } = options;
  const foreign = openForeign(folder);
  const context = contextOf(foreign, options.context);
  const text = programOf(foreign, context);
  const tensors = foreignTensors(foreign);
  requireAll(text, tensors, folder);
  const release = lockFolder(out);
  try {
    if (checkpointSteps(out).length > 0)
      throw new Problem(`${out} already holds a run`, "choose another folder with --out");
    writeAtomic(join(out, "model.moe"), text);
    writeConfig(out, { ...nothing, model: declaration, steps: 1, seed: 0, precision: "f32" });
    writeCheckpoint(out, untrained, { model: tensors, training: new Map() });
  } finally {
    release();
  }
  const parameters = [...tensors.values()].reduce((sum, t) => sum + t.data.length, 0);
  return { out, model: foreign.family.model, parameters, context };
}
const declaration = "Imported";
const nothing = { sizes: {}, data: { files: [], bytes: 0, hash: "" } };
const untrained = {
  step: 0,
  sizes: {},
  random: { seed: 0, call: 0 },
  data: { hash: "", bytes: 0, position: 0 },
  tokenizer: "foreign",
};

function contextOf({ header, folder }: Foreign, wanted: number | undefined): number {
  const most = Number(header["Context"]);
  if (wanted !== undefined && wanted > most)
    throw new Problem(`${folder} is of a model for ${most} positions`, `lower --context to at most ${most}`);
  return wanted ?? Math.min(most, 4096);
}

/** The family's model with its header filled in. */
function programOf({ family, header }: Foreign, context: number): string {
  const given = Object.entries(header).filter(([name]) => name !== "Context");
  return [
    `// Made by moec import; the family is transformers' ${family.type}.`,
    `import { ${family.model} } from "std/models/decoder"`,
    "",
    `model ${declaration}(Context = ${context}) =`,
    `  ${family.model}(${given.map(([name, x]) => `${name}: ${x}`).join(", ")}, Context: Context)`,
    "",
  ].join("\n");
}

/** Every parameter and state of the model is there in its shape, and nothing else is. */
function requireAll(text: string, tensors: ReadonlyMap<string, Tensor>, folder: string): void {
  const entries = [{ name: "forward", method: "forward", sizes: { B: 1, T: 1 } }];
  const model = elaborate(load({ name: "model.moe", text }), { sizes: {}, precision: "f32", entries });
  const named = new NamedTensors(tensors, folder);
  for (const { name, type, stack, role } of model.stores()) {
    if (role === "input") continue;
    if (!named.take({ name, dtype: dtypeOf(type), shape: dims(type), stack }))
      throw new Problem(`${folder} has nothing for \`${name}\``, "the weights are not all of what config.json says");
  }
  const [unread] = named.unread();
  if (unread !== undefined)
    throw new Problem(`${folder}: the model has no \`${unread}\``, "config.json is not that of these weights");
}
