// Operands of bf16 on a host with AVX512-BF16, which adds two bf16 products to a sum at once: two steps of the depth form one 32-bit word
// (runtime/device/words.hpp).
import { item } from "../../item.ts";
import { address, knownDivisor, num, roundUp, substitute } from "../../kernel/expr.ts";
import type { Expr, StmtOf, Var } from "../../kernel/ir.ts";
import type { Emitter } from "../emitter.ts";
import {
  type BufferLoad,
  depthContiguousOf,
  firstReaderCondition,
  isContiguous,
  loadOf,
  nextOperandPointer,
  panelsOperandOf,
  pointer,
  stridedLoadOf,
} from "../operand-layout.ts";
import { packingOf } from "./packed.ts";
import {
  emitRowPointers,
  fromFp4Panels,
  fromTransposedFp4,
  reserveCopies,
  rightOperandOf,
  withValue,
} from "./staging.ts";

const isEven = (x: Expr): boolean => knownDivisor(x) % 2 === 0;
/** The floats of scratch memory that hold the words of a depth. */
const wordFloats = (depth: number): number => roundUp(Math.ceil(depth / 2), 16);

/** Stages a left operand [rows, depth]. */
export function wordsLeft(s: StmtOf<"stage">, e: Emitter): void {
  const [x, k] = s.vs;
  const [rows, depth] = [item(s.tile.shape, 0), item(s.tile.shape, 1)];
  const nx = e.expr(s.valid[0]);
  const name = `const auto ${s.tile.name}`;
  const direct = stridedLoadOf(s, "bf16");
  const inWords = direct && direct.strides[1] === 1 && isEven(s.valid[1]) && beginsEven(s, k);
  if (inWords) {
    const begin = pointer(e, direct.load, (y) => substitute(y, k, num(0)));
    e.line(`Rows<${rows}, 1> ${s.tile.name}_rows;`);
    e.line(
      `${s.tile.name}_rows.bind(${nx}, ${firstReaderCondition(direct.load, e)}, [&](ix ${x.name}) { return as_words(${begin}); });`,
    );
    return e.line(`${name} = in_words(${s.tile.name}_rows);`);
  }
  const packing = packingOf(s, e);
  const nk = packing.steps;
  const reserve = (floats: number): string => reserveCopies(e, floats, packing);
  const sixes = (): string => reserve(Math.ceil(rows / 6) * (6 * wordFloats(depth) + 16));
  if (isContiguous(s, x, "bf16"))
    return emitRowPointers(s, e, x, k, `${name} = pack_word_micro_panels(${sixes()}, ${nx}, ${nk}, `);
  const bound = `auto v, ix ${x.name}, ix ${k.name}`;
  if (e.lanesFor(k, withValue(s)).text !== "1") {
    const head = `pack_word_rows<${rows}, ${wordFloats(depth)}>(${reserve(rows * wordFloats(depth))}, ${nx}, ${nk}, `;
    return e.lambda({ before: `${name} = ${head}`, params: bound }, k, s);
  }
  const head = `pack_word_steps<${rows}, ${e.lanesFor(x, withValue(s)).text}>(${reserve(rows * wordFloats(depth))}, ${nx}, ${nk}, `;
  e.lambda({ before: `${name} = ${head}`, params: bound }, x, s);
}
/** Stages a right operand [depth, columns]. */
export function wordsRight(s: StmtOf<"stage">, e: Emitter): void {
  const [k, x] = s.vs;
  const right = rightOperandOf(s, e, wordFloats(item(s.tile.shape, 0)));
  const { width, nk, nx, name, room } = right;
  if (fromFp4Panels(right) || fromTransposedFp4(right)) return;
  const next = (): string => nextOperandPointer(s, e) ?? "nullptr";
  const whole = isEven(s.valid[0]);
  const inPlace = whole ? panelsOperandOf(s, k, x, "bf16") : null;
  if (inPlace) {
    const { start, step, width: each } = inPlace;
    return e.line(`${name} = word_panels<${each}>(${[pointer(e, start), step, nx, next()].join(", ")});`);
  }
  const along = whole && beginsEven(s, k) ? depthContiguousOf(s, e) : null;
  if (along)
    return e.line(
      `${name} = k_major<${along.step / 2}>(as_words(${along.start}), ${nx}, as_words(${nextOperandPointer(s, e) ?? along.start}));`,
    );
  if (isContiguous(s, x, "bf16"))
    return emitRowPointers(s, e, x, k, `${name} = pack_word_columns<${width}>(${room()}, ${nx}, ${nk}, `);
  const transposed = whole ? panelsOperandOf(s, x, k, "bf16") : null;
  if (transposed) {
    const begin = `as_words(${pointer(e, transposed.start)})`;
    const args = [room(), nx, `words_of(${nk})`, begin, transposed.step / 2, `as_words(${next()})`];
    return e.line(`${name} = pack_transposed_panels<${width}, ${transposed.width / 2}>(${args.join(", ")});`);
  }
  if (whole && beginsEven(s, k) && isContiguous(s, k, "bf16", minTransposedSteps)) {
    const element = pointer(e, s.value as BufferLoad);
    const at = `[&](ix ${x.name}, ix _word) { const ix ${k.name} = 2 * _word; return as_words(${element}); }`;
    return e.line(`${name} = pack_transposed<${width}>(${room()}, ${nx}, words_of(${nk}), ${at});`);
  }
  const head = `pack<${width}, ${e.lanesFor(x, withValue(s)).text}>(${room()}, ${nx}, words_of(${nk}), by_words(${nk}, `;
  e.lambda({ before: `${name} = ${head}`, params: `auto v, ix ${x.name}, ix ${k.name}`, after: "));" }, x, s);
}
/** A transposing copy needs so many contiguous steps of the depth. */
const minTransposedSteps = 32;
/** Whether memory along the depth begins at a whole word. */
function beginsEven(s: StmtOf<"stage">, k: Var): boolean {
  const load = loadOf(s, "bf16");
  return load !== null && isEven(substitute(address(load.from, load.at), k, num(0)));
}
