// Every attention against PyTorch, with gradients: values, and what the rows that are nothing give. How the numbers were made: scripts/peers/attention.py.
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram } from "../../runtime/compile.ts";
import type { Executable, Outcome, Tensor } from "../../runtime/executable/executable.ts";
import { full } from "../full.ts";
import { assertClose, given, type PeerTarget, peerTargets, readCases, some } from "../peer-results.ts";
import { project } from "../project.ts";

const test = suite("models-attention");
const folder = join(project, "test/peers");

const open = async (declaration: string, { target, precision }: PeerTarget): Promise<Executable> => {
  const cross = declaration === "Cross";
  const { executable } = await compileProgram({
    path: join(folder, "attention.moe"),
    declaration,
    sizes: cross ? { B: 2, T: 6, N: 5 } : { B: 2, T: 6 },
    target,
    precision,
    entries: [
      { method: "forward", name: "forward", sizes: {}, gradients: true, ...(cross ? { inputs: ["place"] } : {}) },
    ],
  });
  await executable.run("init", new Map(), { seed: 0, call: 0, step: 0 });
  return executable;
};
function check({ outputs, gradients }: Outcome, tensors: ReadonlyMap<string, Tensor>, bar: number): void {
  assertClose("output", outputs[0], tensors.get("output"), bar);
  for (const [name, expected] of some(tensors, "grad."))
    assertClose(`grad.${name}`, gradients.get(name), expected, bar);
}
/** Whose kernels others have as well, with more: on the reference alone. */
const within = new Set(["Mha", "Yarn", "Sunk", "Sloped"]);
for (const way of peerTargets)
  for (const [name, tensors] of readCases(join(folder, "attention.safetensors"))) {
    if (!full && way.target === "host" && within.has(name)) continue;
    test(`${name}, ${way.target} ${way.precision}`, async () => {
      const executable = await open(name, way);
      try {
        for (const [store, t] of given(some(tensors, "param."), way.precision)) executable.write(store, t);
        for (const [state, t] of given(some(tensors, "state."), way.precision)) executable.write(`forward/${state}`, t);
        if (name === "Xl") executable.write("forward/filled", { dtype: "i32", shape: [], data: Int32Array.of(3) });
        const inputs = given(some(tensors, "input."), way.precision);
        check(await executable.run("forward", inputs, { seed: 0, call: 0, step: 0 }), tensors, way.tolerance);
      } finally {
        executable.close();
      }
    });
  }
test.run();
