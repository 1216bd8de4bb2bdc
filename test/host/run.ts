// Compiles the kernels of a sequence by the system's compiler and runs them in a separate process (driver.cpp).
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process, { env } from "node:process";
import { hostHeader, hostUnit } from "../../compiler/emit/unit.ts";
import { roundBf16 } from "../../compiler/graph/array.ts";
import type { NdArray } from "../../compiler/graph/node.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { type Sequence, type VirtualBuffer } from "../../compiler/plan/sequence.ts";
import { kernelFlags, linkFlags } from "../../runtime/host/toolchain.ts";
import { kernelOf } from "../sequences.ts";

const flags = [...kernelFlags, "-march=native", ...linkFlags];
/** See runtime/host/toolchain.ts. */
const onlyGnu = ["-fstack-reuse=none"];
/** What `npm run sanitize` compiles kernels with. */
const sanitizer = (env["MOEC_SANITIZER"] ?? "").split(" ").filter((flag) => flag !== "");
const folder = join(tmpdir(), "moec-test-kernels");
mkdirSync(folder, { recursive: true });

export function build(text: string, extension: string, args: readonly string[], compiler = "g++"): string {
  const key = createHash("sha256")
    .update(text)
    .update([process.arch, compiler, ...args].join()); // two kinds of machines may share the folder: one emulates the other
  const base = join(folder, key.digest("hex").slice(0, 16));
  if (existsSync(`${base}.out`)) return `${base}.out`;
  // atomically, because other processes may build the same
  const own = `${base}.${process.pid}`;
  writeFileSync(own + extension, text);
  // warnings are shown only if compiling fails
  execFileSync(compiler, [...args, own + extension, "-o", `${own}.out`], {
    stdio: ["ignore", "inherit", "pipe"],
    env: { ...env, LD_PRELOAD: undefined },
  });
  renameSync(`${own}.out`, `${base}.out`);
  return `${base}.out`;
}
/** Compiles kernels to a shared library and returns its path; `extra` flags come last. */
export const compiled = (kernels: readonly PlanKernel[], extra: readonly string[] = [], compiler?: string): string =>
  build(
    hostUnit(hostHeader(), kernels),
    ".cpp",
    [...flags, ...(compiler === "clang++" ? [] : [...onlyGnu, ...sanitizer]), ...extra],
    compiler,
  );
const driver = (): string =>
  build(readFileSync(new URL("driver.cpp", import.meta.url), "utf8"), ".cpp", [
    "-O1",
    "-std=c++17",
    "-pthread",
    "-rdynamic",
    "-ldl",
    ...sanitizer,
  ]);

export function bytesFor(b: VirtualBuffer, data: ArrayLike<number>): Buffer {
  const raw = Buffer.alloc(b.bytes, 0xff);
  for (let i = 0; i < data.length; i++) write(raw, b, placeOf(b, i), data[i] ?? Number.NaN);
  return raw;
}
/** The position of element `i` of an array in its buffer, in elements. */
export function placeOf({ shape, layout }: VirtualBuffer, i: number): number {
  const [rows = 1, columns = 1] = shape.length > 1 ? shape.slice(-2) : [1, ...shape];
  if (layout.kind === "rows") return Math.floor(i / columns) * layout.pitch + (i % columns);
  const [row, column] = [Math.floor(i / columns) % rows, i % columns];
  const before = i - (row * columns + column);
  return before + (column - (column % layout.width)) * rows + row * layout.width + (column % layout.width);
}
function write(raw: Buffer, b: VirtualBuffer, i: number, x: number): void {
  if (b.dtype === "f32") raw.writeFloatLE(x, i * 4);
  else if (b.dtype === "i32") raw.writeInt32LE(x | 0, i * 4);
  else if (b.dtype === "bool") raw.writeUInt8(x, i);
  else if (b.dtype === "i8") raw.writeInt8(x, i);
  else {
    const word = Buffer.alloc(4);
    word.writeFloatLE(roundBf16(x));
    raw.writeUInt16LE(word.readUInt16LE(2), i * 2);
  }
}
export function read(raw: Buffer, b: VirtualBuffer): Float64Array {
  const n = b.shape.reduce((x, y) => x * y, 1);
  return Float64Array.from({ length: n }, (_, element) => {
    const i = placeOf(b, element);
    if (b.dtype === "f32") return raw.readFloatLE(i * 4);
    if (b.dtype === "i32") return raw.readInt32LE(i * 4);
    if (b.dtype === "bool") return raw.readUInt8(i);
    if (b.dtype === "i8") return raw.readInt8(i);
    const word = Buffer.alloc(4);
    word.writeUInt16LE(raw.readUInt16LE(i * 2), 2);
    return word.readFloatLE();
  });
}
/** A sequence and what its stores hold. */
export interface HostRun {
  readonly sequence: Sequence;
  readonly stores: ReadonlyMap<string, NdArray>;
}
/**
 * Runs a sequence on the stores `given`; returns the values of its results, then of the assigned stores. By default kernels are compiled with -Og;
 * pass a `lib` to run them as they ship.
 */
export function runSequence(
  sequence: Sequence,
  stores: ReadonlyMap<string, NdArray>,
  threads = 2,
  lib = compiled([...new Set(sequence.launches.map(kernelOf))], ["-Og"]),
  repeat = 0,
): Float64Array[] {
  return runSequences([{ sequence, stores }], threads, lib, repeat)[0] ?? [];
}
/** The same for several whose kernels are in one library, in one process, since starting it takes longer than most run. */
export function runSequences(runs: readonly HostRun[], threads: number, lib: string, repeat = 0): Float64Array[][] {
  const dir = mkdtempSync(join(tmpdir(), "moec-run-"));
  const plan = new DriverPlan(dir);
  const dumps = runs.map((run) => plan.add(run));
  const r = spawnSync(driver(), [lib, String(threads), String(repeat)], {
    input: `${plan.lines.join("\n")}\n`,
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  if (r.status !== 0) throw new Error(`driver: ${r.status ?? r.signal} ${r.stdout}${r.stderr}`);
  if (repeat > 0) console.log(r.stdout);
  const results = dumps.map((list) => list.map(({ buffer, file }) => read(readFileSync(file), buffer)));
  rmSync(dir, { recursive: true });
  return results;
}
interface Dump {
  readonly buffer: VirtualBuffer;
  readonly file: string;
}
/** What driver.cpp reads; buffers are numbered over all runs. */
class DriverPlan {
  readonly lines: string[] = [];
  readonly #dir: string;
  #count = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }
  /** Returns where the results will be. */
  add({ sequence, stores }: HostRun): Dump[] {
    const numbers = new Map<VirtualBuffer, number>();
    const number = (b: VirtualBuffer): number => {
      const known = numbers.get(b) ?? this.#buffer(b, stores);
      numbers.set(b, known);
      return known;
    };
    for (const l of sequence.launches) {
      const args = l.args.map((a) => `${number(a.buffer)}${a.byteOffset ? `+${a.byteOffset}` : ""}`);
      for (const a of l.args) if (a.base) this.lines.push(`copy ${number(a.base)} ${number(a.buffer)}`);
      this.lines.push(`launch ${l.kernel.name} ${l.tasks} ${kernelOf(l).scratch} ${args.join(" ")}`);
    }
    const wanted = [...sequence.results.map((r) => r.buffer), ...sequence.assigns.map((a) => a.from)];
    const dumps = wanted.map((buffer) => ({ buffer, file: join(this.#dir, `out${number(buffer)}`) }));
    for (const { buffer, file } of dumps) this.lines.push(`dump ${number(buffer)} ${file}`);
    this.lines.push("end");
    return dumps;
  }
  #buffer(b: VirtualBuffer, stores: ReadonlyMap<string, NdArray>): number {
    const n = this.#count++;
    const from = b.store === null ? undefined : stores.get(b.store);
    const file = join(this.#dir, `in${n}`);
    if (from) writeFileSync(file, bytesFor(b, from.data));
    this.lines.push(`buffer ${b.bytes} ${from ? file : "-"}`);
    return n;
  }
}
