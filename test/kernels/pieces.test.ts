// Exchanges of rows in pieces: which launches are cut, in which order pieces go, and what the verifier refuses. Their bits: test/workers/pieces.test.ts.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitHost } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { dependences } from "../../compiler/plan/dependences.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { inPieces } from "../../compiler/plan/pieces.ts";
import { type CollectiveOp, isBeside, type Plan, type Step } from "../../compiler/plan/plan.ts";
import type { Sequence, VirtualArg, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { verifyPlan } from "../../compiler/plan/verify.ts";
import { type } from "../../compiler/types/type.ts";
import { graphOf } from "../host/compare.ts";
import { buffer, launch, ofStore, read, storeOf, write } from "../sequences.ts";

const test = suite("pieces");
const workers = 2;
const given = ofStore(buffer("given", [64, 16]));
const rowsOf = (name: string): VirtualBuffer => buffer(name, [64, 16]);
function exchange(args: readonly VirtualArg[], back: boolean): VirtualLaunch {
  const kernel: CollectiveOp = { name: "exchange", dtype: "f32", workers, back, rows: 64, length: 64 };
  return { ...launch("exchange", "", args), kernel };
}
const offsets = ofStore(buffer("offsets", [16], { dtype: "i32" }));
/** What is computed of rows expert by expert, 60 us of each. `rows`: those arguments that are used so. */
function product(
  name: string,
  args: readonly VirtualArg[],
  experts: number,
  rows: readonly boolean[],
  by: VirtualBuffer = offsets,
): VirtualLaunch {
  const byGroup = { groups: experts, offsets: by, rows: rows.map((is) => (is ? 0 : null)) };
  return { ...launch(name, "", args, 3 * experts), flops: 9e6 * experts, byGroup };
}
interface Made {
  /** Of each owner. */
  readonly experts?: number;
  /** The experts read a row of another expert. */
  readonly mixes?: boolean;
  /** Where the second product has its experts' rows. */
  readonly others?: VirtualBuffer;
}
/** Rows that go to their experts' owners, two products, and the way back; and a product of all rows that came, as of gradients. */
function mixture({ experts = 3, mixes = false, others = offsets }: Made = {}): Sequence {
  const ends = ofStore(buffer("ends", [workers, workers * experts + 1], { dtype: "i32" }));
  const [x, there, inner, out, back, slope, end] = ["x", "there", "inner", "out", "back", "slope", "end"].map(
    rowsOf,
  ) as [VirtualBuffer, VirtualBuffer, VirtualBuffer, VirtualBuffer, VirtualBuffer, VirtualBuffer, VirtualBuffer];
  const launches = [
    launch("before", "", [read(given), write(x)], 64),
    exchange([read(x), read(ends), write(there)], false),
    product("up", [read(ends), read(there), write(inner)], experts, [false, !mixes, true]),
    product("down", [read(inner), write(out)], experts, [true, !mixes], others),
    product("gradient", [read(there), write(slope)], experts, [true, false]),
    exchange([read(out), read(ends), write(back)], true),
    launch("after", "", [read(back), write(end)], 64),
  ];
  const results = [slope, end].map((of) => ({ role: "output" as const, name: of.name, buffer: of }));
  return { entry: "main", launches, assigns: [], results };
}
const planned = (sequence: Sequence, leastPiece = 1024, target = "host"): Plan => {
  const used = new Set(sequence.launches.flatMap(({ args }) => args.map((a) => a.buffer)));
  const stores = [...used].filter((of) => of.store !== null).map((of) => storeOf(of));
  return planMemory([sequence], stores, { target, header: "", leastPiece });
};
function nameOf(plan: Plan, step: Step): string {
  if (step.kind === "wait") return `wait for ${step.step}`;
  if (step.kind === "copy") return "copy";
  const begin = isBeside(step) ? "begin " : "";
  if (step.kind === "launch") {
    const { kernel, tasks, first } = step.launch;
    return `${plan.kernels[kernel]?.name}${tasks === 64 ? "" : ` ${first ?? 0}-${(first ?? 0) + tasks}`}`;
  }
  const { back, piece } = step.collective.op;
  return `${begin}${back ? "back" : "there"}${piece === undefined ? "" : ` ${piece}`}`;
}
const named = (plan: Plan): string => (plan.entries[0]?.steps ?? []).map((step) => nameOf(plan, step)).join(", ");

test("an owner computes a piece while the next ones come and the last ones go back; what needs all rows goes beside the end", () => {
  const steps = `before, there 0, begin there 1, begin there 2, up 0-3, down 0-3, begin back 0, wait for 2, up 3-6, down 3-6, begin back 1,
wait for 3, up 6-9, down 6-9, begin back 2, gradient 0-9, wait for 14, after`;
  assert.is(named(planned(mixture())), steps.replaceAll("\n", " "));
});
const firsts = (experts: number): number[] =>
  planned(mixture({ experts }), 512).entries.flatMap(({ steps }) =>
    steps.flatMap((s) => (s.kind === "launch" && s.launch.tasks < 64 ? [s.launch.first ?? 0] : [])),
  );
test("experts are shared out among at most four pieces", () => {
  assert.equal([...new Set(firsts(7))], [0, 3, 9, 15]);
  assert.equal([...new Set(firsts(2))], [0, 3]);
});
test("rows stay whole of one expert, if they are few, or if an expert uses others' rows; and on GPUs", () => {
  const whole = "before, there, up 0-9, down 0-9, begin back, gradient 0-9, wait for 4, after";
  assert.is(named(planned(mixture(), 2049)), whole);
  assert.is(named(planned(mixture({ mixes: true }))), whole);
  assert.is(named(planned(mixture({ experts: 1 }))), whole.replaceAll("0-9", "0-3"));
  assert.is(named(planned(mixture(), 1024, "cuda")), "before, there, up 0-9, down 0-9, gradient 0-9, back, after");
});
test("where a product finds its experts' rows by other offsets, each of its pieces needs all rows that the product before makes", () => {
  const others = ofStore(buffer("others", [16], { dtype: "i32" }));
  const steps = `before, there 0, begin there 1, begin there 2, up 0-3, wait for 2, up 3-6, wait for 3, up 6-9,
down 0-3, begin back 0, down 3-6, begin back 1, down 6-9, begin back 2, gradient 0-9, wait for 14, after`;
  assert.is(named(planned(mixture({ others }))), steps.replaceAll("\n", " "));
});
test("rows that have come back, and go to other experts, do so once all of them are back, into however many pieces they are cut", () => {
  const ends = ofStore(buffer("ends", [workers, workers * 4 + 1], { dtype: "i32" }));
  const [x, there, out, back, again] = [rowsOf("x"), rowsOf("there"), rowsOf("out"), rowsOf("back"), rowsOf("again")];
  const [half, result] = [buffer("half", [64, 16], { dtype: "bf16" }), buffer("result", [64, 16], { dtype: "bf16" })];
  const launches = [
    launch("before", "", [read(given), write(x)], 64),
    exchange([read(x), read(ends), write(there)], false),
    product("down", [read(there), write(out)], 4, [true, true]),
    exchange([read(out), read(ends), write(back)], true),
    exchange([read(back), read(ends), write(again)], false),
    product("next", [read(again), write(half)], 4, [true, true]),
    exchange([read(half), read(ends), write(result)], true),
  ];
  const cut = inPieces({ entry: "main", launches, assigns: [], results: [] }, 1024);
  const that = (uses: (arg: VirtualArg) => boolean): number[] =>
    cut.launches.flatMap(({ args }, at) => (args.some(uses) ? [at] : []));
  const made = that((arg) => arg.buffer === back && arg.access === "part");
  const sent = that((arg) => arg.buffer === back && arg.access === "read");
  assert.equal([made.length, sent.length], [4, 2]);
  const edges = dependences(cut);
  assert.ok(made.every((from) => sent.every((to) => edges.has(from, to))));
});
const nameOfLaunch = ({ kernel, first, tasks }: VirtualLaunch): string =>
  "text" in kernel
    ? `${kernel.name}${tasks === 64 ? "" : ` ${first ?? 0}-${(first ?? 0) + tasks}`}`
    : `${kernel.back ? "back" : "there"}${kernel.piece === undefined ? "" : ` ${kernel.piece}`}`;
test("a plan in which a piece is used before it has come is refused", () => {
  const sequence = inPieces(mixture(), 1024);
  const plan = planned(mixture());
  const [entry] = plan.entries;
  assert.ok(entry);
  const ordered = entry.steps.flatMap((s) =>
    s.kind === "wait" || s.kind === "copy" ? [] : [nameOf(plan, s).replace("begin ", "")],
  );
  const launches = sequence.launches.toSorted(
    (a, c) => ordered.indexOf(nameOfLaunch(a)) - ordered.indexOf(nameOfLaunch(c)),
  );
  const check = (steps: readonly Step[]) => (): void =>
    verifyPlan({ ...plan, entries: [{ ...entry, steps }] }, [{ ...sequence, launches }]);
  check(entry.steps)();
  const without = (name: string): Step[] => entry.steps.filter((s) => nameOf(plan, s) !== name);
  assert.throws(check(without("wait for 2")), /up uses there before exchange, which uses there, is awaited/);
  assert.throws(check(without("wait for 14")), /after uses back before exchange, which uses back, is awaited/);
});

const g = new GraphBuilder(ops);
const parameter = (name: string, shape: readonly number[]): Value => b.param(g, name, type("f32", shape));
/** Of each launch by groups: how many there are, and the arguments of which it uses its rows alone. */
const found = (v: Value) =>
  lower(graphOf([v]), { emit: emitHost }).launches.flatMap(({ byGroup, args }) =>
    byGroup
      ? [
          {
            groups: byGroup.groups,
            offsets: byGroup.offsets.name,
            rows: args.flatMap(({ buffer: { name } }, i) => (byGroup.rows[i] === 0 ? [name] : [])),
          },
        ]
      : [],
  );
test("a product by experts uses its experts' rows alone, but not the gradient of its weights, nor rows that are looked up", () => {
  const offsets = b.param(g, "offsets", type("i32", [4]));
  const [x, w] = [parameter("x", [50, 24]), parameter("w", [3, 24, 40])];
  const product = (rows: Value): Value => b.make1(g, "ragged_dot", [rows, w, offsets], { unit: 1 });
  assert.equal(
    found(b.mul(g, product(x), 2)).map((f) => [f.groups, f.offsets, f.rows[0], f.rows.length]),
    [[3, "offsets", "x", 2]],
  );
  const taken = b.take(g, x, b.param(g, "places", type("i32", [50])));
  assert.equal(
    found(product(taken)).map((f) => [f.groups, f.rows[0], f.rows.length]),
    [[3, "places", 2]],
  );
  const slope = b.make1(g, "ragged_outer", [x, parameter("y", [50, 40]), offsets], { unit: 1 });
  const used = found(slope).flatMap((f) => f.rows);
  assert.ok(used.length > 0 && used.every((name) => !name.startsWith("ragged_outer")), used.join());
});
test.run();
