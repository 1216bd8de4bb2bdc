import { Command } from "commander";
import { pluralize } from "../../compiler/pluralize.ts";
import { examples, json } from "../flags.ts";
import { print, printJson, showBytes } from "../output.ts";

export const cacheCommand = (): Command =>
  new Command("cache")
    .description("Show or empty the cache of compiled kernels, plans and tuned schedules. MOEC_CACHE names its folder.")
    .option("--clear", "empty the cache")
    .addOption(json())
    .addHelpText("after", examples("moec cache", "moec cache --clear"))
    .action(cache);

async function cache(options: { clear?: boolean; json?: boolean }): Promise<void> {
  const { KernelCache } = await import("../../runtime/cache/kernels.ts");
  const { clearSchedules } = await import("../../runtime/cache/schedules.ts");
  const kernels = new KernelCache();
  const before = kernels.stats();
  if (options.clear) {
    kernels.clear();
    clearSchedules();
  }
  const { folder, files, bytes, limit } = kernels.stats();
  if (options.json) printJson({ folder, files, bytes, limit, cleared: before.bytes - bytes });
  else if (options.clear) print(`${folder}: removed ${pluralize(before.files, "file")}, ${showBytes(before.bytes)}`);
  else print(`${folder}: ${pluralize(files, "file")}, ${showBytes(bytes)} of at most ${showBytes(limit)}`);
}
