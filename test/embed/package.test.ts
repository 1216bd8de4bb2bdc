// What a project of one's own sees of the package: declarations that need no setting of TypeScript's.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("package");
const tsc = (cwd: string, ...args: readonly string[]): string => {
  const program = join(project, "node_modules", "typescript", "bin", "tsc");
  return spawnSync(process.execPath, [program, ...args], { cwd, encoding: "utf8" }).stdout;
};
const own = temporaryFolder();
for (const name of ["build", "node_modules", "stdlib"]) symlinkSync(join(project, name), join(own, name));
cpSync(join(project, "package.json"), join(own, "package.json")); // not a link: it says where the package is
const dist = join(own, "dist");
const build = (): ChildProcess =>
  spawn(process.execPath, ["--import", "tsx", "scripts/build.ts", dist], { cwd: project, stdio: "inherit" });
test.before(async () => assert.equal(await once(build(), "exit"), [0, null]));
test("the example's types, in a strict project that names none of Node's", () => {
  const example = readFileSync(join(project, "examples", "embed.ts"), "utf8").replace(/\nif \(import\.meta[^]*/, "");
  const path = '"../runtime/index.ts"';
  assert.match(example, path);
  writeFileSync(join(own, "embed.ts"), example.replace(path, '"./dist/runtime/index.js"'));
  const modules = ["--module", "nodenext", "--target", "es2022"];
  assert.is(tsc(own, "--noEmit", "--strict", "--types", "", ...modules, "embed.ts"), "");
});
test("the package has what its README, and moec's errors, name to read", () => {
  const command = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const { stdout } = spawnSync("npm", command, { cwd: project, encoding: "utf8" });
  const [packed] = JSON.parse(stdout) as { readonly files: readonly { readonly path: string }[] }[];
  const paths = new Set(packed?.files.map((f) => f.path));
  const readme = readFileSync(join(project, "README.md"), "utf8");
  const linked = [...readme.matchAll(/\]\(((?:docs|grammar|examples)\/[^)#]*\.\w+)/g)].map((m) => m[1] ?? "");
  assert.ok(linked.length > 10);
  assert.equal(
    linked.filter((path) => !paths.has(path)),
    [],
  );
});
test("a moec that begins while it is built again is the old one or the new, nothing old stays, what is older than its headers says so, and CommonJS can import it", async () => {
  const moec = (): string =>
    spawnSync(process.execPath, [join(dist, "cli", "main.js"), "--version"], { encoding: "utf8" }).stdout;
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

  const user = join(own, "user");
  mkdirSync(join(user, "node_modules"), { recursive: true });
  symlinkSync(own, join(user, "node_modules", "moec"));
  writeFileSync(join(user, "package.json"), "{}");
  const program = 'import { checkText, moe } from "moec"; console.log(checkText("a", "fn")[0]?.code); moe`layer`;';
  writeFileSync(join(user, "common.ts"), program);
  const common = spawnSync(process.execPath, ["--import", import.meta.resolve("tsx"), "common.ts"], {
    cwd: user,
    encoding: "utf8",
  });
  assert.is(common.stdout, "E0101\n", common.stderr.slice(0, 1000));
  assert.match(common.stderr, "ProgramError: error[E0101]");
  assert.ok(
    common.stderr.split("\n").every((line) => line.length < 300),
    "the line that threw is short enough to be printed",
  );

  const headers = join(own, "runtime", "device");
  cpSync(join(project, "runtime", "device"), headers, { recursive: true });
  const generated = (): string => {
    const command = [
      join(dist, "cli", "main.js"),
      "compile",
      join(project, "examples", "one-layer.moe"),
      "--emit",
      "cpp",
    ];
    const { status, stderr } = spawnSync(process.execPath, [...command, "--entry", "Layer", "--set", "N=4"], {
      encoding: "utf8",
    });
    return `${status} ${stderr}`;
  };
  assert.match(generated(), /^0 /, "headers newer by their time only, as in a copy");
  appendFileSync(join(headers, "fold.hpp"), "// of another commit\n");
  assert.match(generated(), /^1 .*dist is older than moec[^]*npm run build/);
});
test("what a clone brings holds no links: what is installed or built stays out of it, also where that is a link", () => {
  const { stdout } = spawnSync("git", ["ls-files", "--stage"], { cwd: project, encoding: "utf8" });
  assert.equal(
    stdout.split("\n").filter((line) => line.startsWith("120000 ")),
    [],
  );
  const ignored = readFileSync(join(project, ".gitignore"), "utf8").split("\n");
  for (const name of ["node_modules", "dist", "build", ".nvrtc"])
    assert.ok(ignored.includes(name), `${name}, no slash`);
});
test("installing moec needs nothing built but its own addon", () => {
  const { packages } = JSON.parse(readFileSync(join(project, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, { hasInstallScript?: true; optional?: true; dev?: true }>>;
  };
  const built = Object.entries(packages).filter(([, p]) => p.hasInstallScript && !p.optional && !p.dev);
  assert.equal(
    built.map(([path]) => path),
    [""],
  );
});
test("all addons are built with our node-addon-api: older ones are no C++20, in which Node 24 has addons compiled", () => {
  const { packages } = JSON.parse(readFileSync(join(project, "package-lock.json"), "utf8")) as {
    readonly packages: object;
  };
  assert.equal(
    Object.keys(packages).filter((path) => path.endsWith("node-addon-api")),
    ["node_modules/node-addon-api"],
  );
});
test.run();
