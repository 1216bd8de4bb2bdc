// Where collectives that overlap with computing begin, and where they are awaited; how memory and the verifier take that into account.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Bug } from "../../compiler/diagnostic.ts";
import { maxBytesInFlight } from "../../compiler/plan/in-flight.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import {
  type CollectiveOp,
  isBeside,
  type Phase,
  type Plan,
  type PlanKernel,
  type Step,
} from "../../compiler/plan/plan.ts";
import { printPlan } from "../../compiler/plan/print.ts";
import type { Sequence, VirtualArg, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { verifyPlan } from "../../compiler/plan/verify.ts";
import { kernelTimes, unknownLimits } from "../../runtime/measure/kernel-times.ts";
import { buffer, launch, ofStore, pointwise, read, storeOf, write } from "../sequences.ts";

const test = suite("overlap");
const given = ofStore(buffer("given", [32]));
const options = { target: "host", header: "" };

const collective = (name: CollectiveOp["name"], args: readonly VirtualArg[]): VirtualLaunch => ({
  ...launch(name, "", args),
  kernel: { name, dtype: "f32", workers: 2 },
});
/** A contraction of so many FLOPs. */
function product(name: string, args: readonly VirtualArg[], flops = 1e6, phase: Phase = "backward"): VirtualLaunch {
  const made = launch(name, "", args, 64);
  const kernel: PlanKernel = { ...(made.kernel as PlanKernel), schedule: { shape: "", choice: {} } };
  return { ...made, kernel, flops, phase };
}
interface Backward {
  /** Each layer exchanges rows before and after an expert, which has most of the FLOPs. */
  readonly experts?: boolean;
  /** FLOPs of another product that makes those rows, after the gradient. */
  readonly before?: number;
  /** Every gradient is used by a launch of its own, not all by one. */
  readonly apart?: boolean;
  /** A product follows the last gradient. */
  readonly more?: boolean;
  readonly columns?: number;
}
const next = (name: string, columns = 32): VirtualBuffer => buffer(name, [columns]);
/** A backward of so many layers, in each a product, a gradient and its sum, which are used in the end. */
function backward(
  layers: number,
  { experts = false, before = 0, apart = false, more = false, columns = 32 }: Backward = {},
): Sequence {
  const launches: VirtualLaunch[] = [];
  const made: VirtualBuffer[] = [];
  let x: VirtualBuffer = given;
  for (let i = 0; i < layers; i++) {
    const [y, slope, sum] = [next(`y${i}`), next(`slope${i}`, columns), next(`sum${i}`, columns)];
    launches.push(product(`product${i}`, [read(x), write(y)]));
    launches.push(product(`gradient${i}`, [read(y), write(slope)]));
    launches.push(collective("all_reduce", [pointwise(slope), write(sum)]));
    x = y;
    if (experts) {
      const [there, out, back] = [next(`there${i}`), next(`out${i}`), next(`back${i}`)];
      const sent = before > 0 ? next(`sent${i}`) : y;
      if (before > 0) launches.push(product(`before${i}`, [read(y), write(sent)], before));
      launches.push(collective("exchange", [read(sent), read(given), write(there)]));
      launches.push(product(`expert${i}`, [read(there), write(out)], 9e6));
      launches.push(collective("exchange", [read(out), read(given), write(back)]));
      x = back;
    }
    made.push(sum);
  }
  const end = next("end");
  if (more) launches.push(product("end", [read(x), write(end)]));
  const uses = apart ? made.map((sum) => [sum]) : [made];
  const used = uses.map((sums, i) => ({ sums, to: next(`used${i}`) }));
  for (const { sums, to } of used) launches.push(launch(`use_${to.name}`, "", [...sums.map(read), write(to)], 64));
  const results = [more ? end : x, ...used.map((u) => u.to)];
  return {
    entry: "main",
    launches,
    assigns: [],
    results: results.map((b) => ({ role: "output" as const, name: b.name, buffer: b })),
  };
}
const planned = (sequence: Sequence): Plan => planMemory([sequence], [storeOf(given)], options);
function nameOf(plan: Plan, step: Step): string {
  if (step.kind === "wait") return `wait for ${step.step}`;
  if (step.kind === "copy") return "copy";
  const name = step.kind === "launch" ? plan.kernels[step.launch.kernel]?.name : step.collective.op.name;
  return `${isBeside(step) ? "begin " : ""}${name}`;
}
const named = (plan: Plan): string => (plan.entries[0]?.steps ?? []).map((step) => nameOf(plan, step)).join(", ");

const onOneLine = (text: string): string => text.replaceAll("\n", " ");
/** Of a sum that is worth a message of its own. */
const large = { columns: 2 ** 17 };
test("a sum begins once its gradient is made, and is awaited by the next collective, or by who reads it; one that is read at once does not begin before", () => {
  const steps = `product0, gradient0, begin all_reduce,
product1, gradient1, begin all_reduce,
product2, gradient2, wait for 5, all_reduce, use_used0`;
  assert.is(named(planned(backward(3, large))), onOneLine(steps));
});
test("where no sum overlaps in the end, as all are one message, gradients stay where they were", () => {
  const [y, z, slopes, sums] = [next("y"), next("z"), [next("a"), next("b")], [next("c"), next("d")]];
  const launches = [
    product("product0", [read(given), write(y)]),
    product("product1", [read(y), write(z)]),
    ...slopes.map((slope, i) => product(`gradient${i}`, [read(i === 0 ? y : z), write(slope)])),
    ...slopes.map((slope, i) => collective("all_reduce", [pointwise(slope), ...sums.slice(i, i + 1).map(write)])),
  ];
  const results = [z, ...sums].map((b) => ({ role: "output" as const, name: b.name, buffer: b }));
  const steps = "product0, product1, gradient0, gradient1, all_reduce";
  assert.is(named(planned({ entry: "main", launches, assigns: [], results })), steps);
});
test("between exchanges a sum begins where there is more to compute until the next one", () => {
  const steps = `product0, exchange, gradient0, begin all_reduce, expert0, wait for 3, exchange,
product1, exchange, gradient1, begin all_reduce, expert1, wait for 10, exchange, use_used0`;
  assert.is(named(planned(backward(2, { ...large, experts: true }))), onOneLine(steps));
});
test("on GPUs a sum begins before an exchange, if there is more to compute until then than after it", () => {
  const [later, sooner] = [8e6, 1e7].map((before) => {
    const sequence = backward(1, { ...large, experts: true, before, more: true });
    return named(planMemory([sequence], [storeOf(given)], { target: "cuda", header: "" }));
  });
  assert.is(
    later,
    "product0, gradient0, before0, exchange, begin all_reduce, expert0, wait for 4, exchange, use_used0, end",
  );
  assert.is(
    sooner,
    "product0, gradient0, begin all_reduce, before0, wait for 2, exchange, use_used0, expert0, exchange, end",
  );
});
/** A layer of experts with a gradient, of so many FLOPs, that nothing but the end needs; `gate`: a sum stands before what needs the rows. */
function experts(flops: number, { gate = false } = {}): Sequence {
  const [x, there, out, slope] = [next("x"), next("there"), next("out"), next("slope")];
  const [load, sum, back, end] = [next("load"), next("sum"), next("back"), next("end")];
  const launches = [
    product("before", [read(given), write(x)]),
    collective("exchange", [read(x), read(given), write(there)]),
    product("expert", [read(there), write(out)]),
    product("gradient", [read(there), write(slope)], flops),
    ...(gate ? [launch("load", "", [read(given), write(load)], 64)] : []),
    ...(gate ? [collective("all_reduce", [pointwise(load), write(sum)])] : []),
    collective("exchange", [read(out), read(given), write(back)]),
    product("after", [read(back), ...(gate ? [read(sum)] : []), write(end)]),
  ];
  const results = [slope, end].map((b) => ({ role: "output" as const, name: b.name, buffer: b }));
  return { entry: "main", launches, assigns: [], results };
}
test("rows go back while what does not need them is computed, if that takes long enough", () => {
  assert.is(named(planned(experts(9e6))), "before, exchange, expert, begin exchange, gradient, wait for 3, after");
  assert.is(named(planned(experts(1e6))), "before, exchange, expert, gradient, exchange, after");
});
test("what needs a sum and rows goes once both are awaited anyway", () => {
  const [slope, sum] = [next("slope", 2 ** 17), next("sum", 2 ** 17)];
  const [x, y, z, out] = [next("x"), next("y"), next("z"), next("out")];
  const [first, second, used, end] = [next("first"), next("second"), next("used"), next("end")];
  const launches = [
    product("before", [read(given), write(x)]),
    collective("exchange", [read(x), read(given), write(first)]),
    product("gradient", [read(given), write(slope)], 9e6),
    collective("all_reduce", [pointwise(slope), write(sum)]),
    product("between", [read(first), write(y)]),
    collective("exchange", [read(y), read(given), write(second)]),
    launch("use", "", [read(sum), read(second), write(used)], 64),
    product("beside", [read(y), write(z)], 9e6),
    product("expert", [read(second), write(out)]),
    product("after", [read(out), write(end)]),
  ];
  const results = [used, z, end].map((b) => ({ role: "output" as const, name: b.name, buffer: b }));
  const steps =
    "before, begin exchange, gradient, begin all_reduce, wait for 1, between, begin exchange, beside, wait for 6, expert, use, after";
  assert.is(named(planned({ entry: "main", launches, assigns: [], results })), steps);
});
test("a collective of the first queue is not made before rows have come back, since it would wait for them", () => {
  assert.is(
    named(planned(experts(9e6, { gate: true }))),
    "before, exchange, load, expert, begin exchange, gradient, wait for 4, all_reduce, after",
  );
});
test("on GPUs rows are waited for at once", () => {
  const plan = planMemory([experts(9e6)], [storeOf(given)], { target: "cuda", header: "" });
  assert.is(named(plan), "before, exchange, expert, gradient, exchange, after");
});
test("a sum of which a product of forward or backward is made is awaited at once, that of an update's product is not", () => {
  const [slope, sum, out, beside] = [
    buffer("slope", [32]),
    buffer("sum", [32]),
    buffer("out", [32]),
    buffer("b", [32]),
  ];
  const of = (phase: Phase): string => {
    const launches = [
      product("make", [read(given), write(slope)]),
      collective("all_reduce", [pointwise(slope), write(sum)]),
      product("use", [read(sum), write(out)], 1e6, phase),
      product("other", [read(given), write(beside)]),
    ];
    const results = [out, beside].map((b) => ({ role: "output" as const, name: b.name, buffer: b }));
    return named(planned({ entry: "main", launches, assigns: [], results }));
  };
  assert.is(of("backward"), "make, all_reduce, use, other");
  assert.is(of("update"), "make, begin all_reduce, other, wait for 1, use");
});
test("where there are several streams, a kernel that adds up what is brought, and is sent on, is beside too; on the host it is not", () => {
  const [slope, parts, sum, all, out] = ["slope", "parts", "sum", "all", "out"].map((name) => buffer(name, [32])) as [
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
  ];
  const launches = [
    product("make", [read(given), write(slope)]),
    collective("all_to_all", [read(slope), write(parts)]),
    launch("add", "", [read(parts), write(sum)], 64),
    collective("all_gather", [read(sum), write(all)]),
    product("other", [read(given), write(out)]),
  ];
  const results = [all, out].map((b) => ({ role: "output" as const, name: b.name, buffer: b }));
  const of = (target: string): string =>
    named(planMemory([{ entry: "main", launches, assigns: [], results }], [storeOf(given)], { target, header: "" }));
  assert.is(of("cuda"), "make, begin all_to_all, begin add, begin all_gather, other, wait for 3");
  assert.is(of("host"), "make, begin all_to_all, other, wait for 1, add, all_gather");
});
test("of more bytes than may be in flight the oldest sums are awaited, and used then", () => {
  const columns = maxBytesInFlight / 16; // operand and result are half of what may be in flight
  const steps = `product0, gradient0, begin all_reduce, product1, gradient1, begin all_reduce,
product2, gradient2, begin all_reduce, wait for 2, use_used0,
product3, gradient3, begin all_reduce, wait for 5, use_used1, wait for 8, use_used2, wait for 13, use_used3`;
  assert.is(named(planned(backward(4, { apart: true, columns }))), onOneLine(steps));
});
test("memory of what is in flight is nobody else's: a plan with the wait later, or without it, is refused", () => {
  const sequence = backward(3, { ...large, more: true });
  const plan = planned(sequence);
  const [entry] = plan.entries;
  assert.ok(entry);
  const changed = (steps: readonly Step[]) => (): void =>
    verifyPlan({ ...plan, entries: [{ ...entry, steps }] }, [sequence]);
  changed(entry.steps)();
  const waits = entry.steps.filter((s) => s.kind === "wait");
  const others = entry.steps.filter((s) => s.kind !== "wait");
  assert.throws(changed([...others, ...waits]), /use_used0 uses sum0 before all_reduce, which uses sum0, is awaited/);
  assert.throws(changed(others), /use_used0 uses sum0 before all_reduce, which uses sum0, is awaited/);
  assert.throws(changed(others.slice(0, -1)), /main ends before all_reduce is awaited/);
  assert.throws(changed([...waits, ...others]), /main waits for step 8, which is not in flight/);
  const at = plan.buffers.find((b) => b.name === "slope0")?.offset ?? -1;
  const moved = { ...plan, buffers: plan.buffers.map((b) => (b.name === "y1" ? { ...b, offset: at } : b)) };
  assert.throws(
    () => verifyPlan(moved, [sequence]),
    (error: unknown) =>
      error instanceof Bug &&
      error.message.startsWith("product1 uses y1 before all_reduce, which uses slope0, is awaited"),
  );
});
test("a collective of the first queue is not made while others are in flight: workers would not make them in one order", () => {
  const sequence = backward(3, large);
  const plan = planned(sequence);
  const entries = plan.entries.map((entry) => ({ ...entry, steps: entry.steps.filter((s) => s.kind !== "wait") }));
  assert.throws(() => verifyPlan({ ...plan, entries }, [sequence]), /all_reduce is made before all_reduce is awaited/);
});
test("what is in flight is not copied", () => {
  const sequence = backward(3, large);
  const plan = planned(sequence);
  const at = (name: string): number => plan.buffers.findIndex((b) => b.name === name);
  const copy: Step = { kind: "copy", from: at("sum0"), to: at("sum1") };
  const entries = plan.entries.map((entry) => ({
    ...entry,
    steps: entry.steps.flatMap((s, i) =>
      i === 2 ? [s, copy] : s.kind === "wait" ? [{ ...s, step: s.step + 1 }] : [s],
    ),
  }));
  assert.throws(() => verifyPlan({ ...plan, entries }, [sequence]), /a copy uses sum0 before all_reduce/);
});
/** A chain of products, each by what is gathered of a store of so many columns; from the second on of a copy of it. */
function gathering(layers: number, columns: number): Plan {
  const launches: VirtualLaunch[] = [];
  const stores = Array.from({ length: layers }, (_, i) => ofStore(next(`weight${i}`, columns)));
  let x: VirtualBuffer = given;
  for (const [i, weight] of stores.entries()) {
    const [copy, whole, y] = [next(`copy${i}`, columns), next(`whole${i}`, 2 * columns), next(`y${i}`)];
    if (i > 0) launches.push(launch(`copy${i}`, "", [read(weight), write(copy)], 64));
    launches.push(collective("all_gather", [read(i > 0 ? copy : weight), write(whole)]));
    launches.push(product(`product${i}`, [read(x), read(whole), write(y)]));
    x = y;
  }
  const results = [{ role: "output" as const, name: x.name, buffer: x }];
  return planMemory(
    [{ entry: "main", launches, assigns: [], results }],
    [given, ...stores].map((s) => storeOf(s)),
    options,
  );
}
test("a gather of a store, or of its copy, begins while the product before the one that reads it is made; of small ones several", () => {
  const large = `begin all_gather, copy1, begin all_gather, wait for 0, product0, copy2, begin all_gather, wait for 2, product1,
copy3, begin all_gather, wait for 6, product2, wait for 10, product3`;
  assert.is(named(gathering(4, 2 ** 20)), onOneLine(large));
  const small = `begin all_gather, copy1, begin all_gather, copy2, begin all_gather, copy3, begin all_gather, wait for 0, product0,
wait for 2, product1, wait for 4, product2, wait for 6, product3`;
  assert.is(named(gathering(4, 2 ** 17)), onOneLine(small));
});
test("gathers of stores that are results are made, though no launch reads them", () => {
  const weights = [0, 1, 2, 3].map((i) => ofStore(next(`weight${i}`, 2 ** 20)));
  const wholes = weights.map((_, i) => next(`whole${i}`, 2 ** 21));
  const gathers = weights.map((from, i) => collective("all_gather", [read(from), write(wholes[i] ?? given)]));
  const [x, y] = [next("x"), next("y")];
  const launches = [
    ...gathers,
    product("product0", [read(given), write(x)]),
    product("product1", [read(x), read(wholes[0] ?? given), write(y)]),
  ];
  const results = [...wholes.slice(1), y].map((from) => ({ role: "output" as const, name: from.name, buffer: from }));
  const stores = [given, ...weights].map((s) => storeOf(s));
  const steps =
    "begin all_gather, product0, begin all_gather, wait for 0, product1, wait for 2, all_gather, all_gather";
  assert.is(named(planMemory([{ entry: "main", launches, assigns: [], results }], stores, options)), steps);
});
test("a copy that is gathered goes before whatever else reads it", () => {
  const weights = [0, 1].map((i) => ofStore(next(`weight${i}`, 2 ** 20))) as [VirtualBuffer, VirtualBuffer];
  const [copy, one, other] = [next("copy", 2 ** 20), next("one", 2 ** 21), next("other", 2 ** 21)];
  const [x, y, z] = [next("x"), next("y"), next("z")];
  const launches = [
    launch("copy", "", [read(weights[1]), write(copy)], 64),
    product("product0", [read(given), read(copy), write(x)]),
    collective("all_gather", [read(weights[0]), write(one)]),
    product("product1", [read(x), read(one), write(y)]),
    collective("all_gather", [read(copy), write(other)]),
    product("product2", [read(y), read(other), write(z)]),
  ];
  const results = [{ role: "output" as const, name: z.name, buffer: z }];
  const stores = [given, ...weights].map((s) => storeOf(s));
  const steps = "copy, begin all_gather, begin all_gather, product0, wait for 2, product1, product2";
  assert.is(named(planMemory([{ entry: "main", launches, assigns: [], results }], stores, options)), steps);
});
test("terms are added up once the message that brings them has landed, which releases them, not at the end", () => {
  const [slope, terms, sum] = [next("slope", 2 ** 17), next("terms", 2 ** 17), next("sum", 2 ** 16)];
  const [last, end] = [next("last"), next("end")];
  const weights = [0, 1, 2].map((i) => ofStore(next(`weight${i}`, 2 ** 20)));
  const launches = [
    product("gradient", [read(given), write(slope)]),
    collective("all_to_all", [read(slope), write(terms)]),
  ];
  let x: VirtualBuffer = given;
  for (const [i, weight] of weights.entries()) {
    const [whole, y] = [next(`whole${i}`, 2 ** 21), next(`y${i}`)];
    launches.push(collective("all_gather", [read(weight), write(whole)]));
    launches.push(product(`product${i}`, [read(x), read(whole), write(y)]));
    x = y;
  }
  launches.push(product("last", [read(x), write(last)]));
  launches.push(launch("add", "", [read(terms), write(sum)], 64));
  launches.push(launch("step", "", [read(sum), read(last), write(end)], 64));
  const results = [{ role: "output" as const, name: end.name, buffer: end }];
  const stores = [given, ...weights].map((s) => storeOf(s));
  const steps = `begin all_gather, gradient, begin all_gather, begin all_to_all, wait for 0, product0,
begin all_gather, wait for 2, product1, wait for 6, product2, add, last, step`;
  assert.is(named(planMemory([{ entry: "main", launches, assigns: [], results }], stores, options)), onOneLine(steps));
});
test("plans show what is begun and what is awaited, and that operands live until then; a profile has the time that is waited, and no work in it", () => {
  const plan = planned(backward(2, { ...large, experts: true }));
  const text = printPlan(plan);
  assert.match(text, /\n {2}3 begin all_reduce\(slope0, sum0\), all workers\n/);
  assert.match(text, /\n {2}5 wait for 3\n/);
  assert.match(text, /\n {2}buffer slope0: .*, steps 2 to 5\n/);
  assert.match(text, /\n {2}buffer sum0: .*, steps 3 to 14\n/);
  const [entry] = plan.entries;
  assert.ok(entry);
  const seconds = Float64Array.from(entry.steps, (_, i) => i + 1);
  const rows = kernelTimes(plan, entry, { wall: seconds, busy: seconds }, unknownLimits);
  const [begun, awaited] = [rows[3], rows[5]];
  assert.equal([begun?.kernel, begun?.bytes], ["all_reduce", 0]);
  assert.equal(
    [awaited?.kernel, awaited?.seconds, awaited?.busySeconds, awaited?.bytes],
    ["wait for all_reduce", 6, 6, 0],
  );
});
test.run();
