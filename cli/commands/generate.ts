import { Command } from "commander";
import { Problem } from "../../compiler/diagnostic.ts";
import { integerIn, requireTarget } from "../../compiler/options.ts";
import { generate, type Piece, type RunGenerateOptions } from "../../runtime/generation/generate.ts";
import { conversationOf, readPrompts } from "../../runtime/tokenizer/prompts.ts";
import type { Message, Prompt } from "../../runtime/tokens.ts";
import { requireFiles } from "../../runtime/workers/train-distributed.ts";
import type { Workers } from "../../runtime/workers/workers.ts";
import {
  addSampling,
  addShared,
  addSharing,
  addWeights,
  average,
  examples,
  flag,
  inputPath,
  json,
  option,
  samplingSeed,
  sourceLanguage,
  stop,
  targetLanguage,
  text,
} from "../flags.ts";
import { withWorkers } from "../multi-process.ts";
import { compileProgress, note, noteRate, printJson, warn, write } from "../output.ts";
import { abortOnSignals } from "../signals.ts";

export const generateCommand = (): Command =>
  addSharing(
    addSampling(
      addWeights(addShared(new Command("generate")))
        .description(
          "Generate text with a trained model. Under mpirun, several processes share its experts and the batch.",
        )
        .argument("<folder>", "the folder of a training run, or of an imported model")
        .addOption(
          option({
            flags: "--prompt <text>",
            doc: "the beginning of the text; repeatable: several prompts are generated as a batch",
            parse: (prompt, before: string[] = []) => [...before, prompt],
          }),
        )
        .addOption(
          flag(
            "--prompts <file>",
            "prompts from a file: its lines, or of a .jsonl file of documents what comes before each last reply; - is stdin",
            text,
          ).conflicts("prompt"),
        )
        .addOption(flag("--tokens <n>", "number of tokens to generate; default: 200, or as many as fit", integerIn(1))),
    )
      .addOption(flag("--batch <n>", "texts generated at a time; default: all, up to 16", integerIn(1)))
      .addOption(
        flag(
          "--prefixes <n>",
          "beginnings of prompts that are kept (instructions, examples), so that later prompts which begin so are read from there on; default: 0",
          integerIn(0),
        ),
      )
      .addOption(samplingSeed())
      .option(
        "--chat",
        "prompts are messages of a user; the tokenizer's chat template makes the text that the model reads",
      )
      .addOption(flag("--system <text>", "what the model is told before them; implies --chat", String))
      .option("--ids", "prompts and texts are token numbers: '5 12 7'; the default if the model was trained on those")
      .addOption(sourceLanguage("the prompt"))
      .addOption(targetLanguage("to write in"))
      .addOption(stop("text"))
      .option("--past-end", "do not stop at the end-of-text token")
      .addOption(average()),
  )
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec generate runs/gpt-moe --prompt 'Call me'",
        "moec generate runs/gpt-moe --tokens 500 --temperature 0",
        "moec generate runs/gpt-moe --prompt 'Once' --prompt 'The sea' --top-p 0.9",
        "moec generate runs/OLMoE-1B-7B-Instruct --chat --prompt 'Who was Ahab?'",
        "moec generate runs/gpt-moe --prompts questions.jsonl --stop 'Q:' --temperature 0 --json",
        "moec generate runs/OLMoE-1B-7B --prompts with-examples.jsonl --prefixes 1 --temperature 0",
        "moec generate runs/nllb-moe-54b --prompt 'The sea.' --target-language fra_Latn",
        "mpirun -n 2 moec generate runs/gpt-moe --prompt 'Call me'",
      ),
    )
    .action(run);

interface Options extends Omit<RunGenerateOptions, "folder" | "prompts"> {
  prompt?: string[];
  prompts?: string;
  chat?: boolean;
  system?: string;
  json?: boolean;
}
const run = (folder: string, options: Options): Promise<void> =>
  withWorkers(options.threads, (world) => runGeneration(folder, options, world));
async function runGeneration(
  folder: string,
  { json, chat, system, prompt, prompts: file, ...options }: Options,
  world: Workers,
): Promise<void> {
  requireTarget(options);
  const asked = file === undefined ? prompt : promptsIn(file, world);
  const prompts = (chat ?? system !== undefined) ? conversations(asked, system) : (asked ?? [""]);
  const stopping = new AbortController();
  // a process that is alone ends at once by a signal
  const onOpen = world.size > 1 ? () => abortOnSignals(stopping) : undefined;
  const how = { folder, prompts, ...options, signal: stopping.signal, onOpen };
  if (world.rank > 0) return await runSilently(how, world);
  const told = { ...how, warn, tell: note, onCompile: compileProgress() };
  if (json) await asJson(asked ?? [""], told, world);
  else await forPeople(prompts, told, world);
}
function promptsIn(file: string, world: Workers): Prompt[] {
  const path = inputPath(file);
  requireFiles([path], world, "--prompts");
  return readPrompts(path);
}
function conversations(prompts: readonly Prompt[] | undefined, system: string | undefined): Message[][] {
  if (!prompts)
    throw new Problem(
      "--chat lacks what the user says",
      "give it: --prompt 'Who was Ahab?'; or talk with the model: moec chat FOLDER",
    );
  return prompts.map((prompt) => conversationOf(prompt, system));
}
async function runSilently(how: RunGenerateOptions, world: Workers): Promise<void> {
  for await (const _ of generate(how, world)) continue;
}
/**
 * Prints each text after its prompt, and replies alone, as they are generated; with several prompts, pieces of later texts wait until the earlier ones are
 * complete. On a terminal the rate follows.
 */
async function forPeople(prompts: readonly Prompt[], how: RunGenerateOptions, world: Workers): Promise<void> {
  const waiting = new Map<number, Piece[]>();
  let turn = 0;
  let begun = false;
  let [tokens, seconds] = [0, 0];
  for await (const piece of generate(how, world)) {
    tokens += 1;
    seconds = piece.seconds;
    waiting.set(piece.prompt, [...(waiting.get(piece.prompt) ?? []), piece]);
    while (turn < prompts.length) {
      const pieces = waiting.get(turn) ?? [];
      const prompt = prompts[turn];
      if (!begun && pieces[0]?.answers === false && typeof prompt === "string") write(prompt);
      begun ||= pieces.length > 0;
      for (const { text } of pieces) write(text);
      waiting.set(turn, []);
      if (!pieces.some((p) => p.last)) break;
      turn += 1;
      begun = false;
      write(turn < prompts.length ? "\n\n" : "\n");
    }
  }
  noteRate(tokens, seconds);
}
/** Prints a line of JSON for each text when it is complete. */
async function asJson(prompts: readonly Prompt[], how: RunGenerateOptions, world: Workers): Promise<void> {
  const made = prompts.map(() => "");
  for await (const { prompt, text, last, tokens, seconds } of generate(how, world)) {
    made[prompt] += text;
    if (last) printJson({ prompt: prompts[prompt], text: made[prompt], tokens, seconds });
  }
}
