// What the verifier of plans refuses.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Bug } from "../../compiler/diagnostic.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Plan, PlanBuffer } from "../../compiler/plan/plan.ts";
import type { Sequence, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { verifyPlan } from "../../compiler/plan/verify.ts";
import { buffer, launch, ofStore, part, pointwise, read, update, write } from "../sequences.ts";
import { g, late, next, offset, options, other, output, p, planOf, stores } from "./small-plans.ts";

const test = suite("verify-plan");
test("a planted overlap is found, and named", () => {
  const launches = [launch("one", "", [read(p), write(other)]), launch("two", "", [read(p), read(other), write(next)])];
  const sequence: Sequence = { entry: "main", launches, assigns: [], results: [output("0", other), output("1", next)] };
  const plan = planMemory([sequence], stores, options);
  const move = (name: string, to: number): Plan => ({
    ...plan,
    buffers: plan.buffers.map((b) => (b.name === name ? { ...b, offset: to } : b)),
  });
  verifyPlan(plan, [sequence]);
  assert.throws(() => verifyPlan(move("next", offset(plan, "other")), [sequence]), /next is written over other/);
  assert.throws(() => verifyPlan(move("other", offset(plan, "p")), [sequence]), /other is written over p/);
  assert.throws(
    () => verifyPlan(move("next", offset(plan, "g")), [sequence]),
    /g is read as store g at the end in main, where next/,
  );
  assert.throws(() => verifyPlan(move("g", offset(plan, "p")), [sequence]), /store g overlaps/);
  assert.throws(() => verifyPlan(move("g", 1), [sequence]), /does not fit/);
  assert.throws(() => verifyPlan(move("next", plan.bytes.arena), [sequence]), /next at \d+ does not fit the arena/);
  assert.throws(() => verifyPlan(move("next", offset(plan, "next") + 4), [sequence]), /next begins at/);
  const shorter = { ...plan, entries: plan.entries.map((e) => ({ ...e, steps: e.steps.slice(0, -1) })) };
  assert.throws(() => verifyPlan(shorter, [sequence]), /main lacks a launch/);
});
test("a copy to fewer bytes is found", () => {
  const launches = [launch("set", "", [read(g), update(next, p)])];
  const sequence: Sequence = { entry: "main", launches, assigns: [], results: [output("0", next)] };
  const plan = planMemory([sequence], stores, options);
  const cut = { ...plan, buffers: plan.buffers.map((b) => (b.name === "next" ? { ...b, bytes: 64 } : b)) };
  assert.throws(() => verifyPlan(cut, [sequence]), /p cannot be copied to next/);
});
test("a result beside its operand's elements, or over one of another shape, and an operand of which only a part was written, are found", () => {
  const make = launch("make", "", [read(g), write(other)]);
  const broken = (last: VirtualLaunch, change: (b: PlanBuffer) => Partial<PlanBuffer>): (() => void) => {
    const sequence = { entry: "main", launches: [make, last], assigns: [], results: [output("0", next)] };
    const plan = planMemory([sequence], stores, options);
    const changed = { ...plan, buffers: plan.buffers.map((b) => ({ ...b, ...change(b) })) };
    return () => verifyPlan(changed, [sequence]);
  };
  const point = launch("point", "", [pointwise(other), write(next)]);
  assert.throws(
    broken(point, (b) => (b.name === "next" ? { offset: b.offset - 64 } : {})),
    /next is written over other, which the same launch uses/,
  );
  const wide = buffer("wide", [16, 2]);
  const widen = { entry: "main", launches: [make, launch("widen", "", [pointwise(other), write(wide)])], assigns: [] };
  const sequence = { ...widen, results: [output("0", wide)] };
  const plan = planMemory([sequence], stores, options);
  const at = plan.buffers.find((b) => b.name === "other")?.offset ?? Number.NaN;
  const moved = { ...plan, buffers: plan.buffers.map((b) => (b.name === "wide" ? { ...b, offset: at } : b)) };
  moved.bytes = { ...plan.bytes, arena: 2 * plan.bytes.arena };
  assert.throws(() => verifyPlan(moved, [sequence]), /wide is written over other, which the same launch uses/);
  assert.throws(
    broken(launch("set", "", [update(next, other)]), (b) => (b.name === "other" ? { bytes: 64 } : {})),
    /other is read by set as a base in main, where other, nothing was written/,
  );
});

const lastSecond = <T>([first, second, third]: readonly T[]): T[] =>
  [first, third, second].filter((x) => x !== undefined);
test("what is read before all of its parts are written is found", () => {
  const launches = [
    launch("first", "", [part(other)]),
    launch("second", "", [part(other)]),
    launch("use", "", [read(other), write(next)]),
  ];
  const sequence: Sequence = { entry: "main", launches, assigns: [], results: [output("0", next)] };
  const plan = planMemory([sequence], stores, options);
  const changed = { ...plan, entries: plan.entries.map((e) => ({ ...e, steps: lastSecond(e.steps) })) };
  assert.throws(
    () => verifyPlan(changed, [{ ...sequence, launches: lastSecond(launches) }]),
    /other is read by use before all of its parts are written/,
  );
});
test("what is written over a buffer between two of its parts is found", () => {
  const launches = [
    launch("first", "", [part(other)]),
    launch("between", "", [write(late)]),
    launch("second", "", [part(other)]),
    launch("use", "", [read(other), write(next)]),
  ];
  const sequence: Sequence = { entry: "main", launches, assigns: [], results: [output("0", next)] };
  const plan = planMemory([sequence], stores, options);
  const at = offset(plan, "other");
  const moved = { ...plan, buffers: plan.buffers.map((b) => (b.name === "late" ? { ...b, offset: at } : b)) };
  assert.throws(() => verifyPlan(moved, [sequence]), /other is read in part in main, where late was written/);
});
test("what is no sequence is a bug", () => {
  assert.throws(() => planOf([launch("early", "", [read(other), write(next)])], []), /other is read before/);
  assert.throws(() => planOf([launch("store", "", [read(g), write(p)])], []), /writes store p/);
  assert.throws(
    () => planOf([launch("k", "", [write(next)]), launch("k", "1", [write(other)])], []),
    /two kernels are named k/,
  );
  const twice = [p, g].map((from) => ({ store: "p", from: { ...from, store: null } }));
  assert.throws(
    () =>
      planOf(
        [
          launch(
            "make",
            "",
            twice.map((a) => write(a.from)),
          ),
        ],
        twice,
      ),
    /main assigns a store twice/,
  );
  const panels = ofStore(buffer("p", [32], { layout: { kind: "panels", width: 32 } }));
  assert.throws(() => planOf([launch("k", "", [read(p), read(panels), write(next)])], []), /store p has two layouts/);
  assert.throws(
    () => planOf([], [{ store: "nowhere", from: p }]),
    (error: unknown) => error instanceof Bug,
  );
});

test.run();
