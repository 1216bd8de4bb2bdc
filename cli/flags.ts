// The command line's flags: turns the rows of compiler/options.ts into options of commander.
import { type Command, InvalidArgumentError, Option } from "commander";
import { Problem } from "../compiler/diagnostic.ts";
import {
  commonFlags,
  contextParallel,
  expertParallel,
  type Flag,
  integerIn,
  numberIn,
  refuse,
  room,
  type Settings,
  shadow,
  shardOptimizer,
  shardParameters,
  tensorParallel,
  weights,
} from "../compiler/options.ts";
import type { WeightsOption } from "../compiler/types/dtype.ts";

/** A commander option; a value that cannot be parsed is a usage error. Defaults are set by the runtime, and only described here. */
export const option = <T>({ flags, doc, parse }: Flag<T>): Option =>
  new Option(flags, doc).argParser((text: string, before: T | undefined) => {
    try {
      return parse(text, before);
    } catch (error) {
      throw error instanceof Problem ? new InvalidArgumentError(error.message) : error;
    }
  });
export const flag = (flags: string, doc: string, parse: (text: string) => unknown): Option =>
  option({ flags, doc, parse });

export type SharedFlags = {
  readonly [Name in keyof typeof commonFlags]?: ReturnType<(typeof commonFlags)[Name]["parse"]>;
};
export function addShared(command: Command, target: Option = option(commonFlags.target)): Command {
  const { target: _, ...others } = commonFlags;
  command.addOption(target);
  for (const row of Object.values<Flag<unknown>>(others)) command.addOption(option(row));
  return command;
}
export const addWeights = (command: Command): Command => command.addOption(option(weights));
export interface WeightsFlag {
  readonly weights?: WeightsOption;
}
/** Flags of how several workers share a program's parameters. */
export const addSharing = (command: Command): Command =>
  command.addOption(option(tensorParallel)).addOption(option(expertParallel)).addOption(option(room));
/** The same where the program is trained. */
export const addTrainingSharing = (command: Command): Command =>
  addSharing(command)
    .addOption(option(contextParallel))
    .addOption(option(shardOptimizer))
    .addOption(option(shardParameters))
    .addOption(option(shadow));
/** Of a model with an encoder: the language of what it reads; `of`: of what. */
export const sourceLanguage = (of: string): Option =>
  flag(
    "--source-language <token>",
    `with an encoder: the token for the language of ${of}, as the tokenizer has it; default: the run's, else the tokenizer's`,
    text,
  );
/** The language of what it writes. */
export const targetLanguage = (of: string): Option =>
  flag(
    "--target-language <token>",
    `with an encoder: the token for the language ${of}, such as fra_Latn of NLLB; default: the run's`,
    text,
  );
/** Flags of how tokens are drawn. */
export const addSampling = (command: Command): Command =>
  command
    .addOption(flag("--temperature <x>", "0 always takes the most likely token; default: 0.8", numberIn(0)))
    .addOption(
      flag(
        "--top-p <p>",
        "nucleus sampling: sample from the most likely tokens with total probability p; default: 1, all",
        numberIn(0, 1),
      ),
    )
    .addOption(
      flag("--top-k <n>", "sample from the n most likely tokens, applied before --top-p; default: all", integerIn(1)),
    );
export const samplingSeed = (): Option => flag("--seed <n>", "random seed; default: 0", integerIn(-(2 ** 31)));
/** `ends`: what the text is that is ended. */
export const stop = (ends: string): Option =>
  option({
    flags: "--stop <text>",
    doc: `end a ${ends} before it says this; repeatable`,
    parse: (said, before: string[] = []) => [...before, said === "" ? refuse("some text") : said],
  });
/** Flags that choose an entry and its sizes; the default entry is `train`. */
export interface EntryFlags {
  readonly entry?: string;
  readonly batch?: number;
  readonly length?: number;
  readonly set?: Settings;
}
export const addEntry = (command: Command): Command =>
  command
    .addOption(
      flag(
        "--entry <entry>",
        "Declaration, Declaration.method, a function, or a method of the file's only model (default: its `train`; without a model, the only declaration)",
        text,
      ),
    )
    .addOption(
      flag(
        "--batch <n>",
        "B of an entry that takes tokens: i32[B, T]; default of `train`: the model's, or 16",
        integerIn(1),
      ),
    )
    .addOption(flag("--length <n>", "its T; default of `train`: the model's, or 128", integerIn(1)));
/** Flags of commands that run an entry on made-up inputs (profile, tune). */
export interface MeasureFlags extends EntryFlags, Pick<SharedFlags, "precision" | "threads"> {
  readonly grad?: boolean;
  readonly runs?: number;
  readonly json?: boolean;
}
/** `runs`: the help text of --runs. */
export const addMeasureFlags = (command: Command, runs: string): Command =>
  addEntry(command.argument("<file>", "a .moe file"))
    .option("--grad", "entries other than `train`: also compute gradients of losses and results")
    .addOption(flag("--runs <n>", `${runs}; default: 5`, integerIn(1, 1000)))
    .addOption(option(commonFlags.precision))
    .addOption(option(commonFlags.threads))
    .addOption(option(commonFlags.set))
    .addOption(json());
export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}`;
export const json = (): Option =>
  new Option("--json", "print one JSON object a line on stdout, and nothing else there");
/** The option of commands that read a trained model. */
export const average = (): Option =>
  flag(
    "--average <state>",
    "take for each parameter the average that the optimizer keeps as this state: `ema` of AdamW(average: 0.999)",
    text,
  );
/** The option -o: where a command writes its result. */
export const out = (what: "file" | "folder", doc: string): Option => flag(`-o, --out <${what}>`, doc, text);
export const text = (x: string): string => (x === "" ? refuse("a name, or a path") : x);
/** `-` means standard input. */
export const inputPath = (file: string): string => (file === "-" ? "/dev/stdin" : file);
