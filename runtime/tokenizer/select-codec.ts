// Chooses how text becomes tokens: bytes, token numbers, or a tokenizer.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { idsFlagText, tokenizerFlagText } from "../../compiler/flag-text.ts";
import { writeAtomic } from "../storage/files.ts";
import { type Codec, codecs, withBegin, withOpening, withStart } from "../tokens.ts";
import { openTokenizer } from "./codec.ts";
import { tokenizerName } from "./file.ts";

interface CodecOptions {
  readonly ids?: boolean | undefined;
  /** The path of a tokenizer.json, or of its folder. */
  readonly tokenizer?: string | undefined;
}
/** A run's folder and config.json. */
export interface SavedRun {
  readonly folder: string;
  readonly config: Codec["config"];
}
/** The codec that the options ask for; without options, that of the run; without a run, bytes. */
export async function selectCodec({ ids, tokenizer }: CodecOptions, run: SavedRun | null): Promise<Codec> {
  if (ids && tokenizer !== undefined)
    throw new Problem(`${idsFlagText} and ${tokenizerFlagText} are two kinds of data`, "leave one of them out");
  if (tokenizer !== undefined) return openTokenizer(tokenizer);
  const saved = ids === false ? undefined : run?.config;
  if (ids || saved?.ids) return withStart(codecs.ids, saved?.start);
  const codec = run && saved?.tokenizer !== undefined ? await openTokenizer(ofRun(run.folder)) : codecs.bytes;
  return withBegin(withStart(saved?.opening ? withOpening(codec, saved.opening) : codec, saved?.start), saved?.begin);
}
/** The folder of a run, which has a copy of its tokenizer. */
function ofRun(folder: string): string {
  if (existsSync(join(folder, tokenizerName))) return folder;
  throw new Problem(`${folder} lacks its tokenizer, ${tokenizerName}`, "copy there the one that it was trained with");
}
export function copyTokenizerFiles({ files }: Codec, folder: string): void {
  for (const [name, bytes] of files) writeAtomic(join(folder, name), bytes);
}
