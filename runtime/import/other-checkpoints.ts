// What folders hold that are no checkpoints in transformers' safetensors, and what makes such a one of them.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { pluralize } from "../../compiler/pluralize.ts";

const namesIn = (folder: string): string[] =>
  withFileErrors(folder, "read", () =>
    statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(folder).toSorted() : [],
  );
const saved = "give the folder that transformers' save_pretrained wrote";
const pythonOf = (load: string): string =>
  `let transformers write it as safetensors: AutoModelForCausalLM.from_pretrained(${load}).save_pretrained("OTHER"), and the tokenizer to the same folder`;

/** What is to be said of a path that has adapters of PEFT, or is of GGUF. */
export function otherCheckpoint(path: string): Problem | undefined {
  const names = namesIn(path);
  return ofPeft(path, names) ?? ofGguf(path, names);
}
const ofPeft = (folder: string, names: readonly string[]): Problem | undefined =>
  names.includes("adapter_config.json")
    ? new Problem(
        `${folder} has adapters of PEFT (adapter_config.json), which belong to another model`,
        'merge them into it: PeftModel.from_pretrained(MODEL, FOLDER).merge_and_unload().save_pretrained("OTHER"), and the tokenizer to the same folder',
      )
    : undefined;
function ofGguf(path: string, names: readonly string[]): Problem | undefined {
  const gguf = names.find((name) => name.endsWith(".gguf")) ?? (path.endsWith(".gguf") ? basename(path) : undefined);
  return gguf === undefined
    ? undefined
    : new Problem(
        `${path} is of GGUF, which moec does not read`,
        `take the checkpoint that it was made of, or ${pythonOf(`FOLDER, gguf_file="${gguf}"`)}`,
      );
}

/** Throws Problem if a folder is no whole model of transformers', but adapters, GGUF, or nothing that has a config.json. */
export function requireModel(folder: string): void {
  const names = namesIn(folder);
  const other = ofPeft(folder, names);
  if (other) throw other;
  if (names.includes("config.json")) return;
  const gguf = ofGguf(folder, names);
  if (gguf) throw gguf;
  if (!existsSync(folder)) throw new Problem(`there is no folder ${folder}`, saved);
  if (names.length === 0 && !statSync(folder).isDirectory())
    throw new Problem(`${folder} is a file, and no folder`, saved);
  throw new Problem(`${folder} has no config.json`, saved);
}
/** Of a folder with neither model.safetensors nor its index. */
export function noSafetensors(folder: string): Problem {
  const names = namesIn(folder);
  const lost = names.find((name) => /^model.*\.safetensors/.test(name) && !existsSync(join(folder, name)));
  if (lost !== undefined)
    return new Problem(
      `${join(folder, lost)} is a link to a file that is not there`,
      "copy what it names too (cp -L), or get the file again",
    );
  const gguf = ofGguf(folder, names);
  if (gguf) return gguf;
  if (names.some((name) => /^pytorch_model.*\.bin/.test(name)))
    return new Problem(
      `${folder} has its weights as pickles (pytorch_model.bin), which are programs, and moec does not run them`,
      pythonOf("FOLDER"),
    );
  if (names.some((name) => /^model-\d+-of-\d+\.safetensors$/.test(name)))
    return new Problem(`${folder} has no model.safetensors.index.json, which says where each weight is`, "restore it");
  return new Problem(
    `${folder} has neither model.safetensors nor model.safetensors.index.json`,
    "save the model as safetensors: model.save_pretrained(FOLDER)",
  );
}
/** Throws Problem unless all files that an index names are there. */
export function requireAllFiles(index: string, files: readonly string[]): void {
  const missing = files.filter((file) => !existsSync(file));
  const [first] = missing;
  if (first === undefined) return;
  throw new Problem(
    `${index} names ${pluralize(files.length, "file")}, of which ${missing.length === 1 ? `${basename(first)} is` : `${missing.length} are`} not there${missing.length === 1 ? "" : `: ${basename(first)} is the first`}`,
    "the download is not whole: get them too",
  );
}
const otherTokenizers = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"];
/** What to say of a tokenizer that is not in tokenizer.json; undefined: there is none. */
export function aboutOtherTokenizer(folder: string): string | undefined {
  const found = namesIn(folder).find((name) => otherTokenizers.includes(name) || name.endsWith(".tiktoken"));
  return found === undefined
    ? undefined
    : `${folder} has its tokenizer as ${found} alone, which moec does not read; AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes tokenizer.json; without it the model takes and writes token numbers (--ids)`;
}
