// Quantised weights of released checkpoints. Below the families: what stands in files as codes and scales is one tensor of bf16, under the name that
// the weight has where it is not quantised.
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { product } from "../../compiler/types/numbers.ts";
import { codeNames, openWithCodes } from "../storage/safetensors.ts";
import { type Code, derived, isCodes, type StoredCodes, type StoredTensor } from "../storage/stored-tensor.ts";
import { sameShape, showShape, transposed, transposedShape } from "../tensor.ts";
import { type Block, byBlocks, byGroups, keptGroups, type Scales } from "./dequantise.ts";
import type { Json } from "./family.ts";

/** How the weights of a folder are quantised. */
export interface Quantisation {
  readonly code: Code;
  /** What is added to a weight's name in those of its codes and of its scales. */
  readonly codes: string;
  readonly scales: string;
  /** Ends of names of what a product in bf16 does without: scales of activations. */
  readonly dropped: readonly string[];
  /** Throws Problem, naming the places, if the shapes do not fit. */
  dequantised(codes: Placed<StoredCodes>, scales: Placed): StoredTensor;
}
/** `place`: its file and name. */
interface Placed<T extends Scales = Scales> {
  readonly t: T;
  readonly place: string;
}
type Form = (settings: Settings) => Quantisation;
interface Settings {
  /** config.json */
  readonly path: string;
  readonly json: unknown;
}

const size = v.pipe(v.number(), v.integer(), v.minValue(1));
const block = v.tuple([size, size]);

const fp8Settings = v.object({
  weight_block_size: v.nullable(block),
  expert_dtype: v.nullish(v.literal("fp8")),
});
/** As DeepSeek-V3 is released: a scale for each block, or for all of a matrix. */
const fp8: Form = (settings) => {
  const { weight_block_size: blocks } = parsed(fp8Settings, settings);
  const dequantised = scaledBlocks((matrix) => blocks ?? matrix);
  return { code: "e4m3", codes: "", scales: "_scale_inv", dropped: [".activation_scale"], dequantised };
};

/** As GPT-OSS is released: [..., outputs, groups, bytes], where the weight is [..., inputs, outputs]. */
const mxfp4: Form = () => ({
  code: "u8",
  codes: "_blocks",
  scales: "_scales",
  dropped: [],
  dequantised: (codes, scales) => {
    if (codes.t.shape.length < 3) throw unfit(`${codes.place} is ${showShape(codes.t.shape)}, without rows of groups`);
    requireShape(scales, codes, codes.t.shape.slice(0, -1));
    if (!isCodes(scales.t) || scales.t.code !== "u8") throw noScale(scales);
    const t = byGroups(codes.t, scales.t);
    const turned = derived(t, transposedShape(t.shape), transposed);
    const kept = keptGroups(codes.t, scales.t, () => notPower(scales));
    return kept ? { ...turned, kept } : turned;
  },
});

const float8 = { type: v.literal("float"), num_bits: v.literal(8), symmetric: v.nullish(v.literal(true)) };
const layout = v.picklist(["float-quantized", "naive-quantized"]);
const group = v.object({
  format: v.nullish(layout),
  weights: v.variant("strategy", [
    v.object({ ...float8, strategy: v.literal("tensor") }),
    v.object({ ...float8, strategy: v.literal("channel") }),
    v.object({ ...float8, strategy: v.literal("block"), block_structure: block }),
  ]),
});
const compressedSettings = v.object({
  format: layout,
  config_groups: v.record(v.string(), group),
  kv_cache_scheme: v.nullish(v.null()),
  transform_config: v.nullish(v.strictObject({})),
  sparsity_config: v.nullish(v.object({ format: v.optional(v.literal("dense")) })),
});
/** As GLM-4.5 and others are released: a scale for each row, each block or all of a matrix. */
const compressedTensors: Form = (settings) => {
  const groups = Object.values(parsed(compressedSettings, settings).config_groups);
  const ways = new Map(groups.map(({ weights }) => [JSON.stringify(weights), weights]));
  const [way] = ways.values();
  if (!way || ways.size > 1)
    throw unsupported(settings.path, `config_groups has ${ways.size} ways to scale weights, and not one`);
  const blockOf = (matrix: Block): Block => {
    if (way.strategy === "block") return way.block_structure;
    return way.strategy === "channel" ? [1, matrix[1]] : matrix;
  };
  const dropped = [".input_scale", ".output_scale"];
  return { code: "e4m3", codes: "", scales: "_scale", dropped, dequantised: scaledBlocks(blockOf) };
};

/** By `quant_method`. */
const forms: Readonly<Record<string, Form>> = { fp8, mxfp4, "compressed-tensors": compressedTensors };

/** What config.json says; null if nothing is quantised. */
export function quantisationOf(path: string, config: Json): Quantisation | null {
  const { quantization_config: json } = config;
  if (json === undefined || json === null) return null;
  const { quant_method: method } = json as { readonly quant_method?: unknown };
  const form = Object.hasOwn(forms, String(method)) ? forms[String(method)] : undefined;
  if (!form) throw unsupported(path, `quant_method is ${shown(method)}, and not ${Object.keys(forms).join(", ")}`);
  return form({ path, json });
}
function parsed<S extends v.GenericSchema>(schema: S, { path, json }: Settings): v.InferOutput<S> {
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const is = issue.received === "undefined" ? "not given" : `${issue.received}, and not ${issue.expected}`;
  throw unsupported(path, `${v.getDotPath(issue)} is ${is}`);
}
const shown = (x: unknown): string => (x === undefined ? "not given" : JSON.stringify(x));
const unsupported = (path: string, what: string): Problem =>
  new Problem(
    `${path}: the weights are quantised in a way that moec does not read: in quantization_config, ${what}`,
    'take a checkpoint in bf16, or let transformers dequantise this one: from_pretrained(FOLDER, dtype="bfloat16"), dequantize(), save_pretrained(OTHER), and the tokenizer to the same folder',
  );
const unfit = (what: string): Problem =>
  new Problem(what, "restore the files, and the config.json that belongs to them");
const notPower = ({ place }: Placed): Problem =>
  unfit(`${place} has the code 255, which is no power of two, so that what it scales is no number`);
const noScale = ({ t, place }: Placed): Problem =>
  unfit(`${place} is ${isCodes(t) ? codeNames[t.code] : t.dtype}, which is no scale`);

/** e4m3 codes, [..., rows, columns], with a scale for each block of a matrix. */
const scaledBlocks =
  (blockOf: (matrix: Block) => Block): Quantisation["dequantised"] =>
  (codes, scales) => {
    const [rows, columns] = codes.t.shape.slice(-2);
    if (rows === undefined || columns === undefined) throw unfit(`${codes.place} is quantised, and no matrix`);
    const [high, wide] = blockOf([rows, columns]);
    const grid = [...codes.t.shape.slice(0, -2), Math.ceil(rows / high), Math.ceil(columns / wide)];
    if (product(grid) !== 1 || product(scales.t.shape) !== 1) requireShape(scales, codes, grid);
    if (isCodes(scales.t) ? !["e8m0", "u8"].includes(scales.t.code) : !isFloat(scales.t.dtype)) throw noScale(scales);
    return byBlocks(codes.t, scales.t, [high, wide]);
  };
function requireShape(scales: Placed, codes: Placed, shape: readonly number[]): void {
  if (!sameShape(scales.t.shape, shape))
    throw unfit(
      `${scales.place} is ${showShape(scales.t.shape)}; ${codes.place} is ${showShape(codes.t.shape)}, for scales ${showShape(shape)}`,
    );
}

type Found = ReadonlyMap<string, Placed>;
/** By file, its tensors, where what is quantised is its weight; a weight's scales may be in another file. */
export function openWeights(
  files: readonly string[],
  how: Quantisation | null,
): Map<string, ReadonlyMap<string, StoredTensor>> {
  const read = files.map((file) => ({ file, tensors: openWithCodes(file) }));
  const found = placesOf(read);
  return new Map(
    read.map(({ file, tensors }) => [file, new Map([...tensors.keys()].flatMap((name) => weightOf(name, found, how)))]),
  );
}
/** Where each tensor stands: in one file alone, as nothing says which of several counts. */
function placesOf(
  read: readonly { readonly file: string; readonly tensors: ReadonlyMap<string, Placed["t"]> }[],
): Found {
  const found = new Map<string, Placed & { readonly file: string }>();
  for (const { file, tensors } of read)
    for (const [name, t] of tensors) {
      const other = found.get(name);
      if (other)
        throw new Problem(
          `\`${name}\` is in ${other.file} and in ${file}`,
          "leave it out of one of them, or let transformers write the folder again: save_pretrained(OTHER)",
        );
      found.set(name, { t, file, place: `${file}: \`${name}\`` });
    }
  return found;
}
/** The weight that a tensor is, or holds the codes of; none for scales. */
function weightOf(name: string, found: Found, how: Quantisation | null): [string, StoredTensor][] {
  const is = found.get(name);
  if (!is || how?.dropped.some((end) => name.endsWith(end))) return [];
  if (how && isCodesOf(how, name, is)) {
    const weight = without(name, how.codes);
    const scales = found.get(weight + how.scales);
    if (!scales) throw unfit(`${is.place} is quantised, and no file of the folder has its \`${weight + how.scales}\``);
    const plain = weight === name ? undefined : found.get(weight);
    if (plain) throw unfit(`${is.place} holds the codes of \`${weight}\`, which ${plain.place} is too`);
    return [[weight, how.dequantised(is, scales)]];
  }
  if (how && name.endsWith(how.scales)) {
    const codes = without(name, how.scales) + how.codes;
    const of = found.get(codes);
    if (of && isCodesOf(how, codes, of)) return [];
    throw unfit(`${is.place} scales \`${codes}\`, which is ${of ? "not quantised" : "missing"}`);
  }
  if (isCodes(is.t))
    throw unfit(
      `${is.place} is ${codeNames[is.t.code]}, which is no ${how ? "quantised weight of this form" : "number: config.json has no quantization_config"}`,
    );
  return [[name, is.t]];
}
const without = (name: string, end: string): string => name.slice(0, name.length - end.length);
const isCodesOf = (how: Quantisation, name: string, is: Placed): is is Placed<StoredCodes> =>
  isCodes(is.t) && is.t.code === how.code && name.endsWith(how.codes) && !name.endsWith(how.scales);
