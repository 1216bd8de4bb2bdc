// Every model of the standard library trains, small.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { libraryModels } from "../library-models.ts";
import { project } from "../project.ts";
import { type Model, models } from "./small-models.ts";

const test = suite("models");
const folder = join(project, "stdlib/models");

async function open(name: string, { file, sizes, target = "host" }: Model): Promise<Executable> {
  const { executable, report } = await compileProgram({
    path: join(folder, `${file}.moe`),
    declaration: name,
    sizes,
    target,
    precision: "f32",
    entries: [{ method: "train", name: "train", sizes: { B: 2, T: 8 } }],
  });
  assert.deepEqual(report.unreached, []);
  await executable.run("init", new Map(), { seed: 5, call: 0, step: 0 });
  return executable;
}
/** All parameters as they begin. */
async function initial(name: string, { file, sizes }: Model, std: number): Promise<Map<string, Tensor>> {
  const { executable } = await compileProgram({
    path: join(folder, `${file}.moe`),
    declaration: name,
    sizes: { ...sizes, std },
    target: "reference",
    precision: "f32",
    entries: [{ method: "forward", name: "forward", sizes: { B: 2, T: 8 } }],
  });
  await executable.run("init", new Map(), { seed: 5, call: 0, step: 0 });
  const parameters = executable.stores.filter((s) => s.role === "parameter");
  return new Map(parameters.map((s) => [s.name, executable.read(s.name)]));
}
const ints = (values: readonly number[]): Tensor => fromNumbers("i32", [2, 8], values);
const text = Array.from({ length: 18 }, (_, i) => (i * i * 5 + 3) % 19);
const batch = new Map([
  ["tokens", ints([...text.slice(0, 8), ...text.slice(9, 17)])],
  ["targets", ints([...text.slice(1, 9), ...text.slice(10, 18)])],
]);

test("every model of the library is here", () => assert.deepEqual(Object.keys(models).toSorted(), libraryModels()));

/** Matrices that do not begin with the model's `std`: routers, convolutions, places in a window, and the rates of Mamba-1's states. */
const ownStd = /(feed|moe)\.gate\.weight$|conv$|\.place$|\.rate$/;
const ownStdOf: Readonly<Record<string, RegExp>> = { JetMoe: /attention\.gate\.weight$/ }; // a router too
for (const [name, model] of Object.entries(models).filter(([, { file }]) => file !== "xl"))
  test(`every matrix of ${name} begins with its std`, async () => {
    const [narrow, wide] = [await initial(name, model, 0.02), await initial(name, model, 0.5)];
    for (const [store, x] of wide) {
      if (x.shape.length - store.split("*").length < 1 || ownStd.test(store)) continue;
      if (ownStdOf[name]?.test(store)) continue;
      const small = numbers(narrow.get(store) ?? x);
      assert.ok(
        numbers(x).every((y, i) => y !== 0 && Math.abs(y - 25 * (small[i] ?? 0)) < 1e-5),
        store,
      );
    }
  });

for (const [name, model] of Object.entries(models))
  test(`${name} learns a batch by heart, a little with each step`, async () => {
    const executable = await open(name, model);
    try {
      const losses: number[] = [];
      for (let i = 0; i < 12; i++) {
        const { losses: found } = await executable.run("train", batch, { seed: 0, call: i, step: model.step + i });
        losses.push(found.get("language") ?? Number.NaN);
      }
      const [first = Number.NaN] = losses;
      assert.ok(Math.abs(first - Math.log(19)) < 0.1, `it begins at ${first}`);
      assert.ok(
        losses.every((loss, i) => i === 0 || loss < (losses[i - 1] ?? 0)),
        losses.join(" "),
      );
      assert.ok((losses.at(-1) ?? Number.NaN) < first - 0.02, losses.join(" "));
    } finally {
      executable.close();
    }
  });
test.run();
