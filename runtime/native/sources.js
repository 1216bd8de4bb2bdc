// The hash of the addon's sources. It is compiled into the addon (binding.gyp), which shows whether the sources have changed since.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const sourcesIn = (folder) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => /\.[ch]pp$/.test(name))
    .toSorted()
    .map((name) => join(folder, name));

export function hashOfSources(folder) {
  const hash = createHash("sha256");
  for (const file of sourcesIn(folder)) hash.update(readFileSync(file));
  return hash.digest("hex").slice(0, 16);
}
/** Whether the addon `file`, built from sources of this hash, is older than the sources in `folder` now. Reads them only if one has a newer time. */
export function isOutdated(file, hash, folder) {
  if (!existsSync(folder)) return false;
  const made = statSync(file).mtimeMs;
  return sourcesIn(folder).some((source) => statSync(source).mtimeMs > made) && hash !== hashOfSources(folder);
}
