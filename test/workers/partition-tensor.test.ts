// Workers that share the matrices outside experts: what they compute, what each has, and what they tell one another.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Loaded, load } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Store } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type BuildRequest, toGraphs } from "../../compiler/pipeline.ts";
import { count, dims } from "../../compiler/types/type.ts";
import { figuresOf } from "../../runtime/figures.ts";
import { compare, shown } from "./compare-workers.ts";

const test = suite("partition-tensor");

/** A dense language model; `attention` and `feed` are layers of D. */
const model = (attention: string, feed = "SwiGlu(D, 8)", head = "Linear(D, V)"): Loaded =>
  load({
    name: "dense.moe",
    text: `import { Embedding, Linear, Mlp, RmsNorm, SwiGlu, silu } from "std/nn"
       import { Attention, LatentAttention } from "std/attention"
       import { SelfAttention } from "std/models/gpt"
       import { DeltaNet } from "std/delta"
       import { Mamba } from "std/mamba"
       import { ShortConvolution } from "std/convolution"
       import { KimiDeltaAttention } from "std/kda"
       import { Block } from "std/models/decoder"
       import { MoE, SharedMoE } from "std/moe"
       import { TopKGate } from "std/gates"
       import { cross_entropy } from "std/loss"
       import { AdamW } from "std/optim"
       import { newest, sample } from "std/sample"
       model Dense(V = 10, D = 8, L = 2, Context = 8, feed: float[...S, D] -> float[...S, D] = ${feed}) {
         embed: Embedding(V, D)
         blocks: Layer(D, ${attention}, feed)[L]
         norm: RmsNorm(D)
         head: ${head}
         hidden(tokens: i32[B, T], at: i32[B, T]) -> float[B, T, D] {
           let x = embed(tokens)
           for block in blocks { x = block(x, at) }
           return norm(x)
         }
         train(tokens: i32[B, T], targets: i32[B, T]) {
           let at: i32[B, T] = range(T)
           loss language = cross_entropy(head(hidden(tokens, at)), targets)
           optimize with AdamW(lr: 0.1)
         }
         generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] {
           return sample(head(newest(hidden(tokens, at), at)), temperature)
         }
       }
       layer Fused(D, H) {
         both: Linear(D, 2 * H, biased: true)
         down: Linear(H, D)
         forward(x: float[...S, D]) -> float[...S, D] {
           let y = both(x)
           return down(silu(y[..., :H]) * y[..., H:])
         }
       }
       layer Short(D) {
         short: ShortConvolution(D)
         forward(x: float[B, T, D], at: i32[B, T]) -> float[B, T, D] { return short(x, at) }
       }
       layer Layer(D, attention: (float[B, T, D], i32[B, T]) -> float[B, T, D], feed: float[...S, D] -> float[...S, D]) {
         norm1: RmsNorm(D)
         attention: attention
         norm2: RmsNorm(D)
         feed: feed
         forward(x: float[B, T, D], at: i32[B, T]) -> float[B, T, D] {
           let y = x + attention(norm1(x), at)
           return y + feed(norm2(y))
         }
       }`,
  });
const grouped = "Attention(D, 4, 2, A: 4, Context: Context, biased: true, normed: true)";
const training = (B: number) => [{ method: "train", name: "train", sizes: { B, T: 3 } }];
const generating = (B: number) => [1, 3].map((T) => ({ method: "generate", name: `generate:${T}`, sizes: { B, T } }));
function graphsOf(program: Loaded, entries: BuildRequest["entries"], more: Partial<BuildRequest> = {}) {
  const request = { sizes: {}, entries, precision: "f32", workers: 2, tensorParallel: 2, ...more } as const;
  return toGraphs(program, request, silentObserver());
}
/** Which axis of each parameter of the first block, and outside blocks, is shared. */
const sharedAxes = (stores: readonly Store[]): Record<string, number> =>
  Object.fromEntries(
    stores.flatMap(({ name, role, shards }): [string, number][] =>
      role === "parameter" && shards && !name.startsWith("blocks.1")
        ? [[name.replace("blocks.0.", "").replace(".weight", ""), shards[0]?.axis ?? -1]]
        : [],
    ),
  );
/** Names and shapes of the collectives of an entry, each with how often it occurs. */
function told(entry: string, { graphs }: ReturnType<typeof graphsOf>): Record<string, number> {
  const found: Record<string, number> = {};
  for (const g of graphs.filter((graph) => graph.name === entry))
    for (const { op, results } of nodesOf(g).filter((n) => n.op.lower === "collective")) {
      if (results.every((r) => r.type.shape.length === 0)) continue; // for the norm of all gradients: one message of the plan
      const what = `${op.name} ${results.map((r) => dims(r.type).join(" ")).join()}`;
      found[what] = (found[what] ?? 0) + 1;
    }
  return found;
}

const attentions: Readonly<Record<string, string>> = {
  "groups of heads": grouped,
  "one group": "Attention(D, 4, 1, A: 2, Context: Context)",
  "a window": "Attention(D, 2, Context: Context, window: 2)",
  sinks: "Attention(D, 2, Context: Context, sunk: true, sloped: true)",
  latents: "LatentAttention(D, 2, 4, 4, 4, 2, 4, Context)",
  "queries, keys and values of one matrix": "SelfAttention(D, 2, Context)",
  "keys and values that are not as wide": "DeltaNet(D, 2, 4, 3, 2, Chunk: 2)",
  "a state of channels": "Mamba(D, 4, 3, 2, Chunk: 2)",
  "a short convolution": "Short(D)",
};
const oneLayer = { L: 1, V: 12 };
for (const [what, attention] of Object.entries(attentions))
  test(`training and generating with ${what}`, () => {
    const program = model(attention);
    for (const entries of [training(2), generating(2)])
      compare({ program, request: { sizes: oneLayer, entries }, workers: 2, tensorParallel: 2 });
  });
test("training and generating by groups that share the batch, and the optimizer's state", () => {
  const program = model(grouped);
  const sharing = { workers: 4, tensorParallel: 2, shardOptimizer: true };
  for (const entries of [training(2), generating(3)])
    compare({ program, request: { sizes: oneLayer, entries }, ...sharing });
});
test("groups that share the batch divide parts of matrices once more, those in pieces along the same axis too", () => {
  const sharing = { workers: 4, tensorParallel: 2, shardParameters: true };
  const program = model("SelfAttention(D, 2, Context)", "Fused(D, 8)");
  compare({ program, request: { sizes: oneLayer, entries: training(2) }, ...sharing });
  const odd = model("Attention(D, 3, A: 4, Context: Context)", "Fused(D, 8)"); // two groups cannot divide 9 rows
  compare({ program: odd, request: { sizes: { ...oneLayer, D: 9 }, entries: training(2) }, ...sharing });
});
const alone = "MoE(D, 2, 4, TopKGate(D, 4, 2), SwiGlu(D, 6))";
const beside = "SharedMoE(D, 2, 4, TopKGate(D, 4, 2), SwiGlu(D, 6), SwiGlu(D, 4))";
const three = "MoE(D, 2, 3, TopKGate(D, 3, 2), SwiGlu(D, 6))";
for (const [what, feed, B, sharing] of [
  ["experts", alone, 1, { workers: 4, tensorParallel: 4 }],
  ["experts, rows of which are sent", alone, 4, { workers: 4, tensorParallel: 2, room: 1.5 }],
  ["experts that the groups cannot divide", three, 2, { workers: 4, tensorParallel: 2 }],
  ["experts that two pairs of groups each have", alone, 4, { workers: 8, tensorParallel: 2, expertParallel: 2 }],
  ["experts beside one of all", beside, 2, { workers: 4, tensorParallel: 2, expertParallel: 1 }],
] as const)
  test(`${what}, by ${shown(sharing)}`, () => {
    const program = model("Attention(D, 4, Context: Context)", feed);
    const limits = { sharedRows: -Infinity };
    compare({ program, request: { sizes: oneLayer, entries: training(B), limits }, ...sharing });
    compare({ program, request: { sizes: oneLayer, entries: generating(B).slice(0, 1) }, ...sharing });
  });

test("columns where all have what is multiplied, then rows; heads, biases and what is stored of them follow", () => {
  const { stores } = graphsOf(model(grouped, "Mlp(D, 8)"), training(3));
  assert.equal(sharedAxes(stores), {
    embed: 0,
    "attention.query": 1,
    "attention.query.bias": 0,
    "attention.key": 1,
    "attention.key.bias": 0,
    "attention.value": 1,
    "attention.value.bias": 0,
    "attention.output": 0,
    "feed.up": 1,
    "feed.up.bias": 0,
    "feed.down": 0,
    head: 1,
  });
  const parameters = new Map(stores.flatMap((s) => (s.role === "parameter" ? [[s.name, s] as const] : [])));
  for (const { role, of = "", shards } of stores)
    if (role === "optimizer") assert.equal(shards, parameters.get(of)?.shards);
});
test("two sums a layer forward and two backward, one for the embedding and one for the head, and a few numbers a row for the loss", () => {
  assert.equal(told("train", graphsOf(model(grouped), training(3))), {
    "all_reduce 3 3 8": 1,
    "all_reduce 9 8": 9,
    "all_reduce 3 3": 2,
    "all_reduce 3 3 1": 1,
    "all_reduce 4": 4, // norms of heads learn from all of them
  });
});
test("a matrix that slices cut is shared in their pieces, with its bias; and nothing more is told", () => {
  const { stores, ...made } = graphsOf(model("SelfAttention(D, 2, Context)", "Fused(D, 8)"), training(3));
  const pieces = Object.fromEntries(
    stores.flatMap(({ name, role, shards }) =>
      role === "parameter" && shards?.[0]?.pieces && name.startsWith("blocks.0") ? [[name.slice(9), shards]] : [],
    ),
  );
  const [three, two] = [
    [1, 1, 1],
    [1, 1],
  ].map((p) => ({ parts: 2, stride: 1, pieces: p }));
  assert.equal(pieces, {
    "attention.input.weight": [{ axis: 1, ...three }],
    "attention.input.bias": [{ axis: 0, ...three }],
    "feed.both.weight": [{ axis: 1, ...two }],
    "feed.both.bias": [{ axis: 0, ...two }],
  });
  assert.equal(told("train", { stores, ...made }), {
    "all_reduce 3 3 8": 1,
    "all_reduce 9 8": 9,
    "all_reduce 3 3": 2,
    "all_reduce 3 3 1": 1,
  });
});
for (const { what, loss, pieces } of [
  {
    what: "what a slice is cut from may be a slice",
    loss: "down(y[..., :H] * tanh(y[..., H:])[..., :H] * y[..., H:][..., H:])",
    pieces: { "all.weight": [1, 1, 1], "down.weight": undefined },
  },
  {
    what: "what is joined with pieces has not theirs",
    loss: "last(concat([tanh(y), more(x)], axis: -1)) * down(y[..., :H] * y[..., H:2 * H] * y[..., 2 * H:])",
    pieces: {
      "all.weight": [1, 1, 1],
      "more.weight": undefined,
      "last.weight": [1, 1, 1, 3],
      "down.weight": undefined,
    },
  },
  {
    what: "running sums of a parameter, along an axis that is not in parts, are in parts",
    loss: "down(y[..., :H] * cumsum(rate, axis: 0)[1])",
    pieces: { "all.weight": [1, 2], rate: undefined, "down.weight": undefined },
  },
  {
    what: "pieces of an axis that is not shared after all are not those of another",
    loss: "down(z[:2] * z[2:]) * down(z[1])",
    pieces: { several: undefined, "down.weight": undefined },
  },
])
  test(what, () => {
    const program = load({
      name: "sliced.moe",
      text: `import { Linear } from "std/nn"
         import { Sgd } from "std/optim"
         model Sliced(D = 4, H = 4) {
           all: Linear(D, 3 * H)
           more: Linear(D, 3 * H)
           param rate: f32[2, H] = 1
           param several: f32[4, D, H] = 1
           last: Linear(6 * H, D)
           down: Linear(H, D)
           train(x: f32[B, T, D]) {
             let y = all(x)
             let z = (f32(range(4))[:, new, new] * x[0]) @ several
             loss square = mean((${loss}) ** 2)
             optimize with Sgd(lr: 0.1)
           }
         }`,
    });
    const entries = training(2);
    const { stores } = graphsOf(program, entries);
    const shared = stores.flatMap(({ name, role, shards }) =>
      role === "parameter" && shards ? [[name, shards[0]?.pieces]] : [],
    );
    assert.equal(Object.fromEntries(shared), pieces);
    compare({ program, request: { sizes: {}, entries }, workers: 2, tensorParallel: 2 });
  });
test("no worker makes more of a shared matrix's gradient than it has", () => {
  const { graphs, stores } = graphsOf(model(grouped), training(3), { sizes: { V: 22 } });
  const found = stores.filter((s) => s.shards).map((s) => dims(s.type).reduce((n, x) => n * x));
  assert.ok(found.length > 0);
  const made = graphs.filter((g) => g.name === "train").flatMap(nodesOf);
  assert.ok(made.every((n) => n.results.every((r) => count(r.type) !== 22 * 8)));
});
test("random numbers of hidden units are those of one worker, and each draws them for its own rows and units alone", () => {
  const program = load({
    name: "dropout.moe",
    text: `import { Linear, dropout } from "std/nn"
       import { AdamW } from "std/optim"
       model M(D, H) {
         up: Linear(D, H)
         down: Linear(H, D)
         train(x: f32[B, T, D]) {
           loss square = mean(down(dropout(tanh(up(x)), 0.5)) ** 2)
           optimize with AdamW(lr: 0.1)
         }
       }`,
  });
  const [sizes, entries] = [{ D: 4, H: 6 }, training(4)];
  const sharing = { workers: 4, tensorParallel: 2 };
  compare({ program, request: { sizes, entries }, ...sharing });
  const step = graphsOf(program, entries, { sizes, ...sharing }).graphs.filter((g) => g.name === "train");
  const drawn = step.flatMap(nodesOf).filter(({ op }) => op.name === "random" || op.name === "gather");
  assert.equal(
    drawn.map(({ op, results }) => [op.name, ...results.map((r) => count(r.type))]),
    [["random", (4 * 3 * 6) / 4]],
  );
});
test("rows of a table in parts are summed once: as copies in bf16, or as f32 where these are needed too", () => {
  for (const [y, dtype] of [
    ["up(float(x))", "bf16"],
    ["x * up(float(x))", "f32"],
  ]) {
    const program = load({
      name: "rows.moe",
      text: `import { Linear } from "std/nn"
        model Rows(V = 6, D = 8) {
          param table: f32[V, D] = 0
          up: Linear(D, D)
          rows(tokens: i32[N]) -> float[N, D] {
            let x = table[tokens]
            return float(${y})
          }
        }`,
    });
    const entries = [{ method: "rows", name: "rows", sizes: { N: 3 } }];
    const request = { sizes: {}, entries, precision: "bf16", workers: 2, tensorParallel: 2 } as const;
    const nodes = toGraphs(program, request, silentObserver()).graphs.flatMap(nodesOf);
    const sums = nodes.filter((n) => n.op.name === "all_reduce" && n.args.some((a) => a.node.op.name === "gather"));
    assert.equal(
      sums.flatMap((n) => n.results.map((r) => r.type.dtype)),
      [dtype],
    );
  }
});
test("of latents and heads that meet, the larger matrix is shared: that of the heads", () => {
  const program = model("LatentAttention(D, 2, 0, 4, 4, 4, 4, Context)");
  const entries = generating(2);
  const { stores } = graphsOf(program, entries, { sizes: oneLayer });
  const attention = Object.entries(sharedAxes(stores)).filter(([name]) => name.startsWith("attention."));
  assert.equal(attention, [
    ["attention.query", 1],
    ["attention.up", 1],
    ["attention.output", 0],
  ]);
  compare({ program, request: { sizes: oneLayer, entries }, workers: 2, tensorParallel: 2 });
});
test("numbers that are added to themselves again and again are looked at once", () => {
  const program = load({
    name: "doubled.moe",
    text: `import { Linear } from "std/nn"
       import { Sgd } from "std/optim"
       model M(D, H) {
         up: Linear(D, H)
         down: Linear(H, D)
         train(x: f32[B, T, D]) {
           let scale = f32(range(H))
           for i in 0:60 { scale = scale + scale }
           loss square = mean(down(up(x) * scale))
           optimize with Sgd(lr: 0.1)
         }
       }`,
  });
  const { stores } = graphsOf(program, training(4), { sizes: { D: 4, H: 6 }, workers: 2, tensorParallel: 2 });
  assert.equal(sharedAxes(stores), { up: 1, down: 0 });
});
test("what a token may be follows from the whole vocabulary", () => {
  const program = model(grouped);
  for (const entries of [training(2), generating(1)]) {
    const [one, two] = [1, 2].map((tensorParallel) => figuresOf(graphsOf(program, entries, { tensorParallel }), null));
    assert.equal(two?.choices, one?.choices);
    assert.is(Object.values(two?.choices ?? {})[0], 10);
    assert.is(two?.trained, one?.trained);
  }
});
test("generating, keys and values are of a worker's own heads; a head whose logits are few is shared, a gate is not", () => {
  const program = model(grouped);
  const { stores } = graphsOf(program, generating(1));
  const [whole, half] = [1, 2].map((tensorParallel) =>
    graphsOf(program, generating(1), { tensorParallel })
      .stores.filter((s) => s.role === "state")
      .reduce((n, s) => n + count(s.type), 0),
  );
  assert.is(half, (whole ?? 0) / 2);
  assert.is(sharedAxes(stores)["head"], undefined);
  const wide = graphsOf(model(grouped), generating(1), { sizes: { V: 4096, D: 64 } });
  assert.is(sharedAxes(wide.stores)["head"], 1);
  const routed = model("Attention(D, 4, Context: Context)", alone);
  assert.is(sharedAxes(graphsOf(routed, generating(1)).stores)["feed.gate"], undefined);
});
test("queries made of few numbers have their heads where keys have them; what is whole leaves the layers after it shared", () => {
  const latent = "LatentAttention(D, 2, 4, 4, 4, 2, 4, Context)";
  const feed = { "feed.gate": 1, "feed.up": 1, "feed.down": 0 };
  for (const entries of [training(3), generating(1)]) {
    const { stores } = graphsOf(model(latent), entries, { sizes: { V: 4096, L: 2 } });
    const { embed: _, head: __, ...block } = sharedAxes(stores);
    assert.equal(block, { "attention.query_up": 1, "attention.up": 1, "attention.output": 0, ...feed });
    const second = stores.filter((s) => s.shards && s.role === "parameter" && s.name.startsWith("blocks.1"));
    assert.is(second.length, Object.keys(block).length);
  }
});
test("a token is drawn after one message, its logits and their biases, whatever else orders them", () => {
  const program = load({
    name: "head.moe",
    text: `import { Embedding, Linear } from "std/nn"
       import { sample } from "std/sample"
       model M(V, D) {
         embed: Embedding(V, D)
         head: Linear(D, V, biased: true)
         generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B], top_p: f32[B] = 1, top_k: i32[B] = 0) -> i32[B] {
           return sample(head(embed(tokens)[:, T - 1]), temperature, top_p, top_k)
         }
         least(tokens: i32[B, T]) -> f32[B] {
           let chance = softmax(head(embed(tokens)[:, T - 1]))
           return cutoff(chance, 0.5, weight: chance)
         }
       }`,
  });
  const entries = generating(1).map((entry) => ({ ...entry, inputs: ["top_p", "top_k"] }));
  const least = { method: "least", name: "least", sizes: { B: 1, T: 1 } };
  const made = graphsOf(program, [...entries, least], { sizes: { V: 4096, D: 64 } });
  assert.is(sharedAxes(made.stores)["head"], 1);
  for (const entry of ["generate:1", "least"])
    assert.equal(told(entry, made), { "all_reduce 1 1 64": 1, "all_gather 4096 1": 1 });
});
test("what a convolution joins, and the rows of it that it keeps, are shared; a bottleneck of features is not", () => {
  const program = model("KimiDeltaAttention(D, 4, 16)");
  const { stores } = graphsOf(program, generating(1), { sizes: { D: 64, L: 1 } });
  const axes = sharedAxes(stores);
  const shared = ["query", "key", "value", "query_conv", "fade_down", "fade_up", "gate_up", "output"];
  assert.equal(
    shared.map((name) => axes[`attention.${name}`]),
    [1, 1, 1, 1, undefined, 1, 1, 0],
  );
  const tail = stores.find((s) => s.name.endsWith("tail.tail"));
  assert.equal(tail?.shards, [{ axis: 2, parts: 2, stride: 1, pieces: [1, 1, 1] }]);
});
test("what cannot be divided is whole on each; where that is everything, an error says so", () => {
  const heads = graphsOf(model("Attention(D, 3, 3, A: 4, Context: Context)"), training(3));
  assert.equal(Object.keys(sharedAxes(heads.stores)), ["embed", "feed.gate", "feed.up", "feed.down", "head"]);
  const odd = { sizes: { V: 5, D: 9 } };
  const program = model("Attention(D, 3, A: 4, Context: Context)", "Mlp(D, 7)");
  assert.throws(
    () => graphsOf(program, training(3), odd),
    (e: unknown) => e instanceof Problem && /2 workers can share no matrix/.test(e.message),
  );
});
test.run();
