import { Command } from "commander";
import { pluralize } from "../../compiler/pluralize.ts";
import { examples, json } from "../flags.ts";
import { print, printJson, showBytes, showCache } from "../output.ts";

export const cacheCommand = (): Command =>
  new Command("cache")
    .description(
      "Show or empty the cache of compiled kernels, plans, tuned schedules and encoded texts. MOEC_CACHE names its folder.",
    )
    .option("--clear", "empty the cache")
    .addOption(json())
    .addHelpText("after", examples("moec cache", "moec cache --clear"))
    .action(cache);

async function cache({ clear, json }: { clear?: boolean; json?: boolean }): Promise<void> {
  const { KernelCache } = await import("../../runtime/cache/kernels.ts");
  const { clearSchedules } = await import("../../runtime/cache/schedules.ts");
  const { tokenFolder } = await import("../../runtime/cache/tokens.ts");
  if (clear) clearSchedules();
  for (const part of [new KernelCache(), tokenFolder()]) {
    const before = part.stats();
    if (clear) part.clear();
    const { folder, files, bytes, limit } = part.stats();
    if (json) printJson({ folder, files, bytes, limit, cleared: before.bytes - bytes });
    else if (clear) print(`${folder}: removed ${pluralize(before.files, "file")}, ${showBytes(before.bytes)}`);
    else print(showCache(part.stats()));
  }
}
