// Bundles moec into a few chunks of JavaScript: chevrotain alone is 650 files, which take 270 ms to import, and 15 ms bundled. A moec that starts
// during a build sees the old one or the new one, because entries are replaced atomically, after the chunks that they import.
import { createHash } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { hashOfDevice } from "../compiler/emit/device.ts";

const root = join(import.meta.dirname, "..");
/** Stands in the code for a hash of all of it, as long, so that source maps stay right. */
export const hashHere = "hash of this build".padEnd(64, ".");
/** esbuild breaks lines inside of strings, too. */
const brokenHash = new RegExp(
  hashHere.replaceAll(".", "_").split("").join(String.raw`(\\\n)?`).replaceAll("_", "[.]"),
  "g",
);
/** The code with its hash, broken where the code is. */
export const withHash = (code: string, hash: string): string =>
  code.replace(brokenHash, (_, ...breaks: (string | undefined)[]) =>
    hash
      .split("")
      .map((c, i) => (i < hash.length - 1 ? c + (breaks[i] ?? "") : c))
      .join(""),
  );

/**
 * Writes the bundle; returns its paths. The folder must be in moec's own, because the code finds its assets relative to itself. `more`: other scripts,
 * without `.ts`.
 */
export async function bundle(folder: string, more: readonly string[] = []): Promise<string[]> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(
      ["runtime/index", "runtime/tokenizer/encoding-thread", "cli/main", ...more].map((name) => [name, `${name}.ts`]),
    ),
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
    lineLimit: 120, // node prints the line that throws
    define: {
      BUILD: JSON.stringify(hashHere),
      BUILT_WITH_DEVICE: JSON.stringify(hashOfDevice(pathToFileURL(join(root, "runtime", "device/")))),
    },
    external: ["ffi-napi", "ref-napi"],
    // commander and other CommonJS packages call `require` inside the bundle
    banner: {
      js: 'import { createRequire as createRequireHere } from "node:module"; const require = createRequireHere(import.meta.url);',
    },
    write: false,
  });
  const hash = createHash("sha256");
  for (const { contents } of outputFiles) hash.update(contents);
  const built = hash.digest("hex");
  const isChunk = (path: string): boolean => dirname(path) === folder;
  const chunksFirst = outputFiles.toSorted((a, b) => Number(isChunk(b.path)) - Number(isChunk(a.path)));
  const hashed = chunksFirst.map(({ path, text }) => ({ path, text, own: withHash(text, built) }));
  if (!hashed.some(({ path, text, own }) => path.endsWith(".js") && own !== text))
    throw new Error("no code of the bundle has a place for its hash: plans of other builds would be taken for its own");
  for (const { path, own } of hashed) replace(path, own);
  return outputFiles.map(({ path }) => path);
}
function replace(path: string, text: string): void {
  const temporary = join(dirname(path), `.${basename(path)}`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(temporary, text, { mode: text.startsWith("#") ? 0o755 : 0o644 });
  renameSync(temporary, path);
}
