// Direct preference optimisation by several workers: rows of inputs one after another, of which each worker computes its own of each.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs } from "../../compiler/pipeline.ts";
import { count } from "../../compiler/types/type.ts";
import { compare } from "./compare-workers.ts";

const test = suite("preference");
/** Models by what they have for a feed-forward part. */
const feeds = {
  Dense: "SwiGlu(D, H)",
  Mixed: "MoE(D, 2, E, TopKGate(D, E, 2), SwiGlu(D, H))",
  Limited: "MoE(D, 1, E, SwitchGate(D, E, factor: 1), SwiGlu(D, H))",
  Choosing: "ExpertChoice(D, E, expert: SwiGlu(D, H))",
};
const preference = load({
  name: "preference.moe",
  text: `
    import { Embedding, RmsNorm, SwiGlu, softplus } from "std/nn"
    import { Attention } from "std/attention"
    import { ExpertChoice, MoE } from "std/moe"
    import { SwitchGate, TopKGate } from "std/gates"
    import { AdamW } from "std/optim"
    layer Language(V, D, feed: float[...S, D] -> float[...S, D]) {
      embed: Embedding(V, D)
      norm: RmsNorm(D)
      attention: Attention(D, 2)
      feed: feed
      chosen(tokens: i32[B, T]) -> f32[B] {
        let at: i32[B, T - 1] = range(T - 1)
        let x = embed(tokens[:, :T - 1])
        let y = x + attention(norm(x), at)
        let logits = f32(embed.logits(y + feed(norm(y))))
        let p = logits - logsumexp(logits, axis: -1, keep: true)
        let target = tokens[:, 1:]
        return sum(where(target >= 0, take(p, maximum(target, 0)[..., new], axis: 2)[:, :, 0], 0), axis: -1)
      }
    }
    layer Preference(V, D, feed: float[...S, D] -> float[...S, D]) {
      policy: Language(V, D, feed)
      reference: Language(V, D, feed)
      forward(good: i32[B, T], bad: i32[B, T], worst: i32[B, T]) {
        let x = concat([good, bad, worst], axis: 0)
        let ratio = policy.chosen(x) - detach(reference.chosen(x))
        loss better = mean(softplus(ratio[B:2 * B] - ratio[:B]))
        loss last = mean(softplus(sum(ratio[2 * B:]) - ratio[:B]))
        metric ratio = ratio
      }
    }
    ${Object.entries(feeds)
      .map(
        ([name, feed]) => `model ${name}(V, D, H, E = 4) {
          both: Preference(V, D, ${feed})
          train(good: i32[B, T], bad: i32[B, T], worst: i32[B, T]) {
            both(good, bad, worst)
            optimize both.policy with AdamW(lr: 0.1)
          }
        }`,
      )
      .join("\n")}`,
});
const preferred = { method: "train", name: "train", sizes: { B: 4, T: 4 } };
for (const declaration of Object.keys(feeds))
  test(`rows of three inputs one after another, ${declaration}: each worker computes its rows of each`, () => {
    const request = { declaration, sizes: { V: 12, D: 8, H: 5 }, entries: [preferred] };
    for (const sharing of [{ workers: 2 }, { workers: 4 }, { workers: 4, expertParallel: 2, shardOptimizer: true }])
      for (const limits of [{}, { sharedRows: -Infinity }])
        compare({ program: preference, request: { ...request, limits }, ...sharing });
    const [one = 0, two = 0, four = 0] = [1, 2, 4].map((workers) => {
      const { graphs } = toGraphs(preference, { ...request, workers, precision: "f32" }, silentObserver());
      return graphs
        .flatMap(nodesOf)
        .flatMap((n) => (n.op.name === "attention" ? n.results : []))
        .reduce((sum, v) => sum + count(v.type), 0);
    });
    assert.ok(one > 0 && two === one / 2 && four === one / 4, `attention of ${one}, ${two}, ${four} numbers`);
  });
test.run();
