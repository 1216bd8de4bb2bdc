// What `moec import --weights` writes of matrices and tables: codes, which are made of one matrix at a time.
import type { Loaded } from "../../compiler/check/index.ts";
import { copies, spellings } from "../../compiler/copies.ts";
import { dtypeOfScales, shapeOfCodes, shapeOfScales } from "../../compiler/graph/codes.ts";
import type { Quantised } from "../../compiler/graph/node.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs } from "../../compiler/pipeline.ts";
import type { Weights, WeightsOption } from "../../compiler/types/dtype.ts";
import { dims } from "../../compiler/types/type.ts";
import { quantised } from "../codes.ts";
import type { Codes, Tensor } from "../executable/executable.ts";
import { generateEntries } from "../generation/generate-entries.ts";
import { computed, type KeptCodes, type StoredTensor, type StoredTensors } from "../storage/stored-tensor.ts";
import { part } from "../tensor.ts";

/** The tensors of a program's parameters, of which those are codes that `weights` of `generate` would keep so; those that are codes already stay. */
export function keptAs(
  weights: WeightsOption,
  loaded: Loaded,
  declaration: string,
  tensors: StoredTensors,
): StoredTensors {
  if (weights === "float") return new Map([...tensors].map(([name, t]) => [name, withoutCodes(t)]));
  const how = codesOf(weights, loaded, declaration);
  return new Map(
    [...tensors].map(([name, t]) => {
      const of = how.get(name);
      return [name, of && !t.kept ? { ...t, kept: madeCodes(name, t, of) } : t];
    }),
  );
}
function withoutCodes(t: StoredTensor): StoredTensor {
  const { kept, ...floats } = t;
  return kept ? floats : t;
}
type How = Pick<Quantised, "code" | "axes">;
/** How each tensor that a file may have is kept. */
function codesOf(weights: Weights, loaded: Loaded, declaration: string): Map<string, How> {
  const entries = generateEntries(loaded, declaration, { rows: 1 });
  const request = { declaration, sizes: {}, precision: "f32", weights, entries } as const;
  const how = new Map<string, How>();
  for (const { name, type, stack, quantised: by } of toGraphs(loaded, request, silentObserver()).stores)
    for (const [copy] of by ? copies(name, dims(type).slice(0, stack)) : [])
      for (const [spelling, index] of spellings(copy))
        if (by) how.set(spelling, { code: by.code, axes: by.axes.map((a) => a - stack + index.length) });
  return how;
}
function madeCodes(name: string, t: StoredTensor, { code, axes }: How): KeptCodes {
  const first = Math.min(...axes);
  const made = (index: readonly number[], of: (codes: Codes) => Tensor): Tensor => {
    const at = index.slice(0, first); // a column is whole
    return part(of(quantised(name, t.read(at), { code, axes: axes.map((a) => a - at.length) })), index.slice(first));
  };
  const how = { code, axes };
  return {
    code,
    codes: computed("i8", shapeOfCodes(t.shape, how), (index = []) => made(index, ({ codes }) => codes)),
    scales: computed(dtypeOfScales[code], shapeOfScales(t.shape, how), (index = []) =>
      made(index, ({ scales }) => scales),
    ),
  };
}
