// Where a plan puts blocks, and what its bytes are for.
import { fail } from "node:assert";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { sameDescriptor } from "../../compiler/plan/alias.ts";
import { requireCountable, requireMemory, requireStores } from "../../compiler/plan/bytes.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { cudaGrain, place } from "../../compiler/plan/place.ts";
import type { Bytes } from "../../compiler/plan/plan.ts";
import { printPlan } from "../../compiler/plan/print.ts";
import type { Sequence, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { showBytes } from "../../compiler/show-bytes.ts";
import { prepareEntry } from "../../compiler/transform/prepare.ts";
import { buffer, launch, ofStore, part, pointwise, read, storeOf, write } from "../sequences.ts";

const test = suite("plan-bytes");
const options = { target: "host", header: "" };
const [p, next] = [ofStore(buffer("p", [32])), buffer("next", [32])];
const stores = [storeOf(p), storeOf(ofStore(buffer("g", [32])), "input")];
const output = (name: string, of: VirtualBuffer) => ({ role: "output" as const, name, buffer: of });

function problem(of: () => void): Problem {
  try {
    of();
  } catch (e) {
    if (e instanceof Problem) return e;
  }
  return fail("it does not fit");
}
const phase = (l: VirtualLaunch, phase: VirtualLaunch["phase"]): VirtualLaunch => ({ ...l, phase });
test("bytes by what they hold", () => {
  const [kept, scratch, gradient] = [buffer("kept", [16]), buffer("scratch", [16, 16]), buffer("gradient", [32])];
  const plan = planMemory(
    [
      {
        entry: "main",
        results: [],
        assigns: [{ store: "p", from: next }],
        launches: [
          phase(launch("a", "", [read(p), write(scratch)]), "forward"),
          phase(launch("b", "", [{ ...read(scratch), byteOffset: 64 }, write(kept)]), "forward"),
          phase(launch("c", "", [read(kept), write(gradient)]), "backward"),
          phase(launch("d", "", [pointwise(gradient), pointwise(p), write(next)]), "update"),
        ],
      },
    ],
    stores.map((store) => ({ ...store, saved: store.role === "parameter" })),
    options,
  );
  const { parameters, gradients, activations, arena } = plan.bytes;
  assert.equal(
    { parameters, gradients, activations, arena },
    { parameters: 128, gradients: 128, activations: 64, arena: 4096 },
  );
  const printed = printPlan(plan);
  assert.match(printed, /buffer kept: f32\[16\], rows of 16, at \d+, 64 B, steps 1 to 2/);
  assert.match(printed, /buffer scratch: .*, steps 0 to 1\n/); // where it begins, and at an offset
  assert.match(printed, /parameter p: .*128 B\n {2}input g: .*128 B, not saved\n/);
  const refused = (more: Partial<Bytes>): Problem =>
    problem(() => requireMemory({ ...plan, bytes: { ...plan.bytes, ...more } }, { bytes: 8191, sharing: 2 }));
  const counted = { ...plan, bytes: { ...plan.bytes, arena: 2 ** 60 } };
  assert.throws(
    () => requireCountable(counted),
    /^the plan needs 1050000 TiB and no machine has them; .*\n {2}scratch/,
  );
  assert.match(refused({}).message, /are free for each of 2 workers;(.*\n)+.*scratch: f32\[16, 16\], 1 KiB/);
  assert.not.match(refused({}).message, /scratch \+ 64/); // a part of another
  assert.match(refused({ activations: 2049 }).help, /^lower the batch or the length/);
  assert.match(refused({ activations: 2048, optimizer: 1793 }).help, /^lower the model's sizes/); // 128 are parameters, 128 gradients
  assert.match(refused({ activations: 2048, optimizer: 1792 }).help, /^lower the sizes of its inputs/);
  requireMemory(plan, { bytes: 8192, sharing: 2 });
  requireStores(stores, { bytes: 256 });
  const storesRefused = (bytes: number): Problem => problem(() => requireStores(stores, { bytes }, "begin here, or "));
  assert.match(
    storesRefused(127).message,
    /^the parameters alone need 128 B and 127 B are free; .*\n {2}p: f32\[32\], 128 B$/,
  );
  assert.match(storesRefused(127).help, /^begin here, or lower the model's sizes/);
  assert.match(
    storesRefused(255).message,
    /^parameters, states and inputs need 256 B and 255 B are free; .*\n {2}p: .*\n {2}g: f32\[32\], 128 B$/,
  );
  assert.match(storesRefused(255).help, /^lower the sizes of its inputs/);
  const caching = [...stores, storeOf(ofStore(buffer("keys", [1])), "state")];
  const cacheRefused = problem(() => requireStores(caching, { bytes: 259 }, "begin here, or "));
  assert.match(cacheRefused.help, /^begin here, or lower the model's sizes/, "most are parameters and states");
  assert.equal([0, 1023, 1024, 1536, 2 ** 31].map(showBytes), ["0 B", "1020 B", "1 KiB", "1.5 KiB", "2 GiB"]);
});
test("what is written in forward and backward, a gradient of two parameters, and sums over batches", () => {
  const [both, gradient] = [buffer("both", [2, 16]), buffer("gradient", [32])];
  const sums = ofStore(buffer("sums", [16]));
  const results = ["p", "q"].map((name) => ({ role: "gradient" as const, name, buffer: gradient }));
  const launches = [
    phase(launch("a", "", [part(both)]), "forward"),
    phase(launch("b", "", [part(both), read(sums)]), "backward"),
    phase(launch("c", "", [read(both), write(gradient)]), "backward"),
  ];
  const held = [...stores, storeOf(sums, "gradient")];
  const { bytes } = planMemory([{ entry: "main", results, assigns: [], launches }], held, options);
  assert.equal([bytes.activations, bytes.gradients], [128, 128 + 64]);
});
test("without gradients, activations are the temporaries at their most", () => {
  const made = buffer("made", [16, 16]);
  const init = phase(launch("init", "", [write(next)]), "backward");
  const sequences: Sequence[] = [
    { entry: "init", launches: [init], assigns: [{ store: "p", from: next }], results: [] },
    { entry: "one", launches: [launch("a", "", [read(p), write(made)])], assigns: [], results: [output("0", made)] },
  ];
  const large = buffer("large", [32, 16]);
  const prepared = { ...launch("copy", "", [write(large)]), phase: "forward" as const };
  sequences.push({ entry: prepareEntry, launches: [prepared], assigns: [], results: [output("0", large)] });
  const { gradients, activations } = planMemory(sequences, stores, options).bytes;
  assert.equal({ gradients, activations }, { gradients: 0, activations: 1024 });
});

test("what may take the place of a buffer has its type, shape, size and layout", () => {
  const [rows, panels] = [buffer("x", [4, 32]), buffer("x", [4, 32], { layout: { kind: "panels", width: 16 } })];
  const others: readonly (readonly [VirtualBuffer, Partial<VirtualBuffer>])[] = [
    [rows, { dtype: "i32" }],
    [rows, { bytes: 0 }],
    [rows, { shape: [32, 4] }],
    [rows, { layout: { kind: "rows", pitch: 48 } }],
    [rows, { layout: panels.layout }],
    [panels, { layout: { kind: "panels", width: 32 } }],
  ];
  for (const x of [rows, panels]) assert.ok(sameDescriptor(x, { ...x, name: "y", store: "y" }));
  for (const [x, change] of others) assert.not(sameDescriptor(x, { ...x, ...change }), JSON.stringify(change));
});
test("blocks are placed close to the most bytes alive at once", () => {
  const at = fc.tuple(fc.nat(99), fc.nat(20), fc.integer({ min: 1, max: 4096 }));
  let worst = 0;
  fc.assert(
    fc.property(fc.array(at, { minLength: 50, maxLength: 100 }), (list) => {
      const blocks = list.map(([first, length, lines]) => ({ bytes: lines * 64, first, last: first + length }));
      const alive = (t: number): number => blocks.reduce((n, b) => n + (b.first <= t && t <= b.last ? b.bytes : 0), 0);
      const least = Math.max(...blocks.map((b) => alive(b.first)));
      worst = Math.max(worst, place(blocks).bytes / least);
    }),
    { seed: 20261125, numRuns: 300 },
  );
  assert.ok(worst < 1.3, `${worst}`);
});
test("large blocks of whole pages do not begin alike in them", () => {
  const { offsets, bytes } = place([1, 2, 3, 4].map((i) => ({ bytes: i * 2 ** 20, first: 0, last: 1 })));
  const starts = [...offsets.values()].map((offset) => offset % 4096);
  assert.equal(new Set(starts).size, 4);
  assert.ok(bytes < 10.01 * 2 ** 20);
});
test("on CUDA stores and temporaries begin at 256 bytes, one after another", () => {
  const [made, also] = [buffer("made", [1, 33]), buffer("also", [2 ** 18])];
  const launches = [launch("a", "", [read(p), write(made), write(also)])];
  const sequences = [{ entry: "one", launches, assigns: [], results: [output("0", made), output("1", also)] }];
  const { buffers, bytes } = planMemory(sequences, stores, { ...options, grain: cudaGrain });
  assert.ok(buffers.length > stores.length + 1 && buffers.every(({ offset }) => offset % 256 === 0));
  const whole = buffers.reduce((sum, x) => sum + Math.ceil(x.bytes / 256) * 256, 0);
  assert.is(bytes.arena, Math.ceil(whole / 4096) * 4096);
});

test.run();
