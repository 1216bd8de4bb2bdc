// An operand of codes of 4 bits on CUDA (graph/codes.ts) as two that are copied: bytes of two codes each, and the scales of 32 rows of a column. `Fp4Tile` on
// the device makes numbers of both.
import { fp4Group, fp4PerByte } from "../../graph/codes.ts";
import { item } from "../../item.ts";
import { add, address, dependsOn, div, knownDivisor, load, num, same, stride, substitute } from "../../kernel/expr.ts";
import type { Expr, StmtOf, Var } from "../../kernel/ir.ts";
import { type BufferLoad, fp4ArgsOf, isBufferLoad } from "../operand-layout.ts";

type Stage = StmtOf<"stage">;
export interface Fp4Stages {
  readonly codes: Stage & { readonly value: BufferLoad };
  readonly scales: Stage;
}
/** The codes and the scales of an operand of whole groups of rows, whose value is the number of a code; else null. */
export function fp4StagesOf(s: Stage): Fp4Stages | null {
  const [codes, at, scales] = fp4ArgsOf(s);
  const row = at?.e === "op" && at.op === "value" ? item(at.args, 0) : null;
  if (!row || s.body.length > 0 || !isBufferLoad(codes) || !isBufferLoad(scales)) return null;
  const down = s.vs.findIndex((v) => stride(row, v) === 1);
  const [v, across] = [s.vs[down], s.vs[1 - down]];
  if (!v || !across || dependsOn(row, across)) return null;
  const whole = [substitute(row, v, num(0)), item(s.valid, down), num(item(s.tile.shape, down))];
  if (whole.some((x) => knownDivisor(x) % fp4Group !== 0)) return null;
  const part = (of: BufferLoad, name: string, rows: number): Fp4Stages["codes"] | null => {
    const value = inRows(of, row, v, rows);
    if (!value || stride(address(value.from, value.at), across) !== 1) return null;
    return {
      ...s,
      tile: { ...s.tile, name, shape: s.tile.shape.with(down, item(s.tile.shape, down) / rows) },
      valid: s.valid.with(down, div(item(s.valid, down), rows)) as [Expr, Expr],
      value,
    };
  };
  const own = part(codes, s.tile.name, fp4PerByte);
  const shared = part(scales, `${s.tile.name}_scales`, fp4Group);
  return own && shared && { codes: own, scales: shared };
}
/** A load at row / n, where v begins at a multiple of n, with v counting these instead of rows; null if v is in another of its indices too. */
function inRows({ from, at }: BufferLoad, row: Expr, v: Var, n: number): BufferLoad | null {
  const depth = at.length - 2;
  const others = at.toSpliced(depth, 1);
  if (!same(item(at, depth), div(row, n)) || others.some((x) => dependsOn(x, v))) return null;
  return load(from, ...at.with(depth, add(div(substitute(row, v, num(0)), n), v))) as BufferLoad;
}
