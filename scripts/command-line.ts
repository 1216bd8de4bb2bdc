// Parses the command lines of the scripts in package.json. `--help` prints the usage; a wrong argument prints one line and exits with 2.
import process, { argv } from "node:process";
import { type ParseArgsConfig, parseArgs } from "node:util";
import { note, print } from "../cli/output.ts";

type Options = NonNullable<ParseArgsConfig["options"]>;
type ParsedCommandLine<T extends Options> = ReturnType<
  typeof parseArgs<{ readonly options: T; readonly allowPositionals: true }>
>;

/** The flags and positional arguments; `most`: how many of the latter are allowed. */
export function parseCommandLine<const T extends Options>(usage: string, options: T, most = 0): ParsedCommandLine<T> {
  if (argv.slice(2).some((word) => word === "--help" || word === "-h")) {
    print(usage);
    process.exit(0);
  }
  try {
    const found = parseArgs({ options, allowPositionals: true });
    const [extra] = found.positionals.slice(most);
    return extra === undefined ? found : usageError(`${extra} is one word too many`, usage);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const [said = ""] = error.message.split(". ");
    return usageError(said, usage);
  }
}
export function usageError(what: string, usage: string): never {
  note(`error: ${what}\n${usage}`);
  process.exit(2);
}
