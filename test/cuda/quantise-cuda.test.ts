// Weights of 8 bits on CUDA, through the real runtime, where the emulator stands in for the driver and NVRTC: a model writes what it does on the host.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openModel } from "../../runtime/generation/text-model.ts";
import { type CompileOptions, compile, moe, type Tensor } from "../../runtime/index.ts";
import { onEmulator } from "../emulator/build.ts";
import { full } from "../full.ts";

const test = suite("quantise-cuda");

const { Writer } = moe<"Writer">`
  import { MoE } from "std/moe"
  import { SoftmaxGate } from "std/gates"
  import { Embedding, Linear } from "std/nn"
  import { newest, sample } from "std/sample"
  model Writer(V, D, E) {
    embed: Embedding(V, D, std: 1)
    moe: MoE(D, 2, E, SoftmaxGate(D, E, 2), Linear(D, D))
    head: Linear(D, V, std: 0.5)
    forward(tokens: i32[B, T]) -> float[B, T, V] { let x = embed(tokens) return head(x + moe(x)) }
    generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] {
      return sample(newest(forward(tokens), at), temperature)
    }
  }
`;
const sizes = { V: 67, D: 16, E: 3 };
/** What a model writes, and the parameters that it was drawn with. */
async function written(how: CompileOptions, parameters: ReadonlyMap<string, Tensor>): Promise<string> {
  const model = await openModel(Writer, { ...how, parameters, sizes, ids: true });
  let text = "";
  for await (const piece of model.generate("2 7 1", { tokens: 12, temperature: 0 })) text += piece;
  await model.close();
  return text;
}
for (const precision of full ? (["f32", "bf16"] as const) : (["f32"] as const))
  test(`a model with weights of 8 bits writes what it does on the host: ${precision}`, async () => {
    const given = await compile(Writer, { sizes: { ...sizes, B: 1, T: 1 }, target: "reference" });
    const parameters = given.parameters();
    given.close();
    const how = { weights: "int8", precision } as const;
    const expected = await written({ ...how, target: "host" }, parameters);
    assert.is.not(new Set(expected.trim().split(" ")).size, 1, "it says more than one word");
    assert.is(await onEmulator(() => written({ ...how, target: "cuda" }, parameters)), expected);
  });
test.run();
