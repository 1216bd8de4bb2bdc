// Which stores lie in panels, and why.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { choosePanels } from "../../compiler/lower/layout.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type EntryRequest, toGraphs } from "../../compiler/pipeline.ts";

const test = suite("panels-pass");

/** Names of stores in panels of 16. `accumulate`: batches that make a step. */
function chosen(text: string, entries: readonly EntryRequest[], accumulate = 1): string[] {
  const loaded = load({ name: "test.moe", text });
  requireValid(loaded);
  const { graphs, stores } = toGraphs(loaded, { sizes: {}, precision: "f32", entries, accumulate }, silentObserver());
  const panels = choosePanels(graphs, stores, 16);
  assert.ok([...panels.values()].every((width) => width === 16));
  return [...panels.keys()].toSorted();
}
const trained: readonly EntryRequest[] = [{ method: "train", name: "train", sizes: { N: 5 } }];
/** A model of one 32 x 48 parameter `w` (and `v`, 48 wide), whose loss is a sum. */
const model = (loss: string, optimizer = "AdamW()", more = ""): string => `
import { AdamW, Muon, Sgd } from "std/optim"
model M(D = 32, H = 48) {
  param w: f32[D, H] = 0.1
  ${more}
  train(x: float[N, D], y: float[N, H]) {
    loss l = sum(${loss})
    optimize with ${optimizer}
  }
}`;
const adam = ["w", "w.adam.m", "w.adam.v"];

test("a weight and its optimizer's state", () => assert.equal(chosen(model("y * (x @ w)"), trained), adam));
test("sums of gradients too", () => {
  const stores = chosen(model("y * (x @ w)"), trained, 2);
  assert.equal(stores, ["train/gradient/w", ...adam].toSorted());
});
test("a weight that is transposed is one by what the backward makes of it", () =>
  assert.equal(chosen(model("x * ((s * y) @ transpose(w, 0, 1))", "AdamW()", "param s: f32[H] = 1"), trained), adam));
test("a weight that is only transposed is not", () =>
  assert.equal(chosen(model("x * (y @ transpose(w, 0, 1))"), trained), []));
test("a weight that is computed from the parameter", () =>
  assert.equal(chosen(model("y * (x @ (w * 2))"), trained), adam));
test("not the left operand", () =>
  assert.equal(chosen(model("(w @ transpose(y, 0, 1)) * transpose(x, 0, 1)"), trained), []));
test("not what rows are taken from by an index", () => {
  const table = "y * (x @ w) + w[i32(x[0, 0])]";
  assert.equal(chosen(model(table), trained), []);
});
test("not what one axis of is summed", () => assert.equal(chosen(model("y * (x @ w) + sum(w, axis: 0)"), trained), []));
test("a norm over all of it may walk in any order", () =>
  assert.equal(chosen(model("y * (x @ w)) + sum(w * w"), trained), adam));
test("not a width that the panel does not divide", () => {
  const text = model("y * (x @ w)").replace("H = 48", "H = 40");
  assert.equal(chosen(text, trained), []);
});
test("an input lies as it comes, and so does what it is added to", () => {
  const text = model("y * (x @ (w + z))").replace("y: float[N, H]", "y: float[N, H], z: float[D, H]");
  assert.equal(chosen(text, trained), []);
});
test("Muon's momentum is multiplied by itself, its weight is not", () =>
  assert.equal(chosen(model("y * (x @ w)", "Muon()"), trained), ["w"]));
test("all graphs decide together", () => {
  const text = model("y * (x @ w)", "AdamW()", "forward(i: i32[N]) -> float[N, H] { return w[i] }");
  const both: EntryRequest[] = [...trained, { method: "forward", name: "forward", sizes: { N: 5 } }];
  assert.equal(chosen(text, trained), adam);
  assert.equal(chosen(text, both), []);
});
test("experts and layers: stacks of matrices", () => {
  const text = `
import { AdamW } from "std/optim"
import { Embedding, SwiGlu } from "std/nn"
import { MoE } from "std/moe"
import { TopKGate } from "std/gates"
layer Block(D, H) {
  moe: MoE(D, 2, 4, TopKGate(D, 4, 2), SwiGlu(D, H))
  forward(x: float[...S, D]) -> float[...S, D] { return x + moe(x) }
}
model M(D = 32, H = 48) {
  embed: Embedding(17, D)
  blocks: Block(D, H)[2]
  train(tokens: i32[N]) {
    let x = embed(tokens)
    for block in blocks { x = block(x) }
    loss l = sum(embed.logits(x))
    optimize with AdamW()
  }
}`;
  const stores = chosen(text, trained);
  assert.equal(
    stores.filter((s) => !s.includes(".adam.")),
    [0, 1].flatMap((i) => ["down", "gate", "up"].map((name) => `blocks.${i}.moe.experts.*.${name}.weight`)),
  );
  assert.is(stores.length, 3 * 6);
});
test.run();
