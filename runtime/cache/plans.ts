// The cache of finished plans. The key is a hash of everything that determines a plan: the program's texts, the request, moec's own code, the device
// headers, the C++ compiler and the instruction sets.
import type { Loaded } from "../../compiler/check/index.ts";
import { textsOf } from "../../compiler/check/texts.ts";
import { locationText } from "../../compiler/diagnostic.ts";
import type { BuildRequest } from "../../compiler/pipeline.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import type { Figures } from "../figures.ts";
import { sha256 } from "../storage/files.ts";
import { KernelCache } from "./kernels.ts";

export interface CachedPlan {
  readonly plan: Plan;
  readonly figures: Figures;
}
/** The place of one plan in the cache. */
export interface PlanPlace {
  /** Null if there is none or it is damaged. */
  find(): CachedPlan | null;
  put(planned: CachedPlan): void;
}
/** Raised when the format of what is cached changes. */
const format = 4;

export class PlanCache {
  readonly #compiler: string;
  readonly #files: KernelCache;

  /** `compiler`: a hash of moec's own code. */
  constructor(compiler: string, files: KernelCache = new KernelCache()) {
    this.#compiler = compiler;
    this.#files = files;
  }
  /**
   * The place for a program and a request; `target` identifies everything else that a plan depends on (headers, C++ compiler). Null if the program
   * has errors. Kernels name lines of the program, so where a template begins in its file is part of the place.
   */
  place(program: Loaded, request: BuildRequest, target: string): PlanPlace | null {
    if (program.diagnostics.length > 0) return null;
    const names = program.modules.map(({ name, program: { span } }) => (span.start > 0 ? locationText(span) : name));
    const key = sha256(JSON.stringify([format, this.#compiler, target, sorted(request), names, textsOf(program)]));
    return {
      find: () => {
        const text = this.#files.findText(key);
        return text === null ? null : (JSON.parse(text) as CachedPlan);
      },
      put: (planned) => this.#files.putText(key, JSON.stringify(planned)),
    };
  }
}

/** The plan cache of this user; null if moec runs from its sources, which may change meanwhile. */
export const ownPlans = (): PlanCache | null => (buildHash === null ? null : new PlanCache(buildHash));
/** Set by scripts/bundle.ts; undefined when running from sources. */
declare const BUILD: string | undefined;
/** A hash of the bundle that runs; null if moec runs from its sources. */
export const buildHash: string | null = typeof BUILD === "undefined" ? null : BUILD;

/** The same value with the keys of all objects and maps sorted, so that equal requests have equal JSON. */
function sorted(value: unknown): unknown {
  if (value instanceof Map) return sorted(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, x]) => [name, sorted(x)]));
}
