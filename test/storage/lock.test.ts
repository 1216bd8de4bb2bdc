// One run writes a folder, whoever begins and dies when.
import { spawn } from "node:child_process";
import fs, { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import os, { hostname } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { makeFolder } from "../../runtime/storage/files.ts";
import { holdsFolder, lockFolder } from "../../runtime/storage/lock.ts";
import { problem } from "../assert-problem.ts";
import { full } from "../full.ts";
import { withPatchedFs } from "../patch-fs.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("lock");
const root = temporaryFolder();
let folders = 0;
const failure = (code: string): Error => Object.assign(new Error(code), { code });
const unread = (): never => {
  throw failure("EIO");
};
const noHardLinks = (): never => {
  throw failure("EPERM");
};
/** Makes an empty file, as a full disk does. */
const makeFull = (path: fs.PathOrFileDescriptor): never => {
  fs.closeSync(fs.openSync(path as string, "w"));
  throw failure("ENOSPC");
};
const fresh = (): string => join(root, String(folders++));

test("two runs do not write one folder; a dead holder holds nothing", () => {
  const run = fresh();
  makeFolder(run);
  const release = lockFolder(run);
  assert.match(problem(() => lockFolder(run)).message, String(process.pid));
  release();
  lockFolder(run)();
  const lock = join(run, "lock");
  for (const text of ["", "{", '{"host":"elsewhere","pid":1,"started":"5"}']) {
    writeFileSync(lock, text);
    if (text.includes("host")) assert.match(problem(() => lockFolder(run)).help, lock);
    else lockFolder(run)();
  }
  rmSync(lock);
  const hold = lockFolder(run);
  const text = readFileSync(lock, "utf8");
  hold();
  writeFileSync(lock, text.replace(/"pid":\d+/, '"pid":4194399'));
  lockFolder(run)();
  if (process.platform === "linux") {
    // a process that has the number now, and began at another time
    writeFileSync(lock, text.replace(/"started":"\d+"/, '"started":"1"'));
    lockFolder(run)();
  }
  assert.not.ok(existsSync(lock));
  const late = lockFolder(run);
  writeFileSync(lock, "another's, who found none"); // ours was removed by hand
  late();
  assert.is(readFileSync(lock, "utf8"), "another's, who found none");
});
test("a folder is held until its lock is gone or another's, whatever the machine is called meanwhile", async () => {
  const run = fresh();
  makeFolder(run);
  const release = lockFolder(run);
  const { hostname: named } = os;
  os.hostname = () => "renamed";
  syncBuiltinESMExports();
  assert.ok(holdsFolder(run));
  os.hostname = named;
  syncBuiltinESMExports();
  await withPatchedFs({ readFileSync: unread }, () => assert.ok(holdsFolder(run)));
  release();
  assert.not.ok(holdsFolder(run));
  writeFileSync(join(run, "lock"), "another's");
  assert.not.ok(holdsFolder(run));
});

test("a lock that cannot be read is held; one is made without hard links too", async () => {
  const run = fresh();
  const lock = join(run, "lock");
  makeFolder(lock); // a folder cannot be read either
  assert.match(problem(() => lockFolder(run)).help, `remove ${lock}`);
  rmSync(lock, { recursive: true });
  await withPatchedFs({ linkSync: noHardLinks }, () => {
    const release = lockFolder(run);
    assert.match(problem(() => lockFolder(run)).message, String(process.pid));
    release();
  });
  assert.not.ok(existsSync(lock));
});
test("a lock is whole when it appears, and one that goes while it is looked at is taken", async () => {
  const run = fresh();
  const { linkSync, writeFileSync } = fs;
  const written: string[] = [];
  let busy = true;
  const functions: Partial<typeof fs> = {
    writeFileSync: (...args) => {
      written.push(String(args[0]));
      writeFileSync(...args);
    },
    linkSync: (...args) => {
      if (!busy) return linkSync(...args);
      busy = false;
      throw failure("EEXIST");
    },
  };
  await withPatchedFs(functions, () => lockFolder(run)());
  assert.is(written.length, 2);
  for (const path of written) assert.is.not(path, join(run, "lock"));
});
/** `work` as another process. */
function asProcess(pid: number, work: () => void): void {
  const own = Object.getOwnPropertyDescriptor(process, "pid") ?? {};
  Object.defineProperty(process, "pid", { ...own, value: pid });
  try {
    work();
  } finally {
    Object.defineProperty(process, "pid", own);
  }
}
/** Does `work`; before each call of a file function, `before` is told how many there were. */
async function hooked(before: (count: number) => void, work: () => void): Promise<void> {
  let count = 0;
  const functions = (["linkSync", "readFileSync", "renameSync", "rmSync", "writeFileSync"] as const).map((name) => {
    const plain = fs[name] as (...args: readonly unknown[]) => unknown;
    const call = (...args: readonly unknown[]): unknown => {
      if (!String(args[0]).startsWith("/proc")) before(count++);
      return plain(...args);
    };
    return [name, call];
  });
  await withPatchedFs(Object.fromEntries(functions) as Partial<typeof fs>, work);
}

/** No process has this number: who has it is killed where it stops. */
const dead = 4194399;
/** A dead holder's lock, which another took over until it was killed before a call. */
async function killedBefore(call: number, run: string): Promise<void> {
  mkdirSync(run);
  writeFileSync(join(run, "lock"), holderOf(hostname(), dead));
  const stop = (count: number): void => {
    if (count >= call) throw new Error("killed");
  };
  const listeners = process.listeners("exit");
  await hooked(stop, () => {
    try {
      asProcess(dead, () => lockFolder(run));
    } catch {
      // what it has not done stays undone
    }
  });
  for (const added of process.listeners("exit")) if (!listeners.includes(added)) process.off("exit", added);
}
/** Who holds the folder if the others of `pids` begin before those calls of the first one's and of one another's. */
async function holders(run: string, pids: readonly number[], at: readonly number[]): Promise<(() => void)[]> {
  const held: (() => void)[] = [];
  const begin = (pid: number): void =>
    asProcess(pid, () => {
      try {
        const release = lockFolder(run);
        held.push(() => asProcess(pid, release));
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
      }
    });
  const [first = 0, ...others] = pids;
  await hooked(
    (count) => others.filter((_, i) => at[i] === count).forEach(begin),
    () => begin(first),
  );
  return held;
}

test("of three who find a dead holder's lock one takes it, whenever they begin and if another was killed at it", async () => {
  const sleeping = [0, 1].map(() => spawn("sleep", ["60"]));
  const pids = [process.pid, ...sleeping.map(({ pid }) => pid ?? 0)];
  const calls = 12;
  for (let killed = 0; killed < calls; killed += full ? 1 : 3)
    for (let second = 0; second < calls; second++)
      for (let third = second; third < 2 * calls; third++) {
        const run = fresh();
        await killedBefore(killed, run);
        const held = await holders(run, pids, [second, third]);
        assert.is(held.length, 1, `killed before ${killed}, the others began before ${second} and ${third}`);
        for (const release of held) release();
        assert.equal(readdirSync(run), []);
      }
  for (const one of sleeping) one.kill();
});

const holderOf = (host: string, pid: number): string => JSON.stringify({ host, pid, started: "1" });
test("what a process left that was killed while it made a lock goes; what a live one makes stays", () => {
  const run = fresh();
  makeFolder(run);
  writeFileSync(join(run, `lock.${dead}`), holderOf(hostname(), dead));
  writeFileSync(join(run, `lock.next.${dead}`), holderOf(hostname(), dead));
  writeFileSync(join(run, "lock.1"), holderOf("elsewhere", 1)); // may live
  writeFileSync(join(run, "lock.2"), ""); // perhaps of another machine, and not yet written
  lockFolder(run)();
  assert.equal(readdirSync(run), ["lock.1", "lock.2"]);
});
test("folders that were made for a run that then has nothing go with its lock", async () => {
  const outer = fresh();
  const run = join(outer, "deep", "er");
  lockFolder(run)();
  assert.not.ok(existsSync(outer));
  const release = lockFolder(run);
  writeFileSync(join(outer, "kept"), "");
  release();
  assert.equal(readdirSync(outer), ["kept"]);
  const other = join(fresh(), "deep");
  await withPatchedFs({ writeFileSync: makeFull }, () => {
    assert.match(problem(() => lockFolder(other)).message, "the disk is full");
  });
  assert.not.ok(existsSync(join(other, "..")));
  const listeners = process.listenerCount("exit");
  const held = lockFolder(run);
  assert.is(process.listenerCount("exit"), listeners + 1);
  held();
  assert.is(process.listenerCount("exit"), listeners);
});

test.run();
