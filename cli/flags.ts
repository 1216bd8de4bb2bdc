// Flags as commander takes them.
import { type Command, InvalidArgumentError, Option } from "commander";
import { Problem } from "../compiler/diagnostic.ts";
import * as shared from "../compiler/options.ts";
import type { Precision } from "../compiler/types/dtype.ts";

/** Commander's option for a row; a value that does not fit is a usage error. Defaults are the runtime's: here they are only told. */
export const option = <T>({ flags, doc, parse }: shared.Flag<T>): Option =>
  new Option(flags, doc).argParser((text: string, before: T | undefined) => {
    try {
      return parse(text, before);
    } catch (error) {
      throw error instanceof Problem ? new InvalidArgumentError(error.message) : error;
    }
  });
export const flag = (flags: string, doc: string, parse: (text: string) => unknown): Option =>
  option({ flags, doc, parse });

/** What `compile`, `run`, `train`, `generate` and `profile` take alike. */
export interface Shared {
  readonly target?: shared.Target;
  readonly precision?: Precision;
  readonly tf32?: boolean;
  readonly threads?: number;
  readonly set?: shared.Settings;
}
export const addShared = (command: Command, target: Option = option(shared.target)): Command =>
  command
    .addOption(target)
    .addOption(option(shared.precision))
    .addOption(option(shared.tf32))
    .addOption(option(shared.threads))
    .addOption(option(shared.set));
/** What names and sizes an entry, where `train` is what one means. */
export interface EntryFlags {
  readonly entry?: string;
  readonly batch?: number;
  readonly length?: number;
  readonly set?: shared.Settings;
}
export const addEntry = (command: Command): Command =>
  command
    .addOption(
      flag(
        "--entry <entry>",
        "Declaration, Declaration.method, a function, or a method of the file's only model (default: its `train`)",
        text,
      ),
    )
    .addOption(flag("--batch <n>", "rows of a training batch; default: 16", shared.whole(1)))
    .addOption(flag("--length <n>", "tokens of a row; default: 128", shared.whole(1)));
/** Of commands that run an entry on made-up inputs. */
export interface TrialFlags extends EntryFlags, Pick<Shared, "precision" | "threads"> {
  readonly grad?: boolean;
  readonly runs?: number;
  readonly json?: boolean;
}
/** `runs`: what the runs are for. */
export const addTrial = (command: Command, runs: string): Command =>
  addEntry(command.argument("<file>", "a .moe file"))
    .option("--grad", "of an entry that is not `train`: also the gradients of its losses and results")
    .addOption(flag("--runs <n>", `${runs}; default: 5`, shared.whole(1, 1000)))
    .addOption(option(shared.precision))
    .addOption(option(shared.threads))
    .addOption(option(shared.set))
    .addOption(json());
export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}`;
export const json = (): Option =>
  new Option("--json", "print one JSON object a line on stdout, and nothing else there");
export const text = (x: string): string => (x === "" ? shared.refuse("a name") : x);
