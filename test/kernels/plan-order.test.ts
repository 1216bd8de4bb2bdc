// The order of a plan's launches.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Assign, VirtualArg, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { buffer, launch, ofStore, pointwise, read, storeOf, update, write } from "../sequences.ts";
import { g, late, next, options, other, output, p, planOf, stores } from "./small-plans.ts";

const test = suite("plan-order");
test("a reader of the old store is moved before the launch that assigns it, with all it needs", () => {
  const plan = planOf(
    [
      launch("step", "", [pointwise(p), pointwise(g), write(next)]),
      launch("make", "", [read(g), write(other)]),
      launch("use", "", [read(p), read(other), write(late)]),
    ],
    [{ store: "p", from: next }],
    [output("0", late)],
  );
  assert.equal(
    plan.entries[0]?.steps.map((s) => (s.kind === "launch" ? plan.kernels[s.launch.kernel]?.name : s.kind)),
    ["make", "use", "step"],
  );
});
test("small launches stand together: what is between two rows of them, and needs none of the first, goes before", () => {
  const names = ["first", "small", "between", "more"] as const;
  const [first, small, between, more] = names.map((name) => buffer(name, [64, 16])) as [
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
  ];
  const ordered = (needed: VirtualBuffer, last: readonly VirtualLaunch[]) => {
    const launches = [
      launch("first", "", [read(p), write(first)], 64),
      launch("small", "", [read(first), write(small)]),
      launch("between", "", [read(needed), write(between)], 64),
      ...last,
    ];
    const { kernels, entries } = planOf(launches, [], [output("0", small), output("1", between)]);
    return entries[0]?.steps.map((s) => (s.kind === "launch" ? kernels[s.launch.kernel]?.name : s.kind));
  };
  const after = [launch("more", "", [read(between), write(more)])];
  assert.equal(ordered(first, after), ["first", "between", "small", "more"]);
  assert.equal(ordered(small, after), ["first", "small", "between", "more"], "it needs it");
  assert.equal(ordered(first, []), ["first", "small", "between"], "no row follows");
  const rows = ["a", "b", "c"].map((name) => launch(name, "", [read(p), write(buffer(name, [16]))]));
  const { kernels } = planOf(rows, []);
  assert.equal(
    kernels.map(({ name }) => name),
    ["a", "b", "c"],
    "small ones stay in order",
  );
});
test("what releases more memory than it takes goes as early as it can", () => {
  const [x, y, dx] = ["x", "y", "dx"].map((name) => buffer(name, [64, 16])) as [
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
  ];
  const fromBoth = (dw: VirtualBuffer): VirtualArg[] => [read(x), write(dw)];
  const inPlace = (dw: VirtualBuffer): VirtualArg[] => [update(dw, x)];
  const ordered = (
    dw: VirtualBuffer,
    handedOn: readonly VirtualBuffer[],
    assigns: readonly Assign[] = [],
    made = fromBoth,
    tasks = 64,
  ) => {
    const launches = [
      launch("x", "", [read(g), write(x)], 64),
      launch("y", "", [read(p), write(y)], 64),
      launch("dx", "", [read(y), write(dx)], 64),
      launch("more", "", [read(dx), write(late)], 64),
      launch("dw", "", [read(y), ...made(dw)], tasks),
    ];
    const results = [late, ...handedOn].map((b, i) => output(`${i}`, b));
    const { kernels, entries } = planOf(launches, assigns, results);
    return entries[0]?.steps.flatMap((s) => (s.kind === "launch" ? (kernels[s.launch.kernel]?.name ?? "") : []));
  };
  const [early, asWritten] = [
    ["x", "y", "dx", "dw", "more"],
    ["x", "y", "dx", "more", "dw"],
  ];
  const [small, large] = [buffer("dw", [64, 16]), buffer("dw", [128, 16])];
  assert.equal(ordered(small, [small]), early);
  assert.equal(ordered(large, [large]), asWritten, "it takes as much as it releases");
  assert.equal(ordered(small, [small, x]), asWritten, "x is a result");
  assert.equal(
    ordered(next, [], [{ store: "p", from: next }]),
    early,
    "a store's new contents take the place of the old",
  );
  assert.equal(ordered(small, [small], [], inPlace), early, "an update releases its base");
  assert.equal(ordered(small, [small], [], fromBoth, 1), asWritten, "one thread does it, in a run with others");
});
/** A launch that is not small. */
const wide = (name: string, args: readonly VirtualArg[]): VirtualLaunch => launch(name, "", args, 64);
test("what a launch releases is what it alone still reads, counted once, and nothing that a store becomes", () => {
  const [x, y, w, dx, end] = ["x", "y", "w", "dx", "end"].map((name) => buffer(name, [64, 16])) as [
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
  ];
  const [small, middle, large] = [32, 96, 192].map((rows) => buffer("dw", [rows, 16])) as [
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
  ];
  const held = [x, large].map((of) => ofStore({ ...of, name: `held ${of.name}` }));
  const dw = (to: VirtualBuffer, ...from: readonly VirtualBuffer[]) => wide("dw", [...from.map(read), write(to)]);
  const ordered = (
    launches: readonly VirtualLaunch[],
    handedOn: readonly VirtualBuffer[],
    assigned: readonly VirtualBuffer[] = [],
  ) => {
    const assigns = assigned.map((from) => ({ store: `held ${from.name}`, from }));
    const results = handedOn.map((b, i) => output(`${i}`, b));
    const all = [...stores, ...held.map((store) => storeOf(store))];
    const { kernels, entries } = planMemory([{ entry: "main", launches, assigns, results }], all, options);
    const names = entries[0]?.steps.flatMap((s) => (s.kind === "launch" ? (kernels[s.launch.kernel]?.name ?? "") : []));
    return names?.join(" ");
  };
  const before = [
    wide("x", [read(g), write(x)]),
    wide("y", [read(p), write(y)]),
    wide("dx", [read(y), write(dx)]),
    wide("more", [read(dx), write(end)]),
  ];
  assert.is(ordered([...before, dw(middle, x, y)], [end, middle]), "x y dx dw more");
  const last = wide("last", [read(x), write(late)]);
  assert.is(ordered([...before, dw(middle, x, y), last], [end, middle, late]), "x y dx more dw last");
  assert.is(ordered([...before, dw(middle, y, y)], [end, middle]), "x y dx more dw");
  assert.is(ordered([...before, dw(large, x, y)], [end, large]), "x y dx more dw");
  assert.is(ordered([...before, dw(large, x, y)], [end], [large]), "x y dx dw more", "it takes the store's place");
  assert.is(ordered([...before, dw(small, x)], [end, small]), "x dw y dx more");
  assert.is(ordered([...before, dw(small, x)], [end, small], [x]), "x y dx more dw", "x is the store's new content");
  const [first, second] = [buffer("first", [64, 16]), buffer("second", [64, 16])];
  const updates = [
    wide("x", [read(g), write(x)]),
    wide("w", [read(g), write(w)]),
    wide("one", [read(g), update(first, x)]),
    wide("y", [read(p), write(y)]),
    wide("two", [read(w), update(second, x)]),
  ];
  assert.is(ordered(updates, [first, second, y]), "x w one two y", "a base is read too");
});
test.run();
