// `moec export`: writes the weights of a run as transformers names and lays them out, after the folder that the model was imported from.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { item } from "../../compiler/item.ts";
import { bytesOf, type DType } from "../../compiler/types/dtype.ts";
import { product, sameShape, sum } from "../../compiler/types/numbers.ts";
import type { Tensor } from "../executable/executable.ts";
import { newestModel } from "../storage/checkpoint.ts";
import { readBytes, writeFlushed, writeNewFolder } from "../storage/files.ts";
import { isJsonObject } from "../storage/json.ts";
import { Copies } from "../storage/names.ts";
import { safetensorsChunks } from "../storage/safetensors.ts";
import {
  type FileTensor,
  inMemory,
  type StoredTensor,
  type StoredTensors,
  storedTensor,
} from "../storage/stored-tensor.ts";
import { convert, numbers, sameValues, showShape, transposed, zeros } from "../tensor.ts";
import { isBeside, parted } from "./columns.ts";
import { besideConfig, openTransformers, type TransformersModel, textKeys } from "./config.ts";
import type { Json } from "./family.ts";
import { readJson } from "./weight-files.ts";
import { embedding, head, isSpare, oursOf, tensorsApart, theirsOf, weightsByFile } from "./weights.ts";

export interface ExportOptions {
  /** The folder of a run, or of an imported model: its newest intact checkpoint is exported. */
  readonly folder: string;
  /** The name of the optimizer's state that is taken for each parameter, where it is kept: an average, such as `ema`. */
  readonly average?: string | undefined;
  /** The folder of transformers' that the model was imported from. */
  readonly like: string;
  /** A folder that does not exist yet. */
  readonly out: string;
  readonly warn: (line: string) => void;
}
interface Exported {
  readonly step: number;
  readonly parameters: number;
  /** Whether the head shared the embedding's table there, and here is written by itself: training tells them apart. */
  readonly untied: boolean;
}

/** What was written of weights. */
interface Written {
  readonly fileOf: ReadonlyMap<string, string>;
  readonly parameters: number;
  /** By dtype, how many numbers; one of 64 bits is two. */
  readonly counts: ReadonlyMap<DType, number>;
}
const bytesIn = ({ counts }: Written): number => sum([...counts].map(([dtype, count]) => count * bytesOf[dtype]));
/** What transformers calls the floats of our dtypes. */
const theirDtypes: Partial<Record<DType, string>> = { f32: "float32", bf16: "bfloat16", f64: "float64" };

/** Writes the files of `like` anew, with the run's weights in place of its own: the same names, shapes and dtypes; bf16 for what is quantised. */
export function exportModel({ folder, like, out, average, warn }: ExportOptions): Exported {
  const foreign = openTransformers(like);
  if (existsSync(out)) throw new Problem(`${out} exists already`, "choose another folder with --out");
  const checkpoint = newestModel(folder, warn, average);
  if (!checkpoint)
    throw new Problem(`${folder} has no checkpoint`, "give the folder of a run, or of an imported model");
  try {
    const { model, state } = checkpoint;
    const written = writeNewFolder(out, (path) => new Exporter(folder, model, foreign).write(path));
    return { step: state.step, ...written };
  } finally {
    checkpoint.close();
  }
}

/** A config.json with its text model's, and that of what is around it, changed in the same way. */
function withParts(json: Json, change: (part: Json) => Json): Json {
  const parts = [...textKeys, "thinker_config"].flatMap((key): [string, Json][] => {
    const part = json[key];
    return isJsonObject(part) ? [[key, change(part)]] : [];
  });
  return { ...json, ...Object.fromEntries(parts) };
}
/** That the head is its own. */
const untied = (json: Json): Json => withParts({ ...json, tie_word_embeddings: false }, untied);
/** Without what it says of codes. */
function unquantised(json: Json): Json {
  const { quantization_config: _, expert_dtype: __, ...others } = json;
  return withParts(others, unquantised);
}
/** Whole numbers as words of this shape, unless they are that. */
function wordsOf(t: Tensor, shape: readonly number[]): Tensor {
  if (sameShape(t.shape, shape)) return t;
  const all = zeros("i32", shape);
  for (const [i, x] of numbers(t).entries()) {
    all.data[2 * i] = x;
    all.data[2 * i + 1] = x < 0 ? -1 : 0;
  }
  return all;
}
/** The run's tensors, with those apart that transformers has apart. */
function partedAs(like: TransformersModel, tensors: StoredTensors): StoredTensors {
  return Object.values(like.family.names).some(isBeside) ? parted(tensors, tensorsApart(like)) : tensors;
}
class Exporter {
  readonly #run: string;
  readonly #like: TransformersModel;
  readonly #ours: Copies;
  /** The head, [V, D], if it shared the embedding's table there and no longer equals it. */
  readonly #untied: Tensor | null;

  constructor(run: string, tensors: StoredTensors, like: TransformersModel) {
    this.#run = run;
    this.#like = like;
    this.#ours = new Copies(partedAs(like, tensors));
    this.#untied = like.tied ? this.#ownHead() : null;
  }
  write(folder: string): Omit<Exported, "step"> {
    this.#requireLists();
    const fileOf = new Map<string, string>();
    const counts = new Map<DType, number>();
    let parameters = 0;
    for (const [file, weights] of weightsByFile(this.#like)) {
      const tensors = this.#tensorsOf(file, weights);
      for (const [name, { dtype, shape, areWords }] of tensors) {
        parameters += product(shape) / (areWords ? 2 : 1);
        fileOf.set(name, basename(file));
        counts.set(dtype, (counts.get(dtype) ?? 0) + product(shape));
      }
      if (tensors.size > 0) writeFlushed(join(folder, basename(file)), safetensorsChunks(tensors, { format: "pt" }));
    }
    const [unread] = this.#ours.unused();
    if (unread !== undefined) throw this.#unlike(`the run has \`${unread}\`, and ${this.#like.folder} nothing for it`);
    const written = { fileOf, counts, parameters };
    for (const [name, content] of this.#others(written)) writeFlushed(join(folder, name), [content]);
    return { parameters, untied: this.#untied !== null };
  }
  /** The tensors of one file of weights: ours, or its own where import does not read them. */
  #tensorsOf(file: string, weights: StoredTensors): Map<string, FileTensor> {
    const tensors = new Map<string, FileTensor>();
    for (const [name, t] of weights) {
      if (isSpare(name, t, this.#like) && !this.#hasAll(name, t, file)) continue;
      tensors.set(name, this.#theirs(name, t, file));
      const layout = this.#namesOf(embedding).indexOf(name);
      if (this.#untied && layout >= 0) tensors.set(this.#headIn(layout), inMemory(convert(this.#untied, t.dtype)));
    }
    return tensors;
  }
  /** The head's name in a layout; one more than there are heads has the first one's. */
  #headIn(layout: number): string {
    const heads = this.#namesOf(head);
    return item(heads, layout % heads.length);
  }
  #hasAll(name: string, t: StoredTensor, file: string): boolean {
    return oursOf(name, t, this.#like, file).every(([ours]) => this.#ours.has(ours));
  }
  /** What transformers calls one of our tensors, in each of its layouts. */
  #namesOf(ours: string): string[] {
    return Object.entries(this.#like.family.names).flatMap(([name, to]) => ([to].flat().includes(ours) ? [name] : []));
  }
  /** Their tensor made of ours, in its dtype and shape; itself where import does not read it. */
  #theirs(name: string, like: StoredTensor, file: string): FileTensor {
    const model = this.#like;
    const shapes = new Map(oursOf(name, like, model, file).map(([ours, { shape }]) => [ours, shape]));
    const take = (ours: string): Tensor => {
      const [t, shape = []] = [this.#take(ours), shapes.get(ours)];
      if (!sameShape(t.shape, shape))
        throw this.#unlike(`\`${ours}\` is ${showShape(t.shape)}, and \`${name}\` of ${file} ${showShape(shape)}`);
      return convert(t, like.dtype);
    };
    const { words } = like;
    const read = (): Tensor => theirsOf(name, like, { model, file, take }) ?? (words ?? like).read();
    if (!words) return storedTensor(like.dtype, like.shape, read);
    return { ...storedTensor("i32", words.shape, () => wordsOf(read(), words.shape)), areWords: true };
  }
  #take(name: string): Tensor {
    const t = this.#ours.take(name);
    if (t) return t;
    throw this.#unlike(`the run has no \`${name}\``);
  }
  #ownHead(): Tensor | null {
    const [own, table] = [transposed(this.#take(head)), this.#take(embedding)];
    return sameValues(own, table) ? null : own;
  }
  /** What config.json has as lists cannot be exported if it was trained. */
  #requireLists(): void {
    for (const [name, t] of this.#like.lists)
      if (!sameValues(this.#take(name), t))
        throw this.#unlike(`\`${name}\` has other values than the config.json of ${this.#like.folder}`);
  }
  /** Files that are not weights. */
  *#others(written: Written): Generator<[name: string, content: Uint8Array]> {
    const { folder } = this.#like;
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (!/\.(json|txt|model|jinja)$/.test(name) || name === besideConfig || !statSync(path).isFile()) continue;
      const changed = this.#changedFile(path, name, written);
      yield [name, changed ? new TextEncoder().encode(`${JSON.stringify(changed, null, 2)}\n`) : readBytes(path)];
    }
  }
  /** The config or index, where it does not say what is written; else null. */
  #changedFile(path: string, name: string, written: Written): Json | null {
    if (name === "config.json") return this.#changedConfig(readJson(path), written);
    return name === "model.safetensors.index.json" ? this.#changedIndex(readJson(path), written) : null;
  }
  #changedConfig(json: Json, { counts }: Written): Json | null {
    const config = unquantised(json);
    const most = [...counts].toSorted(([, a], [, b]) => b - a);
    const [dtype] = most.flatMap(([one]) => theirDtypes[one] ?? []);
    const halves = ["dtype", "torch_dtype"].filter((key) => config[key] === "float16"); // f16 is written as f32, or bf16
    if (!this.#untied && !this.#like.quantisation && halves.length === 0) return null;
    const dtypes = Object.fromEntries(halves.map((key) => [key, dtype]));
    const said = { ...config, ...dtypes };
    return this.#untied ? untied(said) : said;
  }
  #changedIndex(index: Json, written: Written): Json | null {
    const metadata = { total_parameters: written.parameters, total_size: bytesIn(written) };
    const said = isJsonObject(index["metadata"]) ? index["metadata"] : {};
    if (!this.#untied && !this.#like.quantisation && said["total_size"] === metadata.total_size) return null;
    return { ...index, metadata, weight_map: Object.fromEntries(written.fileOf) };
  }
  #unlike(what: string): Problem {
    return new Problem(
      `${this.#run}: ${what}`,
      "--like must be the folder that the model was imported from; what was trained beside its weights cannot be exported; `moec merge` makes adapters a part of them",
    );
  }
}
