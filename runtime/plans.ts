// Finished plans, kept by all that decides them: a program's texts, what is asked of it, the compiler's own code, the device headers and
// the C++ compiler with the instruction sets that it may use.
import { readdirSync, readFileSync } from "node:fs";
import { home } from "../compiler/assets.ts";
import type { Loaded } from "../compiler/check/index.ts";
import type { BuildRequest } from "../compiler/pipeline.ts";
import type { Plan } from "../compiler/plan/plan.ts";
import { hash, KernelCache } from "./host/cache.ts";

/** Bytes, except `flops` (of one run of the first entry) and `trained`. The interpreter plans no memory: its gradients and activations are 0. */
export interface Figures {
  readonly parameters: number;
  /** Copies of parameters in another dtype. */
  readonly prepared: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly flops: number;
  /** How many numbers of parameters the entries change. */
  readonly trained: number;
  /** Of inputs whose elements are indices, as `train/tokens`: how many there are to choose from. */
  readonly choices: Readonly<Record<string, number>>;
  readonly kernels: readonly { readonly name: string; readonly lines: readonly string[] }[];
}
export interface Planned {
  readonly plan: Plan;
  readonly figures: Figures;
}
/** Where one plan is kept. */
export interface PlanPlace {
  /** Null if there is none, or not a whole one. */
  find(): Planned | null;
  put(planned: Planned): void;
}
/** Raised when what is kept changes its form. */
const format = 4;

export class PlanCache {
  readonly #compiler: string;
  readonly #files: KernelCache;

  /** `compiler`: differs where plans would. */
  constructor(compiler: string, files: KernelCache = new KernelCache()) {
    this.#compiler = compiler;
    this.#files = files;
  }
  /**
   * Everything in `request` counts; `target`: differs where plans for it would. Null where the texts alone do not say what the program is:
   * the holes of a template hold values.
   */
  place({ modules, diagnostics }: Loaded, request: BuildRequest, target: string): PlanPlace | null {
    if (diagnostics.length > 0 || modules.some((m) => "holes" in m.program)) return null;
    const texts = modules.map(({ name, program }) => [name, program.span.source.text]);
    const key = hash(JSON.stringify([format, this.#compiler, target, sorted(request), texts]));
    return {
      find: () => {
        const text = this.#files.findText(key);
        return text === null ? null : (JSON.parse(text) as Planned);
      },
      put: (planned) => this.#files.putText(key, JSON.stringify(planned)),
    };
  }
}

/** The user's, for the compiler that runs; null where it runs from its sources, which may change under it. */
export function ownPlans(): PlanCache | null {
  if (!import.meta.url.endsWith(".js")) return null;
  compiler ??= hashOfBuild();
  return new PlanCache(compiler);
}
let compiler: string | undefined;
function hashOfBuild(): string {
  const dist = new URL("dist/", home);
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".js"));
  return hash(
    files
      .toSorted()
      .map((name) => hash(readFileSync(new URL(name, dist))))
      .join(),
  );
}

/** The same with the names of every record and map in order, so that equal requests are equal texts. */
function sorted(value: unknown): unknown {
  if (value instanceof Map) return sorted(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, x]) => [name, sorted(x)]));
}
