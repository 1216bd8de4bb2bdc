// npm run fuzz: runs random tests. A failing program is printed after being reduced, with the command that repeats it.
import process from "node:process";
import { print } from "../../cli/output.ts";
import { parseCommandLine, usageError } from "../../scripts/command-line.ts";
import { failure, kinds, shrunk } from "./fuzz.ts";
import { drawHostMode, type HostMode, isas, precisions } from "./host-modes.ts";

const usage = `npm run fuzz -- [--seed N] [--programs N] [--kind NAME] [--isa NAME] [--precision NAME]
  --seed       of the first program, 0 or more: by the clock; those that follow have the next ones
  --programs   how many: 20
  --kind       only ${Object.keys(kinds).join(", ")}
  --isa        only ${isas.join(", ")}
  --precision  only ${precisions.join(", ")}`;
const text = { type: "string" } as const;
const { values } = parseCommandLine(usage, { seed: text, programs: text, kind: text, isa: text, precision: text });
const whole = (name: "seed" | "programs", other: number): number => {
  const given = values[name] ?? String(other);
  return /^\d{1,15}$/.test(given) ? Number(given) : usageError(`--${name} is \`${given}\`, no whole number`, usage);
};
function one<T extends string>(name: "kind" | "isa" | "precision", list: readonly T[]): T | undefined {
  const given = values[name];
  return given === undefined || (list as readonly string[]).includes(given)
    ? (given as T | undefined)
    : usageError(`--${name} is \`${given}\``, usage);
}
const [first, programs] = [whole("seed", Math.floor(Date.now() / 1000)), whole("programs", 20)];
const only = { kind: one("kind", Object.keys(kinds)), isa: one("isa", isas), precision: one("precision", precisions) };
const given: Partial<HostMode> = {
  ...(only.isa ? { isa: only.isa } : {}),
  ...(only.precision ? { precision: only.precision } : {}),
};
const names = only.kind === undefined ? Object.keys(kinds) : [only.kind];

let failed = 0;
for (let seed = first; seed < first + programs; seed++) {
  const kind = names[seed % names.length] ?? "";
  const [drawn, way] = [kinds[kind]?.(`${seed} of the fuzz`), drawHostMode(String(seed), given)];
  if (!drawn) continue;
  const start = performance.now();
  const why = await failure(drawn, way);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  print(
    `${seed} ${kind} ${way.isa} ${way.precision} ${way.schedules === null ? "own" : "drawn"} schedules, threads ${way.threads[0]}: ${why === null ? "right" : "WRONG"}, ${seconds} s`,
  );
  if (why === null) continue;
  failed++;
  const again = `npm run fuzz -- --seed ${seed} --programs 1 --kind ${kind} --isa ${way.isa} --precision ${way.precision}`;
  print(`${why}\n${again}\n${drawn.note}`);
  print(await shrunk(drawn, way));
}
print(`${programs - failed} right, ${failed} wrong, seeds ${first} to ${first + programs - 1}`);
process.exit(failed > 0 ? 1 : 0);
