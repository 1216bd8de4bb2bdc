// What folders hold that are no checkpoints in transformers' safetensors, and what makes such a one of them.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { pluralize } from "../../compiler/pluralize.ts";

const namesIn = (folder: string): string[] =>
  statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(folder).toSorted() : [];
const saved = "give the folder that transformers' save_pretrained wrote";
const pythonOf = (load: string): string =>
  `let transformers write it as safetensors: AutoModelForCausalLM.from_pretrained(${load}).save_pretrained("OTHER"), and the tokenizer to the same folder`;

/** Throws Problem if a folder is no whole model of transformers', but adapters, GGUF, or nothing that has a config.json. */
export function requireModel(folder: string): void {
  const names = namesIn(folder);
  if (names.includes("adapter_config.json"))
    throw new Problem(
      `${folder} has adapters of PEFT (adapter_config.json), which belong to another model`,
      'merge them into it: PeftModel.from_pretrained(MODEL, FOLDER).merge_and_unload().save_pretrained("OTHER"), and the tokenizer to the same folder',
    );
  if (names.includes("config.json")) return;
  const gguf =
    names.find((name) => name.endsWith(".gguf")) ?? (folder.endsWith(".gguf") ? basename(folder) : undefined);
  if (gguf !== undefined)
    throw new Problem(
      `${folder} is of GGUF, which moec does not read`,
      `take the checkpoint that it was made of, or ${pythonOf(`FOLDER, gguf_file="${gguf}"`)}`,
    );
  if (!existsSync(folder)) throw new Problem(`there is no folder ${folder}`, saved);
  if (names.length === 0 && !statSync(folder).isDirectory())
    throw new Problem(`${folder} is a file, and no folder`, saved);
  throw new Problem(`${folder} has no config.json`, saved);
}
/** Of a folder with neither model.safetensors nor its index. */
export function noSafetensors(folder: string): Problem {
  const names = namesIn(folder);
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
