// Blocks that take a `std` begin with it in every matrix; a router keeps its own.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compile, type Handle, moe, numbers } from "../../runtime/index.ts";

const models: Readonly<Record<string, Handle | undefined>> = moe`
  import { Mlp, SwiGlu, ClampedSwiGlu, GeGlu } from "std/nn"
  import { Attention, LatentAttention, CrossAttention } from "std/attention"
  import { Gpt, GptMoE } from "std/models/gpt"

  model OfMlp(D = 16) = Mlp(D, 24, std: 0.5)
  model OfSwiGlu(D = 16) = SwiGlu(D, 24, std: 0.5)
  model OfClamped(D = 16) = ClampedSwiGlu(D, 24, std: 0.5)
  model OfGeGlu(D = 16) = GeGlu(D, 24, std: 0.5)
  model OfAttention(D = 16) = Attention(D, 4, biased: true, std: 0.5)
  model OfLatent(D = 16) = LatentAttention(D, 4, Q: 24, R: 24, A: 8, P: 8, C: 8, std: 0.5)
  model OfLatentWithoutQ(D = 16) = LatentAttention(D, 4, Q: 0, R: 24, A: 8, P: 8, C: 8, std: 0.5)
  model OfCross(D = 16) = CrossAttention(D, 4, std: 0.5)
  model OfGpt(D = 16) = Gpt(D: D, L: 1, std: 0.5)
  model OfGptMoE(D = 16) = GptMoE(D: D, L: 1, std: 0.5)
`;
/** The sizes of a call of the model. */
const sizesOf = (name: string): string => (name === "OfCross" ? "BTN" : /Attention|Latent|Gpt/.test(name) ? "BT" : "S");
const test = suite("stdlib-std");
for (const [name, model] of Object.entries(models))
  test(name, async () => {
    const sizes = { S: 1, B: 1, T: 2, N: 2 };
    const its = Object.entries(sizes).filter(([size]) => sizesOf(name).includes(size));
    const program = await compile(model, { target: "reference", sizes: Object.fromEntries(its) });
    const matrices = program.names.filter(
      (key) => program.read(key).shape.length === 2 && !key.endsWith("feed.gate.weight"),
    );
    assert.ok(matrices.length >= 2);
    for (const key of matrices) {
      const x = numbers(program.read(key));
      const std = Math.sqrt(x.reduce((sum, y) => sum + y * y, 0) / x.length);
      assert.ok(Math.abs(std - 0.5) < 0.1, `${key}: ${std}`);
    }
    program.close();
  });
test.run();
