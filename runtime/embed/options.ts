// Checks the kinds of options given from TypeScript; those of the command line are checked by the command.
import { didYouMean } from "../../compiler/check/errors.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { describeValue } from "../../compiler/flag-text.ts";

const of =
  (type: string) =>
  (x: unknown): boolean =>
    typeof x === type;
const isObject = (x: unknown): boolean => Object(x) === x;
interface Kind {
  readonly is: (x: unknown) => boolean;
  /** A description with an example, for the error. */
  readonly wanted: string;
}
const flag = (name: string): Kind => ({ is: of("boolean"), wanted: `true or false: { ${name}: true }` });
const number = (name: string): Kind => ({ is: of("number"), wanted: `a whole number: { ${name}: 2 }` });
const whole = (name: string, least: number): Kind => ({
  is: (x) => Number.isSafeInteger(x) && (x as number) >= least && (x as number) < 2 ** 31,
  wanted: `a whole number from ${least}: { ${name}: 8 }`,
});
const real = (name: string, most: number): Kind => ({
  is: (x) => typeof x === "number" && x >= 0 && x <= most,
  wanted: `a number from 0${most === 1 ? " to 1" : ""}: { ${name}: 0.8 }`,
});
const kinds = new Map<string, Kind>(
  Object.entries({
    declaration: { is: of("string"), wanted: 'the name of a declaration: { file: "model.moe", declaration: "Gpt" }' },
    name: { is: of("string"), wanted: 'what errors call the text: { name: "model.moe" }' },
    sizes: { is: isObject, wanted: "an object of numbers by name: { sizes: { N: 4 } }" },
    target: { is: of("string"), wanted: 'a string: { target: "host" }' },
    precision: { is: of("string"), wanted: 'a string: { precision: "f32" }' },
    weights: { is: of("string"), wanted: 'a string: { weights: "int8" }, "fp4" or "float"' },
    average: { is: of("string"), wanted: 'the name of a state of the optimizer: { average: "ema" }' },
    entry: { is: of("string"), wanted: 'the name of a method: { entry: "forward" }' },
    sourceLanguage: { is: of("string"), wanted: 'the name of a token: { sourceLanguage: "eng_Latn" }' },
    targetLanguage: { is: of("string"), wanted: 'the name of a token: { targetLanguage: "fra_Latn" }' },
    tokenizer: { is: of("string"), wanted: 'the path of a tokenizer.json: { tokenizer: "gpt2/tokenizer.json" }' },
    given: {
      is: (x: unknown) => Array.isArray(x) && x.every(of("string")),
      wanted: 'a list of names of inputs: { given: ["at"] }',
    },
    from: { is: isObject, wanted: "what to go on from: { from: { step: 100, state } }" },
    // not instanceof: a test runner has an AbortSignal of its own realm
    signal: {
      is: (x: unknown) => isObject(x) && "addEventListener" in (x as object) && "throwIfAborted" in (x as object),
      wanted: "an AbortSignal: { signal: controller.signal }",
    },
    stop: {
      is: (x: unknown) => Array.isArray(x) && x.every((text) => typeof text === "string" && text !== ""),
      wanted: 'a list of texts: { stop: ["\\n\\n"] }',
    },
    weight: { is: of("function"), wanted: "a function: { weight: ({ targets }) => 64 }" },
    onStep: { is: of("function"), wanted: "a function: { onStep: ({ step, loss }) => console.log(step, loss) }" },
    tokens: whole("tokens", 1),
    batch: whole("batch", 1),
    shadow: whole("shadow", 1),
    topK: whole("topK", 0),
    prefixes: whole("prefixes", 0),
    topP: real("topP", 1),
    temperature: real("temperature", Number.MAX_VALUE),
    ...Object.fromEntries(
      [
        "tf32",
        "recompute",
        "upcycle",
        "shardOptimizer",
        "shardParameters",
        "evaluates",
        "gradients",
        "ids",
        "pastEnd",
      ].map((name) => [name, flag(name)]),
    ),
    ...Object.fromEntries(["threads", "seed", "accumulate", "step"].map((name) => [name, number(name)])),
  }),
);
const compiling = ["sizes", "target", "precision", "tf32", "weights", "threads", "seed"] as const;
const training = [
  ...compiling,
  "batches",
  "accumulate",
  "weight",
  "given",
  "recompute",
  "tensorParallel",
  "contextParallel",
  "expertParallel",
  "room",
  "shardOptimizer",
  "shardParameters",
  "shadow",
  "parameters",
  "upcycle",
  "from",
  "signal",
] as const;
const opening = [...compiling, "batch", "prefixes", "ids", "tensorParallel", "expertParallel", "room"] as const;
const asking = ["tokens", "temperature", "topP", "topK", "pastEnd", "signal", "targetLanguage"] as const;
/** The options by who takes them: all names of their types, which test/embed/embed-refused.test.ts compares. */
export const optionNames = {
  compile: [...compiling, "entry", "evaluates", "gradients", "given"],
  train: training,
  fit: [...training, "onStep"],
  "openModel of a folder": [...opening, "average"],
  "openModel of a program": [...opening, "parameters", "step", "tokenizer"],
  "a program's file": ["file", "declaration"],
  "a program's text": ["text", "name", "declaration"],
  load: ["upcycle"],
  "a run": ["step", "signal"],
  "a text": [...asking, "stop", "sourceLanguage"],
  "a text's tokens": asking,
} as const;
/** Throws Problem if an option has the wrong kind, or is none. `of`: whose options they are. */
export function requireOptions(of: keyof typeof optionNames, options: unknown): void {
  if (!isObject(options))
    throw new Problem(`the options of ${of} are ${describeValue(options)}`, "give an object of them");
  const names: readonly string[] = optionNames[of];
  for (const [name, value] of Object.entries(options as object)) {
    if (!names.includes(name))
      throw new Problem(`${name} is no option of ${of}`, didYouMean(name, names, `it takes ${names.join(", ")}`));
    const kind = kinds.get(name);
    if (kind && value !== undefined && !kind.is(value))
      throw new Problem(`the option ${name} is ${describeValue(value)}`, `give ${kind.wanted}`);
  }
}
