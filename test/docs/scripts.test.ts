// Scripts of package.json say what they take, and in a line what does not fit, before they do anything.
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { commands } from "../../cli/commands.ts";
import { hashHere, withHash } from "../../scripts/bundle.ts";
import { run as runCommand } from "../../scripts/gpu/command.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("scripts");
const { scripts } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as {
  scripts: Record<string, string>;
};
/** The file that a script of package.json runs. */
const fileOf = (name: string): string => /\S+\.ts/.exec(scripts[name] ?? "")?.[0] ?? "";
interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}
const run = (name: string, ...args: string[]): Promise<Ended> =>
  new Promise((done) => {
    const flags = [...process.execArgv, fileOf(name), ...args];
    execFile(
      process.execPath,
      flags,
      { cwd: project, env: { ...process.env, MOEC_LIBCUDA: "/nowhere" } },
      (error, stdout, stderr) => done({ status: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
/** The others are asked below for what does not fit. */
const own = ["build", "generate", "nvrtc", "kit"];

test("the hash of a build is written where the bundler breaks the line, too", () => {
  const hash = "0123456789abcdef".repeat(4);
  for (const at of [0, 1, 9, 30, 63, 64]) {
    const broken = (text: string): string => `a="${text.slice(0, at)}\\\n${text.slice(at)}"`;
    assert.is(withHash(broken(hashHere), hash), broken(hash), String(at));
  }
  assert.is(withHash(`a="${hashHere}"`, hash), `a="${hash}"`);
  assert.is(withHash(hash, hash), hash);
});
test("the README has a row for each command", () => {
  const readme = readFileSync(join(project, "README.md"), "utf8");
  for (const name of commands.map((make) => make().name()))
    assert.match(readme, `\n| \`moec ${name}`, `add a row with \`moec ${name}\` to the table of README.md`);
});
test("--help prints the usage, and nothing is done", async () => {
  const all = await Promise.all(own.map((name) => run(name, "--help")));
  for (const [i, { status, stdout, stderr }] of all.entries()) {
    const name = own[i] ?? "";
    assert.is(status, 0, `${name}: ${stderr}`);
    assert.ok(stdout.startsWith(`npm run ${name}`), stdout);
    assert.is(stderr, "", name);
  }
  assert.not.ok(existsSync(join(project, "--help")));
});
test("what does not fit is told in a line before the usage", async () => {
  const wrong: [asked: string[], told: string][] = [
    [["generate", "--chek"], "error: Unknown option '--chek'"],
    [["gpu", "-o", "x", "sounds"], "error: there is no part sounds"],
    [["test", "nothing-of-this-name"], "error: no test's file is called nothing-of-this-name"],
    [["fuzz", "--kind", "odd"], "error: --kind is `odd`"],
    [["sanitize", "memory"], "error: no sanitizer is called memory"],
    [["bench", "moe", "--only", "99"], "error: moe has no case 99: `npm run bench -- list` shows all"],
    [["peers", "everything"], "error: everything is one word too many"],
  ];
  const all = await Promise.all(wrong.map(([[name = "", ...args]]) => run(name, ...args)));
  for (const [i, { status, stdout, stderr }] of all.entries()) {
    const [first, second = ""] = stderr.split("\n");
    assert.is(first, wrong[i]?.[1]);
    const [[name = ""] = []] = wrong[i] ?? [];
    assert.ok(second.startsWith(name === "test" ? "npm test" : `npm run ${name}`), second);
    assert.is(status, 2, stderr);
    assert.is(stdout, "", stderr);
  }
});
test("gpu says once what a GPU's checks miss, and runs none of them", async () => {
  const { status, stdout, stderr } = await run("gpu", "-o", join(temporaryFolder(), "gpu"), "losses", "doctor/moec");
  assert.is(status, 1);
  assert.match(
    stderr,
    /^no GPU can be used here[^\n]*\nerror: NVIDIA's driver was not found[^\n]*\n {2}help: [^\n]*\n$/,
  );
  assert.match(stdout, /^ok +doctor\/moec [^\n]*\n$/);
});
test("a check that fails is summarised by its error, not by the end of its stack", async () => {
  const script =
    'console.error("error: it broke\\n  help: mend it\\nError: it broke\\n    at async here (file.ts:1:2)"); process.exit(1)';
  const { how, said } = await runCommand([process.execPath, "-e", script], {}, 60, join(temporaryFolder(), "log.txt"));
  assert.equal([how, said], ["failed", "error: it broke"]);
});
test.run();
