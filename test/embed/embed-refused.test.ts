// A program in one's own TypeScript: what is given wrongly is a Problem that says what to do.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { optionNames } from "../../runtime/embed/options.ts";
import {
  type AskOptions,
  type CallOptions,
  type CompileOptions,
  checkFile,
  checkText,
  compile,
  type FitOptions,
  format,
  type Inputs,
  type LoadOptions,
  moe,
  type OpenFolderOptions,
  type OpenProgramOptions,
  Problem,
  type Program,
  readSafetensors,
  type Source,
  type Tensor,
  type TrainOptions,
  tensor,
  tensorOf,
  toNested,
  writeSafetensors,
} from "../../runtime/index.ts";
import { assertProblem } from "../assert-problem.ts";
import { filled, first, sizes, Twice, targets, withCompiled } from "../embed-programs.ts";

/** The names that only one side has. */
type Same<A, B> = Exclude<A, B> | Exclude<B, A>;
type Listed<Who extends keyof typeof optionNames> = (typeof optionNames)[Who][number];
interface Differing {
  readonly compile: Same<keyof CompileOptions, Listed<"compile">>;
  readonly train: Same<keyof TrainOptions, Listed<"train">>;
  readonly fit: Same<keyof FitOptions, Listed<"fit">>;
  readonly openFolder: Same<keyof OpenFolderOptions, Listed<"openModel of a folder">>;
  readonly openProgram: Same<keyof OpenProgramOptions, Listed<"openModel of a program">>;
  readonly file: Same<keyof Extract<Source, { file: string }>, Listed<"a program's file">>;
  readonly programText: Same<keyof Extract<Source, { text: string }>, Listed<"a program's text">>;
  readonly load: Same<keyof LoadOptions, Listed<"load">>;
  readonly run: Same<keyof CallOptions, Listed<"a run">>;
  readonly text: Same<keyof AskOptions, Listed<"a text">>;
  readonly tokens: Same<Exclude<keyof AskOptions, "stop" | "sourceLanguage">, Listed<"a text's tokens">>;
}
/** Compiles only if no option is missing in `optionNames`, and none is there that no type has. */
type None<T extends never> = T;
export type NoneDiffers = None<Differing[keyof Differing]>;

const test = suite("embed-refused");
for (const target of targets)
  test(`inputs that do not fit are refused by a rejected promise, on ${target}`, () =>
    withCompiled({ target }, async (program) => {
      const wrong: [inputs: unknown, message: string, help: string][] = [
        [undefined, "no object of names", "by name"],
        [new Map([["x", filled(1)]]), "no object of names", "by name"],
        [{}, "input x of forward is missing", "`{ x: ... }` of `run`, or of each batch"],
        [{ X: filled(1) }, "no input X", "reads x"],
        [{ x: filled(1), scale: filled(1, 1) }, "no input scale", "`given`"],
        [{ x: undefined }, "x is given undefined", "typed array"],
        [{ x: filled(1, 7) }, "Float32Array(7) was given", "Float32Array of 8"],
        [{ x: new Float64Array(8) }, "Float64Array(8) was given", "Float32Array of 8"],
        [{ x: [1, 2] }, "Array(2) was given", 'or `tensorOf("f32", lists)` of nested lists'],
        [{ x: null }, "x is given null", "typed array"],
      ];
      const tensors: [tensor: unknown, message: string, help: string][] = [
        [{ dtype: "f32", shape: [4, 2], data: filled(1) }, "x is f32[2, 4], and f32[4, 2]", "of that type"],
        [{ dtype: "f64", shape: [2, 4], data: new Float64Array(8) }, "f64[2, 4] was given", "of that type"],
        [{ dtype: "f32", shape: [2, 4], data: filled(1, 7) }, "Float32Array(7) was given", "Float32Array of 8"],
        [{ dtype: "f32", shape: [2, 4], data: new Float64Array(4) }, "Float64Array(4) was given", "Float32Array of 8"],
        [{ dtype: "f32", shape: [2, 4], data: new Int32Array(8) }, "Int32Array(8) was given", "Float32Array of 8"],
        [{ dtype: "f32", shape: ["2", 4], data: filled(1) }, "x is no tensor", "make one"],
      ];
      for (const [inputs, message, help] of [...wrong, ...tensors.map(([x, m, h]) => [{ x }, m, h] as const)]) {
        const run = program.run(inputs as Inputs);
        await assertProblem(() => run, message, help);
      }
      await assertProblem(() => program.run({ x: filled(1) }, { step: 0.5 }), "the step is 0.5", "whole number");
      const old = 3 as unknown as CallOptions;
      await assertProblem(() => program.run({ x: filled(1) }, old), "are 3", "object of them");
      const steps = { steps: 1 } as CallOptions;
      await assertProblem(() => program.run({ x: filled(1) }, steps), "steps is no option of a run", "`step`");
      const short: Tensor = { dtype: "f32", shape: [4], data: filled(1, 3) };
      await assertProblem(
        () => program.load(new Map([["w", short]])),
        "w is f32[4], and Float32Array(3)",
        "of 4 elements",
      );
      const bare = new Map([["w", filled(1, 4)]]) as unknown as Map<string, Tensor>;
      await assertProblem(() => program.load(bare), "w is no tensor", "make one");
      const record = { w: short } as unknown as Map<string, Tensor>;
      await assertProblem(() => program.load(record), "are no Map", "new Map");
      assert.is(await first(program, filled(1)), 2);
    }));
test("of a large model's parameters a wrong name is told those most like it", async () => {
  const { Deep } = moe<"Deep">`
    import { SwiGlu } from "std/nn"
    layer Deep(D) {
      blocks: SwiGlu(D, D)[20]
      forward(x: float[N, D]) -> float[N, D] {
        for block in blocks { x = block(x) }
        return x
      }
    }`;
  const wrong = new Map([["blocks.7.gate_proj.weight", tensor("f32", [1], [0])]]);
  const load = async (program: Program): Promise<void> => program.load(wrong);
  await assertProblem(
    () => withCompiled({ target: "reference" }, load, Deep),
    "nothing is named `blocks.7.gate_proj.weight`",
    "of 60 parameters and states those most like it are blocks.7.gate.weight, blocks.7.up.weight, blocks.7.down.weight, ",
  );
});
test("of tensors that do not all fit none is set", () =>
  withCompiled({ target: "reference" }, async (program) => {
    const good = ["w", tensor("f32", [4], [1, 2, 3, 4])] as const;
    for (const bad of [
      ["v", good[1]],
      ["w.0", good[1]],
    ] as const)
      await assertProblem(() => program.load(new Map([good, bad])), bad[0], "w");
    assert.is(await first(program, filled(1)), 2);
  }));
test("of tensors that do not all convert none is set", async () => {
  const { Counting } = moe`
    layer Counting(D, N) {
      param w: f32[D] = 1
      state n: i32[D] = 0
      forward(x: f32[N, D]) -> f32[N, D] { return x * w + n }
    }`;
  await withCompiled(
    { target: "reference" },
    async (program) => {
      const before = program.parameters();
      const given = new Map(["w", "n"].map((name) => [name, tensor("f32", [4], [0, 0.5, 1, 2])]));
      await assertProblem(() => program.load(given), "0.5, which is not a 32-bit integer", "whole numbers");
      assert.equal(program.parameters(), before);
    },
    Counting,
  );
});
test("what is asked for is worded for TypeScript too", async () => {
  const asked: [options: object, help: string][] = [
    [{ sizes: { N: 2 } }, "sizes: { D: VALUE }"],
    [{ sizes: { D: 4 } }, "sizes: { N: 128 }"],
    [{ sizes: { D: 1.5, N: 2 } }, "sizes: { D: 8 }"],
    [{ precision: "f64", target: "host" }, 'target: "reference"'],
    [{ tf32: true }, 'target: "cuda"'],
  ];
  for (const [options, help] of asked) {
    const error = await compile(Twice, { sizes, target: "reference", ...options }).catch((e: unknown) => e);
    assert.match(error instanceof Problem ? error.help : String(error), help);
  }
  const program = await compile(Twice, { sizes, target: "reference" });
  const wide = new Map([["w", tensor("f32", [3], [1, 2, 3])]]);
  await assertProblem(() => program.load(wide), "gives f32[3] for `w`", "sizes: { NAME: VALUE }");
});
test("options that nothing can work with are refused", async () => {
  const wrong: [options: object, message: string, help: string][] = [
    ...[0, -1, 1.5, Number.NaN, 1e6].map((threads): [object, string, string] => [
      { threads },
      `${threads} threads`,
      "from 1 to 1024",
    ]),
    ...[1.5, Number.NaN, 2 ** 40].map((seed): [object, string, string] => [{ seed }, "the seed is", "whole number"]),
    [{ gradient: true }, "gradient is no option of compile", "`gradients`"],
    [{ batches: [] }, "batches is no option of compile", "it takes sizes, target"],
    [{ precision: "f16" }, "no precision f16", "f32, bf16, f64"],
    [{ sizes: { D: "4", N: 2 } }, 'D is given "4"', "a number"],
    [{ given: ["skale"] }, "forward has no input skale", "scale"],
    [{ entry: "forwards" }, "no method forwards", "forward"],
    [{ entry: 3 }, "entry is 3", "name of a method"],
    [{ given: "scale" }, 'given is "scale"', "a list"],
    [{ threads: [2] }, "threads is a list", "a whole number"],
    [{ seed: 1n }, "seed is a bigint", "a whole number"],
    [{ gradients: "yes" }, 'gradients is "yes"', "true or false"],
    [{ sizes: { D: 2 ** 53, N: 2 } }, "D is a size, and 9007199254740992 is not", "D: 8"],
    [{ sizes: { D: null, N: 2 } }, "D is given null", "a number"],
  ];
  for (const [options, message, help] of wrong)
    await assertProblem(() => compile(Twice, { sizes, target: "reference", ...options }), message, help);
  const no = ["Twice", {}] as unknown as (typeof Twice)[];
  for (const source of no) await assertProblem(() => compile(source), "no declaration", "`moe`");
  await assertProblem(() => compile({ file: 0 } as never), "the file is 0", "its path");
  const named = { file: "model.moe", model: "Gpt" };
  await assertProblem(() => compile(named), "model is no option of a program's file", "it takes file, declaration");
  const untitled = { text: undefined };
  await assertProblem(() => compile(untitled as never), "the text is undefined", "the program");
  await assertProblem(
    () => compile({ text: "", title: "a" } as never),
    "title is no option of a program's text",
    "name",
  );
  const numbered = { file: "model.moe", declaration: 1 };
  await assertProblem(() => compile(numbered as never), "the option declaration is 1", "the name of a declaration");
  await assertProblem(() => compile(Twice, null as never), "options of compile are null", "an object");
});
test("a list of sizes is of a spread, and holds sizes", async () => {
  const { Any } = moe<"Any">`layer Any(D) { forward(x: float[...S, D]) -> float[...S, D] { return 2 * x } }`;
  for (const S of [["x"], [-1], [1.5], [Number.NaN], null, [undefined]])
    await assertProblem(() => compile(Any, { sizes: { D: 2, S } as never }), "S is a list of sizes", "whole numbers");
  const lists = { D: 4, N: [2, 3] };
  const why = await compile(Twice, { sizes: lists, target: "reference" }).then(() => "", String);
  assert.match(why, "not a list");
});
test("a bool is 0 or 1, and the step of an update a whole number", async () => {
  const { Count } = moe<"Count">`layer Count() { forward(on: bool[N]) -> i32 { return sum(on) } }`;
  const options = { sizes: { N: 2 }, target: "reference" } as const;
  await withCompiled(
    options,
    async (program) => {
      await assertProblem(() => program.run({ on: Uint8Array.of(1, 255) }), "on holds 255", "1 or 0");
      await assertProblem(() => program.update(0.5), "the step is 0.5", "whole number");
    },
    Count,
  );
});
test("a tensor of what is none", async () => {
  const wrong: [make: () => unknown, message: string, help: string][] = [
    [() => tensor("f32", [2], [1]), "f32[2], and 1 number was given", "2 numbers"],
    [() => tensor("f32", [2], undefined as never), "undefined was given", "2 numbers"],
    [() => tensor("f16" as never, [2], [1, 2]), 'the dtype is "f16"', "f32"],
    [() => tensor("f32", 2 as never, [1, 2]), "the shape is 2", "[2, 3]"],
    [() => tensor("f32", [-1], []), "the shape is [-1]", "[2, 3]"],
    [() => tensor("f32", [2 ** 40], []), "does not fit", "at most"],
    [() => tensor("f32", [1], ["a"] as never), 'holds "a"', "numbers"],
    [() => tensorOf("f32", [3n], "x"), "x holds a bigint", "numbers"],
    [() => tensorOf("f32", [[1, 2], [3]]), "the tensor is ragged", "equal lengths"],
    [() => toNested(filled(1) as never), "no tensor", "make one"],
    [() => toNested({ dtype: "i32", shape: [2], data: filled(1, 2) }), "Float32Array(2) was", "an Int32Array of 2"],
    [() => writeSafetensors("x", new Map([["w", filled(1)]]) as never), "w is no tensor", "make one"],
    [() => writeSafetensors("x", { w: tensor("f32", [1], [1]) } as never), "the tensors are no Map", "new Map"],
  ];
  for (const [make, message, help] of wrong) await assertProblem(make, message, help);
});
test("a text, a path or a template that is none", async () => {
  const [none, text] = [undefined as never, "layer A() { forward(x: f32) -> f32 { return x } }"];
  const wrong: [make: () => unknown, message: string, help: string][] = [
    [() => checkText(text, none), "the text is undefined", "checkText(name, text)"],
    [() => format(text, none), "the text is undefined", "format(name, text)"],
    [() => checkFile(none), "the file is undefined", 'checkFile("model.moe")'],
    [() => readSafetensors(none), "a path is a string", "the path of a file"],
    [() => writeSafetensors(new Map() as never, none), "the tensors are no Map", "new Map"],
    [() => moe(text as never), "`moe` stands before a template", "{ text }"],
  ];
  for (const [make, message, help] of wrong) await assertProblem(make, message, help);
});
test.run();
