// Bundles moec into a few chunks of JavaScript: chevrotain alone is 650 files, which take 270 ms to import, and 15 ms bundled. A moec that starts
// during a build sees the old one or the new one, because entries are replaced atomically, after the chunks that they import.
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { hashOfDevice } from "../compiler/emit/device.ts";

const root = join(import.meta.dirname, "..");

/** Writes the bundle; returns its paths. The folder must be in moec's own, because the code finds its assets relative to itself. */
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
    // halves the text to read at each start; names stay, for stack traces
    minifyWhitespace: true,
    minifySyntax: true,
    define: { BUILT_WITH_DEVICE: JSON.stringify(hashOfDevice(pathToFileURL(join(root, "runtime", "device/")))) },
    external: ["ffi-napi", "ref-napi"],
    // commander and other CommonJS packages call `require` inside the bundle
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
  const temporary = join(dirname(path), `.${basename(path)}`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(temporary, contents, { mode: contents[0] === "#".charCodeAt(0) ? 0o755 : 0o644 });
  renameSync(temporary, path);
}
