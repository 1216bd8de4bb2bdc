// Lines that repeat as loops: what is stored is made of the same numbers by the same operations in the same order.
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { item } from "../../compiler/item.ts";
import { KernelBuilder } from "../../compiler/kernel/builder.ts";
import { call, load, num } from "../../compiler/kernel/expr.ts";
import type { Expr, Kernel, Stmt, Tile, Var } from "../../compiler/kernel/ir.ts";
import { statements } from "../../compiler/kernel/passes.ts";
import { roll } from "../../compiler/kernel/roll.ts";
import { verify } from "../../compiler/kernel/verify.ts";
import { lower } from "../../compiler/lower/lower.ts";
import { type Backend, backends } from "../../compiler/targets.ts";
import { sinkhornLayer } from "../layers.ts";

const test = suite("roll");

const fail = (what: string): never => {
  throw new Error(what);
};
/** Runs statements on terms instead of numbers: equal terms are equal numbers. The terms that they store to buffers, in order. */
class Terms {
  readonly stored: number[] = [];
  readonly #values = new Map<Expr, number>();
  readonly #own = new Map<Tile, Map<string, number>>();
  readonly #terms: Map<string, number>;

  constructor(terms: Map<string, number>) {
    this.#terms = terms;
  }
  run(list: readonly Stmt[]): this {
    for (const s of list)
      if (s.s === "let") this.#values.set(s.v, this.#of(s.value));
      else if (s.s === "tile") this.#own.set(s.tile, new Map());
      else if (s.s === "store" && s.to.kind === "tile") this.#ownOf(s.to).set(this.#index(s.at), this.#of(s.value));
      else if (s.s === "store") this.stored.push(this.#of(s.value));
      else if (s.s === "for")
        for (let i = this.#of(s.axis.from); i < this.#of(s.axis.to); i++) {
          this.#values.set(s.axis.v, i);
          this.run(s.body);
        }
    return this;
  }
  #ownOf = (tile: Tile): Map<string, number> => this.#own.get(tile) ?? fail("no such tile");
  #index = (at: readonly Expr[]): string => at.map((x) => this.#of(x)).join();
  #of(x: Expr): number {
    if (x.e === "num") return x.value;
    if (x.e === "var") return this.#values.get(x) ?? fail(`${x.name} is not bound`);
    if (x.e === "load" && x.from.kind === "tile")
      return this.#ownOf(x.from).get(this.#index(x.at)) ?? fail(`${x.from.name} has no such number`);
    if (x.e === "load") return this.#term(`${x.from.name}[${x.at.map((y) => this.#of(y)).join()}]`);
    const args = x.args.map((y) => this.#of(y));
    if (x.op === "*") return item(args, 0) * item(args, 1);
    if (x.type === "index") return item(args, 0) + (x.op === "-" ? -1 : 1) * item(args, 1);
    return this.#term(`${x.op}(${args.join()})`);
  }
  #term(text: string): number {
    const found = this.#terms.get(text) ?? 1000 + this.#terms.size;
    this.#terms.set(text, found);
    return found;
  }
}
/**
 * A line reads one of those since the same line of the round before, and another such, one before all rounds, or one of a round of the first loop, which moves on
 * by `step` while there is one (`back`). One line of one of the loops may read what is two rounds before (`far`), in the first round (`early`), a line further on
 * each time (`drift`), or a round of the first loop and, in later rounds, what is beyond it (`past`).
 */
const line = fc.record({
  op: fc.constantFrom("add", "mul", "sub"),
  kind: fc.constantFrom("near", "before", "back"),
  reads: fc.tuple(fc.nat(29), fc.nat(29)),
});
const round = fc.array(line, { minLength: 9, maxLength: 30 });
const program = fc.record({
  forward: round,
  backward: round,
  rounds: fc.constantFrom(2, 8, 9, 13),
  odd: fc.record({
    of: fc.constantFrom("forward", "backward"),
    kind: fc.constantFrom(null, null, "far", "early", "drift", "past"),
    at: fc.nat(29),
  }),
  step: fc.constantFrom(-1, -1, -2, 1, 2),
  between: fc.nat(3),
  keepsAll: fc.boolean(),
  after: fc.array(fc.nat(2000), { maxLength: 4 }),
});
type Program = typeof program extends fc.Arbitrary<infer P> ? P : never;

/** Writes rounds, lines that break them, and rounds that read those of the first loop. */
function write(k: KernelBuilder, program: Program, lane: Expr): void {
  const { forward, backward, rounds, odd, step, between, after } = program;
  const [x, y] = [k.param("x", "f32", [30, 8]), k.param("y", "f32", [8, 8])];
  const made = Array.from({ length: 30 }, (_, i) => k.letHere("x", load(x, num(i), lane)));
  const last = (n: number): Expr => item(made, made.length - 1 - n);
  const add = (op: string, a: Expr, b: Expr): void => void made.push(k.letHere("t", call(op, "f32", a, b)));
  const other = (list: Program["forward"], i: number, r: number): Expr => {
    const {
      kind,
      reads: [, n],
    } = item(list, i);
    const start = made.length - ((made.length - begin) % list.length);
    const back = Math.max(0, Math.min(rounds - 1, step < 0 ? rounds - 1 + step * r : step * r)) * forward.length;
    const isOdd = list === program[odd.of] && i === odd.at % list.length;
    switch ((isOdd && odd.kind) || kind) {
      case "near":
        return last(n % list.length);
      case "far":
        return last(Math.min(made.length - 1, (n % list.length) + list.length));
      case "early":
        return item(made, Math.min(made.length - 1, begin + n));
      case "back":
        return item(made, list === forward ? n : 30 + back + (n % forward.length));
      case "drift":
        return item(made, Math.min(start - 1, 30 + n + r));
      case "past": {
        const at = 30 + ((rounds >> 1) + step * r) * forward.length + (n % forward.length);
        return item(made, Math.max(0, Math.min(start - 1, at)));
      }
      default:
        return item(made, n);
    }
  };
  let begin = made.length;
  const addRounds = (list: Program["forward"]): void => {
    begin = made.length;
    for (let r = 0; r < rounds; r++)
      for (const [i, { op, reads }] of list.entries()) add(op, last(reads[0] % list.length), other(list, i, r));
  };
  addRounds(forward);
  for (let i = 0; i < between; i++) add("max", last(0), last(1 + i));
  addRounds(backward);
  for (const [i, n] of [...after, made.length - 1].entries()) k.store(y, [num(i), lane], item(made, n % made.length));
}
test("random rounds, and others that read these backwards, store what they did", () => {
  let loops = 0;
  fc.assert(
    fc.property(program, (p) => {
      loops += checkedLoops((k, lane) => write(k, p, lane), p.keepsAll);
    }),
    { seed: 5, numRuns: 300 },
  );
  assert.ok(loops > 250, `only ${loops} loops were found`);
});
test("a loop ends where what it reads moves on from one loop into the next", () => {
  const [period, rounds] = [10, 12];
  const loops = checkedLoops((k, lane) => {
    const [x, y] = [k.param("x", "f32", [30, 8]), k.param("y", "f32", [1, 8])];
    const made = Array.from({ length: 30 }, (_, i) => k.letHere("x", load(x, num(i), lane)));
    const add = (op: string, a: number, b: number): void =>
      void made.push(k.letHere("t", call(op, "f32", item(made, a), item(made, b))));
    const addRounds = (n: number, read: (r: number) => number): void => {
      for (let i = 0; i < n * period; i++)
        add(
          (i % period) % 3 === 0 ? "mul" : "add",
          made.length - 1,
          i % period === 4 ? read(Math.floor(i / period)) : made.length - 9,
        );
    };
    for (const _ of ["first", "second"]) {
      addRounds(rounds, () => 3);
      add("max", 1, made.length - 2);
    }
    addRounds(2 * rounds - 3, (r) => 30 + (2 + r) * period + 6);
    k.store(y, [num(0), lane], item(made, made.length - 1));
  }, false);
  assert.is(loops, 3);
});
/** Writes statements with loops and without, which must store the same. The number of loops. */
function checkedLoops(of: (k: KernelBuilder, lane: Expr) => void, keepsAll: boolean): number {
  const k = new KernelBuilder("random");
  let plain: readonly Stmt[] = [];
  k.par(num(8), (lane) => {
    of(k, lane);
    k.rewrite((list) => {
      plain = list;
      roll(k, list, lane as Var, keepsAll);
    });
  });
  const kernel = k.kernel("random");
  verify(kernel);
  const [terms, rolled] = [new Map<string, number>(), bodyOf(kernel)];
  const lane = item(kernel.body, 0);
  const from = (list: readonly Stmt[]): Stmt[] =>
    lane.s === "par" ? [{ s: "let", v: lane.v, value: num(0) }, ...list] : [];
  assert.equal(new Terms(terms).run(from(rolled)).stored, new Terms(terms).run(from(plain)).stored);
  return rolled.filter((s) => s.s === "for").length;
}
const bodyOf = ({ body }: Kernel): readonly Stmt[] => body.flatMap((s) => (s.s === "par" ? s.body : []));

/** The statements of the kernels of Sinkhorn's rounds, forward and backward. */
function sizes(
  rows: number,
  matrix: readonly [number, number],
  rounds: number,
  backend: Backend = backends.host,
): number[] {
  const found: number[] = [];
  lower(sinkhornLayer([rows], matrix, rounds), {
    ...backend,
    emit: (k) => {
      if (k.name.startsWith("lanes")) found.push(statements(k.body).length);
      return backend.emit(k);
    },
  });
  return found;
}
test("rounds of Sinkhorn's scaling are a loop each way, of any number of rounds; on CUDA of a single row too", () => {
  for (const matrix of [
    [4, 4],
    [2, 7],
    [5, 3],
  ] as const)
    assert.equal(sizes(5, matrix, 23), sizes(5, matrix, 5));
  assert.equal(sizes(1, [4, 4], 23, backends.cuda), sizes(1, [4, 4], 8, backends.cuda));
});
test.run();
