import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { cacheFolder, untrustedReason } from "../../runtime/cache/folder.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { buildKernels, KernelBuild } from "../../runtime/host/compile.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { sha256 } from "../../runtime/storage/files.ts";
import { problem } from "../assert-problem.ts";
import { full, withPatchedFs } from "../patch-fs.ts";
import { project } from "../project.ts";
import { buffer, header, launch, write } from "../sequences.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("cache");
const mode = (path: string): number => fs.statSync(path).mode & 0o777;
const age = (path: string, seconds: number): void =>
  fs.utimesSync(path, Date.now() / 1000 - seconds, Date.now() / 1000 - seconds);

/** An entry a value: kernel i writes values[i] to output i. */
function constants(values: readonly number[]): Plan {
  const outs = values.map((_, i) => buffer(`out${i}`, [1]));
  const launches = values.map((value, i) =>
    launch(`constant${i}`, `a[0] = ${value};`, [write(outs[i] ?? buffer("", []))]),
  );
  const results = outs.map((out, i) => ({ role: "loss" as const, name: `${i}`, buffer: out }));
  return planMemory([{ entry: "main", launches, assigns: [], results }], [], { target: "host", header });
}
/** The same, and each takes the compiler for long. */
const long = (plan: Plan): Plan => ({
  ...plan,
  kernels: plan.kernels.map((k, i) => ({ ...k, text: `${k.text}// ${"x ".repeat(15_000 + i)}\n` })),
});
async function runAll(plan: Plan, cache: KernelCache): Promise<readonly number[]> {
  const executable = await hostExecutable(plan, { threads: 1, cache });
  const { losses } = await executable.run("main", new Map(), { seed: 0, call: 0, step: 0 });
  executable.close();
  return [...losses.values()];
}

const homeless = (): string => {
  throw new Error("uv_os_get_passwd returned ENOENT");
};
test("the folder is MOEC_CACHE, or the user's", () => {
  assert.is(cacheFolder({ MOEC_CACHE: "/a" }), "/a");
  if (process.platform !== "darwin") assert.is(cacheFolder({ MOEC_CACHE: "", XDG_CACHE_HOME: "/b" }), "/b/moec");
  assert.match(cacheFolder({}), /moec$/);
  const before = process.env["HOME"] ?? "";
  process.env["HOME"] = "";
  assert.ok(isAbsolute(cacheFolder({})), "also where HOME is set to nothing");
  process.env["HOME"] = before;
  const error = problem(() => cacheFolder({ XDG_CACHE_HOME: "" }, homeless));
  assert.match(`${error.message}; ${error.help}`, /knows no home of this user; name a folder in MOEC_CACHE/);
  assert.is(cacheFolder({ XDG_CACHE_HOME: "/b" }, homeless), "/b/moec");
});

test("folder and files are for this user only", () => {
  const root = join(temporaryFolder(), "deep", "er");
  const cache = new KernelCache(root);
  const path = cache.put(Buffer.from("library"), [sha256("key")]);
  assert.equal(
    [mode(cache.folder), mode(path), mode(join(cache.folder, `${sha256("key")}.key`))],
    [0o700, 0o600, 0o600],
  );
  assert.is(cache.find(sha256("key")), path);
  assert.is(cache.find(sha256("other")), null);
  fs.chmodSync(cache.folder, 0o755);
  assert.is(mode(new KernelCache(root).folder), 0o700);
  assert.equal(cache.stats(), { folder: cache.folder, files: 2, bytes: 7 + 64, limit: 2 ** 30 });
  cache.clear();
  assert.is(cache.stats().files, 0);
});

test("a folder that cannot be made, or a file that cannot be written, is a Problem that names MOEC_CACHE", () => {
  const file = join(temporaryFolder(), "file");
  fs.writeFileSync(file, "");
  const path = /^the cache of kernels cannot be kept: cannot make .*: a part of the path is a file$/;
  const cache = new KernelCache(join(file, "..", "cache"));
  fs.rmSync(cache.folder, { recursive: true });
  for (const [work, message] of [
    [() => new KernelCache(file), path],
    [
      () => cache.put(Buffer.from("library"), []),
      /^the cache of kernels cannot be kept: cannot write .*\.part: there is no such/,
    ],
  ] as const)
    try {
      work();
      assert.unreachable();
    } catch (error) {
      assert.instance(error, Problem);
      assert.match((error as Problem).message, message);
      assert.match((error as Problem).help, /MOEC_CACHE/);
    }
});

test("what others own or can write is refused", () => {
  const mine = process.getuid?.() ?? 0;
  assert.equal(
    [untrustedReason({ uid: mine, mode: 0o600 }), untrustedReason({ uid: mine + 1, mode: 0o600 })],
    [null, "belongs to another user"],
  );
  const root = temporaryFolder();
  const cache = new KernelCache(root);
  const path = cache.put(Buffer.from("library"), [sha256("key")]);
  fs.chmodSync(path, 0o620);
  assert.throws(() => new KernelCache(root).find(sha256("key")), /can be written by others/);
  fs.chmodSync(path, 0o600);
  if (mine === 0) {
    fs.chownSync(path, 1, 1);
    assert.throws(() => new KernelCache(root).find(sha256("key")), /belongs to another user/);
    fs.chownSync(cache.folder, 1, 1);
    assert.throws(() => new KernelCache(root), /belongs to another user/);
    fs.chownSync(cache.folder, 0, 0);
  }
  fs.chmodSync(cache.folder, 0o777);
  assert.throws(() => new KernelCache(root), /can be written by others/);
});

test("a link is not followed", () => {
  const root = temporaryFolder();
  const cache = new KernelCache(root);
  const path = cache.put(Buffer.from("library"), [sha256("key")]);
  fs.renameSync(path, join(root, "elsewhere"));
  fs.symlinkSync(join(root, "elsewhere"), path);
  assert.is(new KernelCache(root).find(sha256("key")), null);
});

test("what was used longest ago goes first", () => {
  const cache = new KernelCache(temporaryFolder(), 3900);
  const put = (n: number): string => cache.put(Buffer.alloc(1000, n), [sha256(`${n}`)]);
  const paths = [0, 1, 2].map(put);
  paths.forEach((path, i) => age(path, 100 - i));
  for (const i of [0, 1, 2]) age(join(cache.folder, `${sha256(`${i}`)}.key`), 50);
  assert.is(new KernelCache(join(cache.folder, "..")).find(sha256("0")), paths[0], "which makes it the youngest");
  put(3);
  assert.equal(
    [0, 1, 2, 3].map((n) => new KernelCache(join(cache.folder, "..")).find(sha256(`${n}`)) !== null),
    [true, false, true, true],
  );
  assert.ok(cache.stats().bytes <= 3900 * (7 / 8));
});

/** How often the folder was listed when each of these libraries had been written. */
async function listings(cache: KernelCache, libraries: readonly Buffer[]): Promise<readonly number[]> {
  const list = fs.readdirSync;
  let lists = 0;
  const counting = ((path: fs.PathLike) => {
    lists++;
    return list(path);
  }) as typeof fs.readdirSync;
  return await withPatchedFs({ readdirSync: counting }, () =>
    libraries.map((library, i) => {
      age(cache.put(library, []), 60 - i);
      return lists;
    }),
  );
}
test("a process lists the folder when it has written much, and again when that does not fit; an eighth is then left free", async () => {
  const cache = new KernelCache(temporaryFolder(), 1000);
  const libraries = [1, 2, 3, 4, 5, 6].map((i) => Buffer.alloc(300, i));
  assert.equal(await listings(cache, libraries), [1, 1, 1, 2, 2, 3]);
  assert.is(cache.stats().bytes, 600);
});
test("what was just written stays, even if it alone is over the limit", () => {
  const cache = new KernelCache(temporaryFolder(), 100);
  assert.ok(fs.existsSync(cache.put(Buffer.alloc(500), [])));
});
test("of small libraries one in 16, by its name, has the folder listed", async () => {
  const cache = new KernelCache(temporaryFolder(), 2 ** 20);
  const libraries = Array.from({ length: 40 }, (_, i) => Buffer.alloc(3, i));
  const first = libraries.findIndex((library) => sha256([library]).startsWith("0"));
  assert.ok(first > 0);
  assert.equal(
    await listings(cache, libraries),
    libraries.map((_, i) => Number(i >= first)),
  );
});
test("a kernel that is found is not compiled again, whatever unit it came in", async () => {
  const cache = new KernelCache(temporaryFolder());
  const tools = await toolchain();
  const compiled = async (plan: Plan): Promise<number> => {
    let told = 0;
    await buildKernels(plan, tools, cache, 2, (_, of) => (told = of));
    return told;
  };
  assert.is(await compiled(constants([1, 2, 3, 4, 5])), 5);
  assert.is(fs.readdirSync(cache.folder).filter((name) => name.endsWith(".so")).length, 1, "so few share a header");
  assert.is(await compiled(constants([1, 2, 3, 4, 5])), 0);
  assert.is(await compiled(constants([1, 2, 8, 4, 5, 9])), 2);
  assert.equal(await runAll(constants([1, 2, 8, 4, 5, 9, 7]), cache), [1, 2, 8, 4, 5, 9, 7]);
});

test("kernels that were told of while the plan was made are begun then, and compiled once", async () => {
  const plan = long(constants([1, 2, 3, 4, 5]));
  const cache = new KernelCache(temporaryFolder());
  const build = new KernelBuild(plan.header, await toolchain(), cache, 2);
  for (const kernel of [...plan.kernels, ...long(constants([9])).kernels]) build.enqueue(kernel);
  const files = (end: string): number => fs.readdirSync(cache.folder).filter((name) => name.endsWith(end)).length;
  for (const until = Date.now() + 60_000; files(".so") === 0 && Date.now() < until; )
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.is(files(".so"), 1, "one is begun without being asked");
  const told: [number, number][] = [];
  const executable = await hostExecutable(plan, {
    threads: 1,
    cache,
    build,
    onCompile: (done, of) => void told.push([done, of]),
  });
  const { losses } = await executable.run("main", new Map(), { seed: 0, call: 0, step: 0 });
  executable.close();
  assert.equal([...losses.values()], [1, 2, 3, 4, 5]);
  assert.equal(
    [told[0], told.at(-1)],
    [
      [0, 5],
      [5, 5],
    ],
  );
  assert.is(files(".key"), 5);
  assert.is(files(".so"), 4, "then three");
});

test("damaged files are compiled again", async () => {
  const root = temporaryFolder();
  const damage = [
    (path: string) => fs.truncateSync(path, 100),
    (path: string) => fs.writeFileSync(path, ""),
    (path: string) => fs.writeFileSync(path, fs.readFileSync(path).fill(0, 10, 40)),
    (path: string) => fs.rmSync(path),
  ];
  assert.equal(await runAll(constants([1, 2]), new KernelCache(root)), [1, 2]);
  for (const extension of [".so", ".key"]) {
    for (const harm of damage) {
      const { folder } = new KernelCache(root);
      for (const file of fs.readdirSync(folder)) if (file.endsWith(extension)) harm(join(folder, file));
      assert.equal(await runAll(constants([1, 2]), new KernelCache(root)), [1, 2]);
    }
  }
});

test("a folder in a file's place is no kernel, and goes with the rest", () => {
  const cache = new KernelCache(temporaryFolder());
  fs.mkdirSync(join(cache.folder, `${sha256("a")}.key`));
  assert.is(cache.find(sha256("a")), null);
  cache.clear();
  assert.equal(fs.readdirSync(cache.folder), []);
});
test("processes that write, read and drop at once do not disturb each other", async () => {
  const root = temporaryFolder();
  const [cache, files] = ["cache/kernels.ts", "storage/files.ts"].map((file) =>
    JSON.stringify(join(project, `runtime/${file}`)),
  );
  const program = `
    import { KernelCache } from ${cache};
    import { sha256 } from ${files};
    let found = 0;
    for (let i = 0; i < 150; i++) {
      const cache = new KernelCache(${JSON.stringify(root)}, 20000);
      cache.put(Buffer.alloc(1000, i % 30), [sha256(String(i % 30))]);
      if (cache.find(sha256(String((i * 7) % 30))) !== null) found++;
    }
    console.log(found > 0);`;
  const run = () => promisify(execFile)(process.execPath, [...process.execArgv, "--input-type=module", "-e", program]);
  const results = await Promise.all([run(), run()]);
  assert.equal(
    results.map((r) => r.stdout.trim()),
    ["true", "true"],
  );
  const left = new KernelCache(root).stats();
  assert.ok(left.bytes <= 20000 + 1064, `${left.bytes} bytes are left`);
  assert.not.ok(fs.readdirSync(join(root, "kernels")).some((name) => name.endsWith(".part")));
});

test("a kernel that does not compile is a bug, with the log and the source", async () => {
  const plan = constants([1]);
  const broken = { ...plan, kernels: plan.kernels.map((k) => ({ ...k, text: "int x = ;" })) };
  const error = await buildKernels(broken, await toolchain(), new KernelCache(temporaryFolder()), 1).then(
    () => null,
    (e: unknown) => e,
  );
  assert.ok(error instanceof Bug);
  const source = /source is (\S+)/.exec(error.message)?.[1] ?? "";
  assert.match(fs.readFileSync(source, "utf8"), /int x = ;/);
  assert.match(error.message, /expected/);
  fs.rmSync(join(source, ".."), { recursive: true });
});
test("a disk that is full is told of as such, and nothing is left on it", async () => {
  const here = temporaryFolder();
  const compiler = join(here, "compiler");
  fs.writeFileSync(compiler, '#!/bin/sh\necho "$TMPDIR: No space left on device" >&2\nexit 1\n', { mode: 0o700 });
  const tools = { ...(await toolchain()), command: [compiler] as const };
  const before = process.env["TMPDIR"] ?? os.tmpdir();
  process.env["TMPDIR"] = here; // of the environment itself: os.tmpdir reads no other
  const work = buildKernels(constants([1]), tools, new KernelCache(join(here, "cache")), 1);
  const error = await work.catch((e: unknown) => e).finally(() => (process.env["TMPDIR"] = before));
  assert.ok(error instanceof Problem && /the disk is full/.test(error.message) && /TMPDIR/.test(error.help));
  assert.equal(fs.readdirSync(here).toSorted(), ["cache", "compiler"]);
});
test("of a source that the disk has no room for nothing is left", async () => {
  const here = temporaryFolder();
  const before = process.env["TMPDIR"] ?? os.tmpdir();
  const [tools, cache] = [await toolchain(), new KernelCache(join(here, "cache"))];
  process.env["TMPDIR"] = here;
  const work = withPatchedFs({ writeFileSync: full }, () => buildKernels(constants([1]), tools, cache, 1));
  const error = await work.catch((e: unknown) => e).finally(() => (process.env["TMPDIR"] = before));
  assert.match(String(error), "the disk is full");
  assert.equal(fs.readdirSync(here), ["cache"]);
});
test("where there is no folder for temporary files, TMPDIR is named", async () => {
  const here = temporaryFolder();
  const before = process.env["TMPDIR"] ?? os.tmpdir();
  const [tools, cache] = [await toolchain(), new KernelCache(join(here, "cache"))];
  process.env["TMPDIR"] = join(here, "none");
  const work = buildKernels(constants([1]), tools, cache, 1);
  const error = await work.catch((e: unknown) => e).finally(() => (process.env["TMPDIR"] = before));
  assert.ok(error instanceof Problem && /write in .*none/.test(error.message) && /TMPDIR/.test(error.help));
});
/** What building with a compiler that is this line of a shell fails with. */
async function failureOf(line: string): Promise<unknown> {
  const compiler = join(temporaryFolder(), "compiler");
  fs.writeFileSync(compiler, `#!/bin/sh\n${line}\n`, { mode: 0o700 });
  const tools = { ...(await toolchain()), command: [compiler] as const };
  return buildKernels(constants([1]), tools, new KernelCache(temporaryFolder()), 1).catch((e: unknown) => e);
}
test("a compiler that a signal ended: that is no bug of the kernels; where the system sent it, memory ran out", async () => {
  const [memory, other] = [/memory runs out/, /a signal ended the C\+\+ compiler/];
  const cases = [
    ["kill -9 $$", memory],
    ["sh -c 'kill -9 $$'; exit $?", memory],
    ["echo 'g++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1", memory],
    ["echo 'clang: error: unable to execute command: Killed' >&2; exit 254", memory],
    ["kill -TERM $$", other],
    ["sh -c 'kill -SEGV $$'; exit $?", other],
    ["echo 'g++: internal compiler error: Segmentation fault signal terminated program cc1plus' >&2; exit 4", other],
    ["echo 'clang: error: unable to execute command: Terminated' >&2; exit 254", other],
  ] as const;
  for (const [line, told] of cases) {
    const error = await failureOf(line);
    assert.ok(error instanceof Problem && told.test(error.message), String(error));
  }
});
test("a compiler that fails by itself, or lacks a part, is told of with what it said; an error in the kernels stays a bug", async () => {
  const [broken, lacking] = [/an error of its own/, /a part of the C\+\+ compiler is missing/];
  const cases = [
    ["/usr/include/x.h:1:2: internal compiler error: in expand_expr, at expr.cc:1", broken],
    ["PLEASE submit a bug report to https://github.com/llvm and include the crash backtrace", broken],
    ["g++: fatal error: cannot execute ‘cc1plus’: execvp: No such file or directory", lacking],
    ["g++: error trying to exec 'as': execvp: No such file or directory", lacking],
    ["collect2: fatal error: cannot find 'ld'", lacking],
    [`clang: error: unable to execute command: Executable "ld" doesn't exist!`, lacking],
    ["clang: error: invalid linker name in argument '-fuse-ld=mold'", lacking],
  ] as const;
  for (const [line, told] of cases) {
    const error = await failureOf(`cat >&2 <<'END'\n${line}\nEND\nexit 1`);
    assert.ok(error instanceof Problem && told.test(error.message), String(error));
    assert.ok(error.message.includes(line), error.message);
    assert.match(error.help, /CXX=/);
  }
  const english = await failureOf(`test "$LC_ALL" = C && echo "collect2: fatal error: cannot find 'ld'" >&2; exit 1`);
  assert.ok(english instanceof Problem && lacking.test(english.message), String(english));
  const other = await failureOf("echo 'kernel.cpp:1:2: error: cannot execute this' >&2; exit 1");
  assert.ok(other instanceof Bug, String(other));
  fs.rmSync(dirname(/source is (\S+)/.exec(other.message)?.[1] ?? ""), { recursive: true });
});
test("a compiler that reports no error and writes nothing is told of as such", async () => {
  const error = await failureOf("exit 0");
  assert.ok(error instanceof Problem && /wrote nothing/.test(error.message) && /CXX/.test(error.help), String(error));
});
test("after a unit that does not compile no other is begun", async () => {
  const here = temporaryFolder();
  const compiler = join(here, "compiler");
  fs.writeFileSync(compiler, `#!/bin/sh\necho x >>${here}/calls\nkill -9 $$\n`, { mode: 0o700 });
  const tools = { ...(await toolchain()), command: [compiler] as const };
  const plan = long(constants([1, 2, 3, 4, 5, 6, 7, 8]));
  const error = await buildKernels(plan, tools, new KernelCache(temporaryFolder()), 2).catch((e: unknown) => e);
  const calls = (): number => fs.readFileSync(join(here, "calls"), "utf8").length / 2;
  const told = calls();
  await new Promise((done) => setTimeout(done, 100));
  assert.ok(error instanceof Problem);
  assert.ok(told <= 2, `${told} of 4 units were begun`);
  assert.is(calls(), told, "and none is after it is told of");
});
test("no name reaches the compiler's text unless it can name a kernel", async () => {
  const plan = constants([1]);
  const named = { ...plan, kernels: plan.kernels.map((k) => ({ ...k, name: "a;system(0)" })) };
  const error = await buildKernels(named, await toolchain(), new KernelCache(temporaryFolder()), 1).then(
    () => null,
    (e: unknown) => e,
  );
  assert.match(String(error), /cannot name a kernel/);
});

test("the compiler is the one that CXX names, with its arguments", async () => {
  const found = await toolchain();
  assert.match(found.version, /\d/);
  const own = await toolchain({ ...process.env, CXX: `${found.command.join(" ")} -DOTHER=1` });
  assert.is.not(own.identity, found.identity);
  const error = await toolchain({ ...process.env, CXX: "no-such-compiler" }).then(
    () => null,
    (e: unknown) => e,
  );
  assert.ok(
    error instanceof Problem && /no-such-compiler/.test(error.message) && /--target reference/.test(error.help),
  );
  const none = await toolchain({ PATH: "/nowhere" }).then(
    () => null,
    (e: unknown) => e,
  );
  assert.ok(none instanceof Problem && /no C\+\+ compiler/.test(none.message) && /apt install g\+\+/.test(none.help));
});

test.run();
