// Reading and writing files: what links and pipes are, and more bytes than Node takes at once (2 GiB, and 512 MiB of text), with MOEC_TEST=full.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import fs, {
  chmodSync,
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readStdin } from "../../cli/stdin.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { readText, readUnsized } from "../../compiler/read-file.ts";
import { linkFile } from "../../runtime/storage/checkpoint-folder.ts";
import {
  makeFolder,
  readBytes,
  readInto,
  readLines,
  requireBufferSize,
  splitBytes,
  withOpen,
  writeAtomic,
  writeUserFile,
} from "../../runtime/storage/files.ts";
import { parseJson } from "../../runtime/storage/json.ts";
import { RunLog } from "../../runtime/storage/run-folder.ts";
import { readSafetensors, writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { readDataset } from "../../runtime/training/data.ts";
import { problem, rejectedProblem } from "../assert-problem.ts";
import { full as runsFull } from "../full.ts";
import { full, withPatchedFs } from "../patch-fs.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("files");
const root = temporaryFolder();

test("what a link names is replaced, and the link stays", () => {
  const own = temporaryFolder();
  const [file, link] = [join(own, "results.json"), join(own, "link.json")];
  writeFileSync(file, "before");
  chmodSync(file, 0o666);
  symlinkSync("results.json", link);
  writeUserFile(link, "after");
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.is(lstatSync(file).mode & 0o777, 0o666, "permissions stay, whatever the umask is");
  assert.is(readFileSync(file, "utf8"), "after");
  assert.equal(readdirSync(own).toSorted(), ["link.json", "results.json"]);
});
const reading = (path: string, most: number): Buffer => withOpen(path, "r", (file) => readUnsized(path, file, most));
test("what has no end is refused, and of a pipe no byte is lost", () => {
  const refused = problem(() => reading("/dev/zero", 3 << 20));
  assert.match(refused.message, "/dev/zero has no end within 3 MiB");
  assert.match(refused.help, "name a file");
  const bytes = Buffer.from(Array.from({ length: 3000 }, (_, i) => i % 251));
  const file = join(root, "bytes");
  writeFileSync(file, bytes);
  assert.equal(reading(file, 3000), bytes);
  assert.match(problem(() => reading(file, 2999)).message, "has no end within");
  const pipe = join(root, "large");
  execFileSync("mkfifo", [pipe]);
  const large = Buffer.alloc(3 << 20, 1);
  writeFileSync(file, large);
  spawn("cp", [file, pipe]);
  assert.equal(readBytes(pipe), large);
  assert.is(readText("/dev/null"), "");
});
test("of stdin no byte is lost, and what has no end is refused", async () => {
  const [given, endless] = ["ab", "cd"].map((text) => Buffer.from(text)) as [Buffer, Buffer];
  assert.equal(await readStdin(Readable.from([given, endless]), 4), Buffer.from("abcd"));
  const { message } = await rejectedProblem(() => readStdin(Readable.from([given, endless]), 3));
  assert.match(message, "stdin has no end within 3 B");
});
if (process.platform === "linux")
  test("a file is read whose size the system does not know", () =>
    assert.match(Buffer.from(readBytes("/proc/self/status")).toString(), "Pid:"));
test("what the system refuses is said in words, with a remedy", async () => {
  assert.match(problem(() => makeFolder(join(root, "x".repeat(300)))).message, "the name is too long");
  for (const [code, reason, remedy] of [
    ["EPERM", "the system does not permit it", "attributes"],
    ["EDQUOT", "your disk quota is used up", "another disk"],
    ["EMFILE", "may open no more files", "ulimit -n"],
  ] as const) {
    const refused = (): never => {
      throw Object.assign(new Error(code), { code });
    };
    const { message, help } = await withPatchedFs({ openSync: refused }, () => problem(() => readBytes("x")));
    assert.match(message, reason);
    assert.match(help, remedy);
  }
});
const pipe = join(root, "pipe");
if (spawnSync("mkfifo", [pipe]).status === 0)
  test("a pipe is written to, not replaced", () => {
    const tensors = new Map([["x", fromNumbers("f32", [2], [1, 2])]]);
    const [end, got] = [openSync(pipe, "r+"), Buffer.alloc(1000)];
    writeSafetensors(pipe, tensors);
    assert.ok(lstatSync(pipe).isFIFO());
    assert.match(problem(() => readSafetensors(pipe)).message, "is a pipe");
    const copy = join(root, "copy.safetensors");
    writeFileSync(copy, got.subarray(0, readSync(end, got)));
    closeSync(end);
    assert.equal(readSafetensors(copy), tensors);
  });
test("a folder is made in one that another process makes at the same time", async () => {
  const path = join(root, "above", "folder");
  const { mkdirSync } = fs;
  const both = (...args: Parameters<typeof mkdirSync>): ReturnType<typeof mkdirSync> => {
    try {
      return mkdirSync(...args);
    } finally {
      mkdirSync(join(root, "above"), { recursive: true }); // as the other does, just after
    }
  };
  assert.equal(await withPatchedFs({ mkdirSync: both }, () => makeFolder(path)), [path]);
});
test("a file stands where no folder can be made", () => {
  const file = join(root, "file");
  writeFileSync(file, "");
  assert.match(problem(() => makeFolder(file)).message, `cannot make ${file}`);
});
test("a file is on the disk before it is renamed, and then its folder; of one that fails nothing is left", async () => {
  const [own, done] = [temporaryFolder(), [] as string[]];
  const path = join(own, "results.json");
  const { fsyncSync, renameSync } = fs;
  const functions: Partial<typeof fs> = {
    fsyncSync: (file) => {
      done.push(fs.fstatSync(file).isDirectory() ? "folder" : "file");
      fsyncSync(file);
    },
    renameSync: (...names) => {
      done.push("rename");
      renameSync(...names);
    },
  };
  await withPatchedFs(functions, () => writeAtomic(path, "before"));
  assert.equal(done, ["file", "rename", "folder"]);
  await withPatchedFs({ renameSync: full }, () => {
    assert.match(problem(() => writeAtomic(path, "after")).message, "the disk is full");
  });
  await withPatchedFs({ writeSync: full }, () => {
    assert.match(problem(() => writeAtomic(path, "after")).message, `cannot write ${path}: the disk is full`);
  });
  assert.equal(readdirSync(own), ["results.json"]);
  assert.is(readFileSync(path, "utf8"), "before");
});
test("a file that the disk cannot link is copied, and the copy is on the disk before its folder has its name", async () => {
  const [own, done] = [temporaryFolder(), [] as string[]];
  const [from, to] = ["from", "to"].map((name) => join(own, name)) as [string, string];
  writeFileSync(from, "weights");
  const { copyFileSync, fsyncSync } = fs;
  const functions: Partial<typeof fs> = {
    linkSync: () => {
      throw Object.assign(new Error("EPERM"), { code: "EPERM" });
    },
    copyFileSync: (...names) => {
      copyFileSync(...names);
      done.push("copied");
    },
    fsyncSync: (file) => {
      done.push(fs.fstatSync(file).ino === fs.statSync(to).ino ? "flushed" : "another");
      fsyncSync(file);
    },
  };
  await withPatchedFs(functions, () => linkFile(from, to));
  assert.equal(done, ["copied", "flushed"]);
  assert.is(readFileSync(to, "utf8"), "weights");
});
test("what the system writes in part is written on", async () => {
  const path = join(root, "parts.txt");
  const { writeSync } = fs;
  const one = (file: number, bytes: Uint8Array, at: number): number => writeSync(file, bytes, at, 1);
  await withPatchedFs({ writeSync: one as typeof writeSync }, () => writeAtomic(path, "parts"));
  assert.is(readFileSync(path, "utf8"), "parts");
});
test("what the system reads in part is read on; a file that ends before is a Problem", async () => {
  const path = join(root, "read in parts.txt");
  writeFileSync(path, "parts");
  const original = fs.readSync;
  const one = (file: number, bytes: Uint8Array, at: number, _: number, from: number): number =>
    original(file, bytes, at, 1, from);
  const read = (n: number): Uint8Array => withOpen(path, "r", (file) => readInto(new Uint8Array(n), file, 1));
  await withPatchedFs({ readSync: one as typeof readSync }, () => assert.is(Buffer.from(read(4)).toString(), "arts"));
  assert.match(problem(() => read(5)).message, "became shorter");
});
test("lines are whole wherever a text is cut", () => {
  const file = join(root, "lines.txt");
  for (const text of ["", "\n", "a", "äö\n\nß\n", "one\ntwo\nthr\u{1f600}e"]) {
    writeFileSync(file, text);
    const want = text.replace(/\n$/, "").split("\n");
    for (const atOnce of [1, 2, 3, 100]) assert.equal([...readLines(file, atOnce)], text === "" ? [] : want);
  }
  writeFileSync(file, Buffer.from("one\nö").subarray(0, -1));
  assert.equal([...readLines(file)], ["one", "\ufffd"]);
});
test("more than Node takes at once goes piece by piece, and more than it holds is a Problem", () => {
  const lengths = [...splitBytes(new Uint8Array(2 ** 31 + 5))].map((piece) => piece.byteLength);
  assert.equal(lengths, [2 ** 30, 2 ** 30, 5]);
  assert.throws(
    () => requireBufferSize("book.txt", 2 ** 53), // from Node 22 on buffers hold one byte less
    (error: unknown) => error instanceof Problem && /book\.txt has 9007199254740992 bytes/.test(error.message),
  );
});
if (runsFull) {
  test("data of more than 2 GiB is read, and known by its hash", async () => {
    const file = join(root, "book.txt");
    writeFileSync(file, "");
    truncateSync(file, 2 ** 31 + 1);
    const { bytes, hash } = await readDataset([file]);
    assert.is(bytes, 2 ** 31 + 1);
    assert.is(hash, spawnSync("sha256sum", [file], { encoding: "utf8" }).stdout.slice(0, 64));
  });
  test("a run goes on whose log is longer than a string", () => {
    const log = new RunLog(root);
    const file = openSync(join(root, "log.jsonl"), "w");
    const filler = "x".repeat(2 ** 20);
    for (let step = 1; step <= 520; step++) writeSync(file, `${JSON.stringify({ step, filler })}\n`);
    closeSync(file);
    log.begin({ bytes: 1 });
    log.rewind(2);
    const first = [...readLines(join(root, "log.jsonl"))].map((line) => line.slice(0, 9));
    assert.equal(first, ['{"bytes":', '{"step":1', '{"step":2']);
  });
}
test("JSON may begin with a byte order mark, as Windows writes it", () => {
  assert.equal(
    [parseJson('\ufeff{"a": 1}'), parseJson("\ufeff\ufeff1"), parseJson("")],
    [{ a: 1 }, undefined, undefined],
  );
});
test.run();
