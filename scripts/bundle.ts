// moec as JavaScript in a few bundled chunks: chevrotain alone is 650 files, 270 ms to import apart, 15 ms bundled. A moec that begins
// meanwhile is the old one or the new: an entry is replaced at once, when the chunks that it names are there.
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { hashOfDevice } from "../compiler/emit/device.ts";

const root = join(import.meta.dirname, "..");

/** The files that it wrote in a folder (inside of moec's own: what they read is found from there). */
export async function bundle(folder: string): Promise<string[]> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: { "runtime/index": "runtime/index.ts", "cli/main": "cli/main.ts" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20.19",
    outdir: folder,
    sourcemap: true,
    // Half the text to read at each start; names stay, for stack traces.
    minifyWhitespace: true,
    minifySyntax: true,
    define: { BUILT_WITH_DEVICE: JSON.stringify(hashOfDevice(pathToFileURL(join(root, "runtime", "device/")))) },
    external: ["ffi-napi", "ref-napi"],
    // commander and other CommonJS packages call require inside the bundle.
    banner: {
      js: 'import { createRequire as createRequireHere } from "node:module"; const require = createRequireHere(import.meta.url);',
    },
    write: false,
  });
  const isChunk = (path: string): boolean => dirname(path) === folder;
  const chunksFirst = outputFiles.toSorted((a, b) => Number(isChunk(b.path)) - Number(isChunk(a.path)));
  for (const { path, contents } of chunksFirst) replace(path, contents);
  return outputFiles.map(({ path }) => path);
}
function replace(path: string, contents: Uint8Array): void {
  const beside = join(dirname(path), `.${basename(path)}`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(beside, contents, { mode: contents[0] === "#".charCodeAt(0) ? 0o755 : 0o644 });
  renameSync(beside, path);
}
