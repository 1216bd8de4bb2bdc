import { fail } from "node:assert";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { planMemory } from "../../compiler/plan/memory.ts";
import { cudaGrain, place, placedBytes } from "../../compiler/plan/place.ts";
import { isBeside, type Plan, type PlanBuffer, type Step, workOf } from "../../compiler/plan/plan.ts";
import type { Assign, Sequence, VirtualArg, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { buffer, launch, ofStore, part, pointwise, read, storeOf, update, write } from "../sequences.ts";
import { g, late, next, offset, options, other, output, p, planOf } from "./small-plans.ts";

const test = suite("plan");
function check<T>(property: fc.IProperty<T>, runs: number): void {
  const { failed, counterexample, errorInstance } = fc.check(property, { seed: 20261125, numRuns: runs });
  if (failed)
    fail(
      `${JSON.stringify(counterexample, (key, value) => (key === "buffer" ? value.name : value))}\n${String(errorInstance)}`,
    );
}
const existing = <T>(value: T | undefined): T => value ?? fail("it exists");

// Random sequences, run three times: each buffer on its own; on the planned arena; and there with what is beside done where it is awaited. A kernel's
// meaning is its access modes.

/** What a launch does to element i, in place where buffers share memory. */
function perform(args: readonly VirtualArg[], at: (arg: VirtualArg) => Float32Array): void {
  const whole = args.filter((a) => a.access === "read").map(at);
  const points = args.filter((a) => a.access === "pointwise").map(at);
  const outs = args.filter((a) => a.access === "write" || a.access === "update");
  const elements = Math.max(...outs.map((o) => at(o).length));
  for (let i = 0; i < elements; i++) {
    const x =
      points.reduce((sum, p) => sum + (p[i] ?? 0), 0.5) +
      whole.reduce((sum, w) => sum + w.reduce((a, b) => a + b, 0), 0);
    for (const [n, out] of outs.entries()) if (out.access === "write" || i % 3 === 0) at(out)[i] = (x * 3 + n) % 17;
  }
}
const view = (arena: ArrayBuffer, { offset, bytes }: PlanBuffer): Float32Array =>
  new Float32Array(arena, offset, bytes / 4);

function runApart(sequence: Sequence, initial: ReadonlyMap<string, Float32Array>): readonly Float32Array[] {
  const memory = new Map<VirtualBuffer, Float32Array>();
  const get = (b: VirtualBuffer): Float32Array => {
    const data =
      memory.get(b) ?? (b.store === null ? undefined : initial.get(b.store)) ?? new Float32Array(b.bytes / 4);
    memory.set(b, data);
    return data;
  };
  for (const { args } of sequence.launches) {
    for (const { buffer, base } of args) if (base !== undefined) memory.set(buffer, get(base).slice());
    perform(args, (arg) => get(arg.buffer));
  }
  const after = new Map([...initial, ...sequence.assigns.map((a) => [a.store, get(a.from)] as const)]);
  return [...sequence.results.map((r) => get(r.buffer)), ...after.values()];
}
function runPlanned(
  plan: Plan,
  sequence: Sequence,
  initial: ReadonlyMap<string, Float32Array>,
  late: boolean,
): readonly Float32Array[] {
  const arena = new ArrayBuffer(plan.bytes.arena);
  new Float32Array(arena).fill(Number.NaN);
  const at = (index: number | undefined): Float32Array => view(arena, existing(plan.buffers[index ?? -1]));
  for (const { name, buffer } of plan.stores) at(buffer).set(initial.get(name) ?? []);
  const run = (step: Step): void => {
    const kernel = step.kind === "launch" ? plan.kernels[step.launch.kernel] : null;
    const isOf = (l: VirtualLaunch): boolean =>
      step.kind === "collective" ? l.kernel === step.collective.op : l.kernel.name === kernel?.name;
    const args = sequence.launches.find(isOf)?.args ?? [];
    perform(args, (arg) => at(workOf(step)?.args[args.indexOf(arg)]));
  };
  let flying: number[] = [];
  const steps = plan.entries[0]?.steps ?? [];
  for (const [number, step] of steps.entries()) {
    if (step.kind === "copy") at(step.to).set(at(step.from));
    else if (step.kind === "wait") {
      for (const begun of flying.filter((other) => other <= step.step)) run(existing(steps[begun]));
      flying = flying.filter((other) => other > step.step);
    } else if (late && isBeside(step)) flying.push(number);
    else run(step);
  }
  const results = (plan.entries[0]?.results ?? []).map((r) => at(r.buffer));
  return [...results, ...plan.stores.map((s) => at(s.buffer))].map((data) => data.slice());
}

const shapes = [[16], [32], [16, 16], [0]] as const;
/** Any sequence that keeps the contract: values are made once. */
const sequences = fc
  .array(fc.record({ picks: fc.array(fc.nat(), { minLength: 6, maxLength: 6 }), shape: fc.nat(3) }), {
    minLength: 1,
    maxLength: 30,
  })
  .map((plans) => {
    const stores = [0, 0, 0, 1, 2, 3].map((shape, i) => ofStore(buffer(`s${i}`, shapes[shape] ?? [])));
    const values = [...stores];
    const pick = (n: number, among = values): VirtualBuffer => existing(among[n % among.length]);
    const launches = plans.map(({ picks: [kind = 0, a = 0, b = 0, c = 0, d = 0], shape }, i): VirtualLaunch => {
      const to = buffer(`t${i}`, shapes[shape] ?? []);
      const twin = buffer(`u${i}`, shapes[shape] ?? []);
      const alike = values.filter((v) => v.shape.join() === to.shape.join());
      const base = pick(c, alike);
      const args = [read(pick(a)), pointwise(pick(b, alike)), pointwise(pick(d, alike))].filter(
        (_, n) => kind & (1 << n),
      );
      const made = kind & 8 ? [update(to, base)] : kind & 16 ? [write(to), write(twin)] : [write(to)];
      values.push(...made.map((m) => m.buffer));
      const of = launch(`k${i}`, "", [...args, ...made], kind & 32 ? 64 : 1);
      const moves = (kind & 192) === 64 && (kind & 15) > 0 && (kind & 15) < 8;
      return moves ? { ...of, kernel: { name: "all_reduce", dtype: "f32", workers: 2, rows: i } } : of;
    });
    const assigns = plans.flatMap(({ picks: [, , a = 0, b = 0] }): readonly Assign[] => {
      const store = pick(a, stores);
      return b % 3
        ? [
            {
              store: store.name,
              from: pick(
                b,
                values.filter((v) => v.shape.join() === store.shape.join()),
              ),
            },
          ]
        : [];
    });
    const once = [...new Map(assigns.map((x) => [x.store, x])).values()];
    const results = plans.flatMap(({ picks: [, , , , , a = 0] }, i) => (a % 4 ? [] : [output(`${i}`, pick(a >> 2))]));
    return { stores, sequence: { entry: "main", launches, assigns: once, results } satisfies Sequence };
  });

test("a planned sequence computes what it computes with memory to spare", () => {
  check(
    fc.property(sequences, ({ stores, sequence }) => {
      const initial = new Map(
        stores.map((s, n) => [s.name, new Float32Array(s.bytes / 4).map((_, i) => (i * 7 + n * 3) % 11)]),
      );
      const copy = new Map([...initial].map(([name, data]) => [name, data.slice()]));
      const plan = planMemory(
        [sequence],
        stores.map((s) => storeOf(s)),
        options,
      );
      const expected = runApart(sequence, copy);
      for (const late of [false, true]) assert.equal(runPlanned(plan, sequence, initial, late), expected);
    }),
    2000,
  );
});

test("entries share temporaries and keep stores", () => {
  const x = ofStore(buffer("x", [16]));
  const [a, b] = [buffer("a", [32]), buffer("b", [16, 16])];
  const one: Sequence = {
    entry: "one",
    launches: [launch("f", "", [read(x), write(a)])],
    assigns: [],
    results: [output("0", a)],
  };
  const two: Sequence = {
    entry: "two",
    launches: [launch("g", "", [read(x), write(b)])],
    assigns: [],
    results: [output("0", b)],
  };
  const plan = planMemory([one, two], [storeOf(x, "input")], options);
  assert.equal(
    plan.buffers.map((p) => p.offset),
    [0, 64, 64],
  );
  assert.equal(
    plan.entries.map((e) => e.inputs),
    [["x"], ["x"]],
  );
  assert.is(plan.kernels.length, 2);
});

const copies = (plan: Plan): number => plan.entries[0]?.steps.filter((s) => s.kind === "copy").length ?? 0;

test("an assignment is in place if the store's readers ran before, or read it point by point", () => {
  const step = launch("step", "", [pointwise(p), pointwise(g), write(next)]);
  const plan = planOf([launch("use", "", [read(p), write(other)]), step], [{ store: "p", from: next }]);
  assert.is(copies(plan), 0);
  assert.is(offset(plan, "next"), offset(plan, "p"));
});
test("an assignment is a copy if its launch, or one that needs its launch, reads the old store", () => {
  const whole = planOf([launch("step", "", [read(p), write(next)])], [{ store: "p", from: next }]);
  const step = launch("step", "", [pointwise(p), write(next)]);
  const later = planOf([step, launch("use", "", [read(p), read(next), write(other)])], [{ store: "p", from: next }]);
  const parts = [launch("half", "", [pointwise(p), part(next)]), launch("rest", "", [read(g), part(next)])];
  assert.equal([copies(whole), copies(later), copies(planOf(parts, [{ store: "p", from: next }]))], [1, 1, 1]);
});
test("a store without elements is not copied", () => {
  const [empty, made] = [ofStore(buffer("empty", [4, 0])), buffer("made", [4, 0])];
  const step = launch("step", "", [read(empty), write(made)]);
  const sequence = { entry: "main", launches: [step], assigns: [{ store: "empty", from: made }], results: [] };
  assert.is(copies(planMemory([sequence], [storeOf(empty)], options)), 0);
});
test("an update is in place if its base is read by nothing later, else its base is copied first", () => {
  const set = launch("set", "", [read(g), update(next, p)]);
  assert.is(copies(planOf([set], [{ store: "p", from: next }])), 0);
  assert.is(copies(planOf([set, launch("again", "", [update(late, next)])], [{ store: "p", from: late }])), 0);
  const kept = planOf([set], [], [output("0", next)]);
  assert.equal(
    kept.entries[0]?.steps.map((s) => s.kind),
    ["copy", "launch"],
  );
});
test("who reads the base of an update is moved before it", () => {
  const launches = [
    launch("make", "", [read(g), write(other)]),
    launch("set", "", [read(g), update(next, other)]),
    launch("use", "", [read(other), write(late)]),
  ];
  const plan = planOf(launches, [], [output("0", next), output("1", late)]);
  assert.equal(
    plan.entries[0]?.steps.map((s) => (s.kind === "launch" ? plan.kernels[s.launch.kernel]?.name : s.kind)),
    ["make", "use", "set"],
  );
});
test("stores can be exchanged, and a result keeps what its store held", () => {
  const swap = planOf(
    [],
    [
      { store: "p", from: g },
      { store: "g", from: p },
    ],
  );
  assert.is(copies(swap), 4);
  const old = planOf([launch("step", "", [pointwise(p), write(next)])], [{ store: "p", from: next }], [output("0", p)]);
  assert.equal(
    old.entries[0]?.steps.map((s) => s.kind),
    ["copy", "launch"],
  );
});
test("a dead input's memory serves a result of the same form only", () => {
  const make = launch("make", "", [read(g), write(other)]);
  const plan = planOf([make, launch("point", "", [pointwise(other), write(next)])], [], [output("0", next)]);
  assert.is(offset(plan, "other"), offset(plan, "next"));
  const bits = buffer("bits", [32], { dtype: "i32" });
  const cast = planOf([make, launch("cast", "", [pointwise(other), write(bits)])], [], [output("0", bits)]);
  assert.is.not(offset(cast, "other"), offset(cast, "bits"));
  const row = buffer("row", [1, 32]);
  const reshaped = planOf([make, launch("turn", "", [pointwise(other), write(row)])], [], [output("0", row)]);
  assert.is.not(offset(reshaped, "other"), offset(reshaped, "row"));
});

test("a store that is assigned to itself stays where it is: nothing is copied", () => {
  const x = ofStore(buffer("x", [4]));
  const sequence = { entry: "e", launches: [], assigns: [{ store: "x", from: x }], results: [] };
  assert.equal(planMemory([sequence], [storeOf(x)], options).entries[0]?.steps, []);
});
/** A launch of the kernel k, from these lines of a program. */
function launchOfK(to: VirtualBuffer, scratch: number, origins: readonly string[]): VirtualLaunch {
  const made = launch("k", "", [write(to)]);
  return { ...made, kernel: { ...made.kernel, scratch, origins } };
}
test("a kernel has the scratch memory that the most of its launches need, and the lines of all", () => {
  const [x, y] = [buffer("x", [4]), buffer("y", [4])];
  const results = [output("x", x), output("y", y)];
  for (const [first, second] of [
    [64, 16],
    [16, 64],
  ] as const) {
    const launches = [launchOfK(x, first, ["a.moe:1", "a.moe:2"]), launchOfK(y, second, ["a.moe:2", "a.moe:3"])];
    const { kernels } = planMemory([{ entry: "e", launches, assigns: [], results }], [], options);
    assert.equal(
      kernels.map(({ scratch, origins }) => [scratch, ...origins]),
      [[64, "a.moe:1", "a.moe:2", "a.moe:3"]],
    );
  }
});
test("arguments that begin at one place in a buffer are one buffer of the plan, of what is left from there", () => {
  const [all, x, y] = [buffer("all", [32]), buffer("x", [16]), buffer("y", [16])];
  const from = (to: VirtualBuffer, byteOffset: number): VirtualLaunch =>
    launch(to.name, "", [{ ...read(all), byteOffset }, write(to)]);
  const launches = [launch("make", "", [write(all)]), from(x, 64), from(y, 64), from(buffer("z", [16]), 4)];
  const results = [output("x", x), output("y", y)];
  const { buffers } = planMemory([{ entry: "e", launches, assigns: [], results }], [], options);
  const rest = buffers.filter((b) => b.of !== undefined).map(({ name, shape, bytes }) => ({ name, shape, bytes }));
  assert.equal(rest, [
    { name: "all + 64", shape: [16], bytes: 64 },
    { name: "all + 4", shape: [31], bytes: 124 },
  ]);
});
test("stores of any number of bytes begin at whole cache lines; one that no entry uses stands row by row", () => {
  const odd = [[3], [2, 3]].map((shape, i) => ofStore(buffer(`store${i}`, shape, { dtype: "bf16" })));
  const idle = { entry: "e", launches: [], assigns: [], results: [] };
  const { buffers } = planMemory(
    [idle],
    odd.map((b) => storeOf(b)),
    options,
  );
  assert.equal(
    buffers.map(({ offset, bytes, layout }) => [offset, bytes, layout.kind === "rows" && layout.pitch]),
    [
      [0, 6, 3],
      [64, 12, 3],
    ],
  );
  const endless = storeOf(ofStore(buffer("endless", [2 ** 52])));
  assert.throws(() => planMemory([idle], [endless], options), /no machine has them/);
});
test("a block goes into the smallest gap that holds it, among those that are in use at the same time", () => {
  const blocks = [
    { bytes: 512, first: 0, last: 0 },
    { bytes: 448, first: 0, last: 9 },
    { bytes: 384, first: 5, last: 9 },
    { bytes: 128, first: 5, last: 9 }, // the gap's rest
  ];
  const { offsets, bytes } = place(blocks.toReversed());
  assert.equal([...blocks.map((b) => offsets.get(b)), bytes], [0, 512, 0, 384, 960]);
  const gaps = [
    { bytes: 640, first: 0, last: 0 },
    { bytes: 576, first: 0, last: 9 },
    { bytes: 512, first: 0, last: 0 },
    { bytes: 448, first: 0, last: 9 },
    { bytes: 384, first: 5, last: 9 },
  ];
  const found = place(gaps).offsets;
  assert.equal(
    gaps.map((b) => found.get(b)),
    [0, 640, 1216, 1728, 1216],
  );
  const mebibyte = 2 ** 20;
  assert.equal(
    [1, mebibyte - 1, mebibyte].map((n) => placedBytes(n)),
    [64, mebibyte, mebibyte + 1600],
  );
  assert.equal(placedBytes(mebibyte, cudaGrain), mebibyte);
});
test("an empty buffer needs no launch that writes it", () => {
  const [none, y] = [buffer("none", [0]), buffer("y", [4])];
  const launches = [launch("k", "", [read(none), write(y)])];
  const plan = planMemory([{ entry: "e", launches, assigns: [], results: [output("y", y)] }], [], options);
  assert.is(plan.entries[0]?.steps.length, 1);
});
test.run();
