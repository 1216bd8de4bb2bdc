// The format of a run's files, which its config.json and the state.json of each checkpoint state.
import * as v from "valibot";
import { compilerVersion } from "../../compiler/assets.ts";
import { Problem } from "../../compiler/diagnostic.ts";

/** To be raised when readers of the older format cannot read the newer one. 2: checkpoints may have a file of frozen parameters. */
export const formatVersion = 2;
/** What files state that readers of the first format can read. */
export const baseFormat = 1;

/** A Problem of its own because this is not damage: going back to an earlier checkpoint would not help. */
export class NewerFormat extends Problem {
  constructor(file: string, format: number, compiler: string) {
    super(
      `${file} is in format ${format}, written by moec ${compiler}; this is moec ${compilerVersion}, which reads formats up to ${formatVersion}`,
      `install moec ${compiler} or later`,
    );
  }
}
const stated = v.object({ format: v.number(), compiler: v.string() });
/** Throws NewerFormat if the JSON of a file states a format that this moec does not read. */
export function requireKnownFormat(file: string, json: unknown): void {
  const { success, output } = v.safeParse(stated, json);
  if (success && output.format > formatVersion) throw new NewerFormat(file, output.format, output.compiler);
}
