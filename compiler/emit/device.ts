// The device headers that kernels are compiled with. They are files beside a built moec, which keeps a hash of those that it was built with.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { asset, packageFolder } from "../assets.ts";
import { Problem } from "../diagnostic.ts";

/** Set by scripts/build.ts; undefined when running from sources. */
declare const BUILT_WITH_DEVICE: string | undefined;
const folder = new URL("runtime/device/", packageFolder);
let checked = typeof BUILT_WITH_DEVICE === "undefined";

export function device(name: string): string {
  if (!checked) requireBuiltWith(BUILT_WITH_DEVICE ?? "", new URL(import.meta.url), folder);
  checked = true;
  return asset(`runtime/device/${name}`);
}
const headersIn = (folder: URL): URL[] =>
  readdirSync(folder)
    .toSorted()
    .map((name) => new URL(name, folder));

export function hashOfDevice(folder: URL): string {
  const hash = createHash("sha256");
  for (const header of headersIn(folder)) hash.update(readFileSync(header));
  return hash.digest("hex").slice(0, 16);
}
/** Throws if the headers differ from those of the build. They are hashed only if one is newer than the build. */
function requireBuiltWith(hash: string, built: URL, folder: URL): void {
  const made = statSync(built).mtimeMs;
  if (headersIn(folder).some((header) => statSync(header).mtimeMs > made) && hashOfDevice(folder) !== hash)
    throw new Problem(
      "dist is older than moec: the sources have changed, as after a git pull",
      "run `npm ci`, or `npm run build` alone",
    );
}
