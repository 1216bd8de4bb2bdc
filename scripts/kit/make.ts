// npm run kit -- -o FOLDER: packs all that moec needs on a Linux machine with the same kind of processor, but without network and Node: Node itself,
// moec as built here, its sources, documents and tests, and their packages. FOLDER/run unpacks and runs it.
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { env, execPath } from "node:process";
import { print, showBytes } from "../../cli/output.ts";
import { sha256 } from "../../runtime/storage/files.ts";
import { parseCommandLine, usageError } from "../command-line.ts";
import { folderOf, packagesFor } from "./packages.ts";

const root = join(import.meta.dirname, "../..");
/** Packages that tests and scripts import, besides moec's own dependencies. */
const more = ["tsx", "uvu", "fast-check"];

function copy(from: string, stage: string): void {
  const to = join(stage, from);
  fs.mkdirSync(dirname(to), { recursive: true });
  fs.copyFileSync(join(root, from), to);
}
const folders = [
  ".ci",
  "bench",
  "cli",
  "compiler",
  "docs",
  "examples",
  "grammar",
  "runtime",
  "scripts",
  "stdlib",
  "test",
];
const files = ["LICENSE", "README.md", "oxlint.config.mjs", "package.json", "tsconfig.json"];
const sources = (): string[] =>
  [...files, ...folders.flatMap(within)].filter((file) => !/\/(node_modules|runs|__pycache__)\//.test(file));
const within = (folder: string): string[] =>
  fs
    .readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .filter((file) => fs.statSync(join(root, file)).isFile());
/** Whether a package's file is needed at run time, not only for building or reading. */
const needed = (file: string): boolean =>
  !/\.(md|map|[cm]?ts|[ch]|cc|cpp|o|a|d|mk|gypi?|S|s|asm|m4)$|\/(deps|obj\.target|\.deps|test|example)\//.test(file);

function stagedIn(stage: string): void {
  const addon = "build/Release/moec.node";
  const built = ["dist/cli/main.js", addon].filter((file) => !fs.existsSync(join(root, file)));
  if (built.length > 0) throw new Error(`${built.join(", ")} is not there: run \`npm ci\``);
  const packages = packagesFor(root, more).flatMap((name) => within(folderOf(name)).filter(needed));
  for (const file of [...sources(), ...within("dist").filter((f) => !f.endsWith(".map")), addon, ...packages])
    copy(file, stage);
  for (const file of within(".").filter((f) => f.endsWith(".node") && fs.existsSync(join(stage, f))))
    spawnSync("strip", ["--strip-debug", join(stage, file)]);
}
/** Compresses with xz (settings in XZ_OPT); takes a minute for Node. */
function compressed(input: string, to: string): void {
  execFileSync("xz", ["-T0", "-c", input], { stdio: ["ignore", fs.openSync(to, "w"), "inherit"] });
}
/** Node is the same in all kits, so a folder that has it keeps it. */
function putNode(folder: string, scratch: string): void {
  const kept = join(folder, "node.xz");
  if (fs.existsSync(kept) && fs.statSync(kept).mtimeMs > fs.statSync(fs.realpathSync(execPath)).mtimeMs) return;
  const node = join(scratch, "node");
  fs.copyFileSync(execPath, node);
  spawnSync("strip", [node]);
  compressed(node, kept);
}
function main(): void {
  const usage = "npm run kit -- -o FOLDER\n  -o  the folder that gets the kit";
  const { values } = parseCommandLine(usage, { out: { type: "string", short: "o" } });
  if (values.out === undefined) return usageError("no folder is named", usage);
  const folder = resolve(env["INIT_CWD"] ?? ".", values.out);
  fs.mkdirSync(folder, { recursive: true });
  const scratch = fs.mkdtempSync(join(folder, ".making-"));
  try {
    const [stage, tar] = [join(scratch, "stage"), join(scratch, "moec.tar")];
    stagedIn(stage);
    execFileSync("tar", ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cf", tar, "-C", stage, "."]);
    compressed(tar, join(folder, "moec.tar.xz"));
    putNode(folder, scratch);
    fs.writeFileSync(join(folder, "version"), sha256([fs.readFileSync(tar)]).slice(0, 16));
    fs.copyFileSync(join(import.meta.dirname, "run.sh"), join(folder, "run"));
  } finally {
    fs.rmSync(scratch, { recursive: true });
  }
  const bytes = fs.readdirSync(folder).map((file) => fs.statSync(join(folder, file)).size);
  print(
    `${folder}: ${showBytes(bytes.reduce((sum, n) => sum + n, 0))}; there, \`sh run moec ...\` and \`sh run gpu -o RESULTS\``,
  );
}
main();
