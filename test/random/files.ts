// Damages files that commands read (a run's folder, transformers' weights, inputs) at random. A command must then do its work, or throw a Problem
// that says what is wrong.
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { set } from "../../compiler/options.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { readRunLog } from "../../runtime/report/log.ts";
import { reportPage } from "../../runtime/report/page.ts";
import { runEntry } from "../../runtime/run.ts";
import { sha256 } from "../../runtime/storage/files.ts";
import { openTraining } from "../../runtime/training/train.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { Draw } from "./random-graph.ts";

const root = temporaryFolder();
const program = join(root, "small.moe");
const text = join(root, "text.txt");
const target = "reference";
const trained = async (out: string, steps: number, resume: boolean): Promise<void> => {
  const sizes = resume ? {} : { D: 4, H: 4, L: 1, Heads: 2, E: 2, V: 128, Context: 8 };
  const rows = resume ? {} : { batch: 2, length: 4 };
  const training = await openTraining({ program, data: [text], out, steps, target, resume, set: sizes, ...rows });
  try {
    for await (const _ of training.steps());
  } finally {
    training.close();
  }
};
const layer = `layer Some(D, E) {
  param weight: float[D, E] = 1
  forward(x: float[...S, D], at: i32[B], on: bool) -> (float[...S, E], i32[B]) { return where(on, x @ weight, 0), at + 1 }
}
`;
/** A command that reads a folder, and a function that makes the intact folder. */
interface Reader {
  readonly files: () => Promise<string>;
  readonly read: (at: string) => unknown;
}
let made: string | undefined;
async function run(): Promise<string> {
  if (made !== undefined) return made;
  cpSync(join(import.meta.dirname, "../../examples/gpt-moe.moe"), program);
  writeFileSync(text, "It was the best of times. ".repeat(20));
  const out = join(root, "run");
  await trained(out, 1, false);
  return (made = out);
}
const foreign = (name: string) => async (): Promise<string> => join(import.meta.dirname, "../peers", name);
const imported = (at: string): unknown => importModel({ folder: at, out: join(at, "out") });
async function inputs(): Promise<string> {
  const at = temporaryFolder();
  writeFileSync(join(at, "some.moe"), layer);
  writeFileSync(
    join(at, "input.json"),
    JSON.stringify({
      x: [
        [1, 2.5],
        [3, 4],
      ],
      at: [1, 2],
      on: true,
    }),
  );
  writeFileSync(join(at, "set.txt"), "D=2 E=3");
  return at;
}
/** Parses set.txt as the command line's --set. */
const settings = (at: string): Readonly<Record<string, number | boolean>> =>
  readFileSync(join(at, "set.txt"), "utf8")
    .split(" ")
    .reduce<ReturnType<typeof set.parse>>((before, one) => set.parse(one, before), {});
export const readers: Readonly<Record<string, Reader>> = {
  generate: {
    files: run,
    read: async (at) => {
      for await (const _ of generate({ folder: at, tokens: 2, prompts: ["I"], target }));
    },
  },
  resume: { files: run, read: (at) => trained(at, 2, true) },
  report: { files: run, read: (at) => reportPage(readRunLog(at)) },
  import: { files: foreign("hf/mixtral"), read: imported },
  "import in parts": { files: foreign("hf/olmoe"), read: imported },
  "import of FP8": { files: foreign("quantised/glm4_moe"), read: imported },
  "import of MXFP4": { files: foreign("quantised/gpt_oss"), read: imported },
  run: {
    files: inputs,
    read: (at) =>
      runEntry({
        program: join(at, "some.moe"),
        entry: "Some",
        input: join(at, "input.json"),
        set: settings(at),
        target,
      }),
  },
};
/** Checks `count` damaged folders. Returns how many could still be read. */
export async function checkFiles(
  seed: string,
  count: number,
  told: (message: string) => void = () => {},
  only: readonly string[] = Object.keys(readers),
): Promise<number> {
  const draw = new Draw(seed);
  let read = 0;
  for (let i = 0; i < count; i++) {
    const name = draw.of(only);
    const reader = readers[name] as Reader;
    const at = join(root, "damaged");
    rmSync(at, { recursive: true, force: true });
    cpSync(await reader.files(), at, { recursive: true });
    const where = damage(at, draw);
    try {
      await reader.read(at);
      read++;
    } catch (error) {
      if (!(error instanceof Problem || error instanceof ProgramError))
        throw new Error(`${name}, ${where}: ${String(error)}`, { cause: error });
      told(`${name}, ${where}: ${error.message}`);
    }
  }
  return read;
}
/** Damages one file of a folder; returns a description. */
function damage(at: string, draw: Draw): string {
  const files = readdirSync(at, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
  const found = draw.of(files.filter((f) => f.name !== "expected.safetensors"));
  const path = join(found.parentPath, found.name);
  const bytes = readFileSync(path);
  const isJson = /\.jsonl?$/.test(found.name) && draw.chance(0.7);
  const [how, next] = isJson ? changed(bytes.toString("utf8"), draw) : ["bytes", mutated(bytes, draw.below)];
  writeFileSync(path, next);
  const fits = draw.chance(0.7) && fitted(found.parentPath);
  return `${found.name}: ${how}${fits ? ", and sums that fit" : ""}`;
}
/** Updates state.json with the sums of a checkpoint's damaged files, so that the sums do not reveal the damage; false if it is no checkpoint. */
function fitted(at: string): boolean {
  const path = join(at, "state.json");
  try {
    const state = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
    const names = readdirSync(at).filter((name) => name.endsWith(".safetensors"));
    const files = names.map((name) => [name, readFileSync(join(at, name))] as const);
    const sums = files.map(([name, bytes]) => [name, { bytes: bytes.length, sha256: sha256([bytes]) }] as const);
    const next = { ...state, ...("files" in state ? { files: Object.fromEntries(sums) } : {}), checksum: undefined };
    const checksum = sha256(JSON.stringify(next));
    writeFileSync(path, JSON.stringify({ ...next, checksum }));
    return true;
  } catch {
    return false;
  }
}
const odd: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  1.5,
  3,
  1e9,
  2 ** 53,
  1e308,
  "",
  "x",
  "../x",
  "\uD800",
  [],
  {},
  [[]],
  [1, "a"],
  { a: 1 },
];
/** Replaces or deletes one random value in a line of JSON. */
function changed(text: string, draw: Draw): [how: string, text: string] {
  const lines = text.trimEnd().startsWith("{\n") ? [text] : text.trimEnd().split("\n");
  const at = draw.below(lines.length);
  const whole = { it: JSON.parse(lines[at] ?? "null") as unknown };
  let [holder, key]: [Record<string, unknown>, string] = [whole, "it"];
  const path: string[] = [];
  for (
    let x = whole.it;
    typeof x === "object" && x !== null && (path.length === 0 || draw.chance(0.8));
    x = holder[key]
  ) {
    const keys = Object.keys(x);
    if (keys.length === 0) break;
    [holder, key] = [x as Record<string, unknown>, draw.of(keys)];
    path.push(key);
  }
  const value = draw.of(odd);
  if (draw.chance(0.2)) Reflect.deleteProperty(holder, key);
  else holder[key] = value;
  lines[at] = JSON.stringify(whole.it);
  return [`${path.join(".")} ${key in holder ? `is ${JSON.stringify(value)}` : "is left out"}`, lines.join("\n")];
}
/** Flips a bit, truncates, inserts or deletes bytes, changes a digit, or repeats a part. */
export function mutated(bytes: Buffer, below: (n: number) => number): Buffer {
  const at = below(bytes.length + 1);
  switch (below(6)) {
    case 0:
      return Buffer.from(bytes.map((b, i) => (i === at ? b ^ (1 << below(8)) : b)));
    case 1:
      return bytes.subarray(0, at);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), Buffer.from([below(256)]), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(9))]);
    case 4: {
      const digit = [...bytes.toString("latin1").matchAll(/\d/g)];
      const place = digit[below(digit.length)]?.index ?? 0;
      return Buffer.from(bytes.map((b, i) => (i === place ? 48 + below(10) : b)));
    }
    default:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(below(bytes.length))]);
  }
}
