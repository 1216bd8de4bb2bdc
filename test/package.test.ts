// What a project of one's own sees of the package: declarations that need no setting of TypeScript's.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { folder } from "./folder.ts";

const test = suite("package");
const root = join(import.meta.dirname, "..");
const tsc = (cwd: string, ...args: readonly string[]): string => {
  const program = join(root, "node_modules", "typescript", "bin", "tsc");
  return spawnSync(process.execPath, [program, ...args], { cwd, encoding: "utf8" }).stdout;
};
test("the example's types, in a strict project that names none of Node's", () => {
  const project = folder();
  symlinkSync(join(root, "node_modules"), join(project, "node_modules"));
  writeFileSync(join(project, "package.json"), '{ "type": "module" }');
  assert.is(tsc(root, "-p", "tsconfig.build.json", "--outDir", join(project, "dist")), "");
  const example = readFileSync(join(root, "examples", "embed.ts"), "utf8").replace(/\nif \(import\.meta[^]*/, "");
  const path = '"../runtime/index.ts"';
  assert.match(example, path);
  writeFileSync(join(project, "embed.ts"), example.replace(path, '"./dist/runtime/index.js"'));
  const modules = ["--module", "nodenext", "--target", "es2022"];
  assert.is(tsc(project, "--noEmit", "--strict", "--types", "", ...modules, "embed.ts"), "");
});
test("a moec that begins while it is built again is the old one or the new, and nothing old stays", async () => {
  const project = folder();
  for (const name of ["package.json", "node_modules", "stdlib"]) symlinkSync(join(root, name), join(project, name));
  const dist = join(project, "dist");
  const build = (): ChildProcess =>
    spawn(process.execPath, ["--import", "tsx", "scripts/build.ts", dist], { cwd: root, stdio: "inherit" });
  const moec = (): string =>
    spawnSync(process.execPath, [join(dist, "cli", "main.js"), "--version"], { encoding: "utf8" }).stdout;
  assert.equal(await once(build(), "exit"), [0, null]);
  writeFileSync(join(dist, "chunk-OLD.js"), "");
  const version = moec();
  const second = build();
  const ended = once(second, "exit");
  while (second.exitCode === null) {
    assert.is(moec(), version);
    await setImmediate();
  }
  assert.equal(await ended, [0, null]);
  assert.not.ok(readdirSync(dist).includes("chunk-OLD.js"));
});
test("installing moec needs nothing built but its own addon", () => {
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, { hasInstallScript?: true; optional?: true; dev?: true }>>;
  };
  const built = Object.entries(packages).filter(([, p]) => p.hasInstallScript && !p.optional && !p.dev);
  assert.equal(
    built.map(([path]) => path),
    [""],
  );
});
test.run();
