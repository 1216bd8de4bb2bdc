// Opens a program of one's own TypeScript with parameters that are in memory, to generate text.
import { Problem } from "../../compiler/diagnostic.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { closedOnFailure } from "../closing.ts";
import { givenTensors, requireInteger } from "../embed/compiled-program.ts";
import { resolveSource, type Source } from "../embed/embed.ts";
import type { Executable, Tensor } from "../executable/executable.ts";
import { requireSyntax } from "../program.ts";
import { namesOf } from "../storage/names.ts";
import { matchParameters, writeParameters } from "../storage/parameters.ts";
import { requireMap } from "../tensor.ts";
import { selectCodec } from "../tokenizer/select-codec.ts";
import { requireVocabulary } from "../tokens.ts";
import { requireEqualModels } from "../workers/generate-distributed.ts";
import { hashOfTensors } from "../workers/train-distributed.ts";
import { type CompileGenerateOptions, compileGenerate, type OpenedModel } from "./compile-generate.ts";

/** Parameters in memory, and the tokens that they were trained on. */
export interface GivenModel {
  /** All parameters and saved states, as `fit` and `Program.parameters` return them. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** How many training steps they have had: what `step` is in the program. Default: 0. */
  readonly step?: number;
  /** The path of a tokenizer.json of Hugging Face's tokenizers, or of its folder. Default: tokens are bytes. */
  readonly tokenizer?: string;
}
interface OpenProgramOptions extends CompileGenerateOptions, Partial<GivenModel> {
  readonly seed: number;
  readonly ids?: boolean | undefined;
}

/** Opens a program with parameters that are given, to generate. */
export async function openProgram(source: Source, options: OpenProgramOptions): Promise<OpenedModel> {
  const { parameters, step = 0, seed, ids, tokenizer } = options;
  requireMap("the parameters", parameters);
  requireInteger("the step", step);
  const { load, declaration } = resolveSource(source);
  const codec = await selectCodec({ ids, tokenizer }, null);
  const program = requireSyntax(load());
  requireEqualModels(program, hashOfTensors(givenTensors(parameters).tensors), options);
  const compiled = await compileGenerate(program, declaration, options);
  await closedOnFailure(compiled.executable, async () => {
    requireVocabulary(codec, compiled.vocabulary);
    await compiled.executable.run("init", new Map(), { seed, call: 0, step: 0 });
    writeAll(compiled.executable, parameters);
  });
  return { ...compiled, codec, step };
}
/** Writes all parameters and saved states. One that is not given is a Problem. */
function writeAll(executable: Executable, parameters: ReadonlyMap<string, Tensor>): void {
  const matched = matchParameters(executable.stores, givenTensors(parameters));
  const [first, ...more] = matched.flatMap(({ store, value }) => (store.saved && !value ? namesOf(store) : []));
  if (first !== undefined)
    throw new Problem(
      `the parameters lack ${first}${more.length > 0 ? ` and ${pluralize(more.length, "other")}` : ""}`,
      "give all that `fit` returned, or `parameters()` of the trained program",
    );
  writeParameters(executable, matched);
}
