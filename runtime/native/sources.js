// The addon's sources. Their hash is compiled into it (binding.gyp), so one that was made of others is known as such.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const sourcesIn = (folder) =>
  readdirSync(folder)
    .filter((name) => /\.[ch]pp$/.test(name))
    .toSorted()
    .map((name) => join(folder, name));

export function hashOf(folder) {
  const hash = createHash("sha256");
  for (const file of sourcesIn(folder)) hash.update(readFileSync(file));
  return hash.digest("hex").slice(0, 16);
}
/** Whether the addon `file`, of sources with this hash, was made of others than those in `folder`. Reads them only where one is newer. */
export function isOutdated(file, hash, folder) {
  if (!existsSync(folder)) return false;
  const made = statSync(file).mtimeMs;
  return sourcesIn(folder).some((source) => statSync(source).mtimeMs > made) && hash !== hashOf(folder);
}
