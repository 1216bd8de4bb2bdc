// How the weights of released checkpoints are quantised, by config.json: which names codes and scales have, and what numbers they stand for.
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { product } from "../../compiler/types/numbers.ts";
import { type Code, isCodes, type StoredTensor, turned } from "../storage/stored-tensor.ts";
import { numbers, showShape } from "../tensor.ts";
import { type Block, byBlocks, byGroups, keptGroups, scaledRows } from "./dequantise.ts";
import type { Json } from "./family.ts";
import { awq, type Group, gptq, packedRows, plainRows } from "./integers.ts";
import { asCodes, asFloats, matrixOf, type Placed, requireShape, unfit } from "./placed.ts";

/** How the weights of a folder are quantised: each in one of these ways, which is told by what stands in the files. */
export interface Quantisation {
  readonly ways: readonly Way[];
  /** Ends of names of what a product in bf16 does without: scales of activations and caches. */
  readonly dropped: readonly string[];
  /** How names of vectors go on that are written for each matrix, and are all 0 where the model has none. */
  readonly spare?: string;
}
/** The tensors that hold a weight have names that begin alike. */
export interface Way {
  /** How the name of the weight goes on; default: not at all. */
  readonly weight?: string;
  /** What the codes are, and how their name goes on. */
  readonly code: Code | "i32";
  readonly codes: string;
  readonly scales: string;
  /** Others that a weight may have. */
  readonly others?: Readonly<Partial<Record<Other, string>>>;
  /** Throws Problem, naming the places, if the shapes do not fit. */
  dequantised(parts: Parts): StoredTensor;
}
type Other = "zeros" | "order" | "shape" | "global";
export type Parts = Readonly<Record<"codes" | "scales", Placed>> & Readonly<Partial<Record<Other, Placed>>>;
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
  scale_fmt: v.nullish(v.picklist(["float", "ue8m0"])),
  expert_dtype: v.nullish(v.picklist(["fp8", "fp4"])),
});
/**
 * As DeepSeek-V3 is released: a scale for each block, or for all of a matrix. DeepSeek-V4's scales are powers of two beside the weights, and its experts may
 * be of e2m1 codes, with one for each 32.
 */
const fp8: Form = (settings) => {
  const { weight_block_size: blocks, scale_fmt: scales, expert_dtype: experts } = parsed(fp8Settings, settings);
  const inBlocks = (end: string): Way => e4m3(end, (matrix) => blocks ?? matrix);
  const beside = { weight: ".weight", codes: ".weight", scales: ".scale" };
  const powersBeside: Way[] = [
    { ...inBlocks(""), ...beside },
    { ...beside, code: "i8", dequantised: rowsOfGroups },
  ];
  return {
    ways: [inBlocks("_scale_inv"), ...(scales === "ue8m0" || experts === "fp4" ? powersBeside : [])],
    dropped: [".activation_scale"],
  };
};
/** e4m3 codes, [..., rows, columns], with a scale for each block of a matrix. */
const e4m3 = (end: string, blockOf: (matrix: Block) => Block): Way => ({
  code: "e4m3",
  codes: "",
  scales: end,
  dequantised: ({ codes, scales }) => {
    const [rows, columns] = matrixOf(codes);
    const [high, wide] = blockOf([rows, columns]);
    const grid = [...codes.t.shape.slice(0, -2), Math.ceil(rows / high), Math.ceil(columns / wide)];
    if (product(grid) !== 1 || product(scales.t.shape) !== 1) requireShape(scales, codes, grid);
    return byBlocks(asCodes(codes, "e4m3"), isCodes(scales.t) ? asCodes(scales, "e8m0", "u8") : asFloats(scales), [
      high,
      wide,
    ]);
  },
});

/** As GPT-OSS is released: [..., outputs, groups, bytes], where the weight is [..., inputs, outputs]. */
const mxfp4: Form = () => ({
  dropped: [],
  ways: [
    {
      code: "u8",
      codes: "_blocks",
      scales: "_scales",
      dequantised: ({ codes, scales }) => {
        if (codes.t.shape.length < 3)
          throw unfit(`${codes.place} is ${showShape(codes.t.shape)}, without rows of groups`);
        requireShape(scales, codes, codes.t.shape.slice(0, -1));
        return turned(powersOfTwo({ codes, scales }));
      },
    },
  ],
});
/** Codes [..., outputs, groups, bytes] with a power of two for each group, as [..., outputs, inputs]; transposed, they are kept. */
function powersOfTwo({ codes, scales }: Parts): StoredTensor {
  const [bytes, powers] = [asCodes(codes, "u8", "i8"), asCodes(scales, "u8", "e8m0")];
  const t = byGroups(bytes, powers);
  const kept = keptGroups(bytes, powers, () => notPower(scales));
  return kept ? { ...t, turned: { ...turned(t), kept } } : t;
}
/** The same where the groups of a row have no axis of their own. */
function rowsOfGroups({ codes, scales }: Parts): StoredTensor {
  const [rows, bytes] = matrixOf(codes);
  requireShape(scales, codes, [rows, bytes / 16]);
  const t = asCodes(codes, "u8", "i8");
  const inGroups = { ...t, shape: [rows, bytes / 16, 16], read: () => t.read() };
  return powersOfTwo({ codes: { ...codes, t: inGroups }, scales });
}

/** What weights a format of compressed-tensors has, and how these are read. */
type Format = (group: string, settings: Settings) => Way;
const format =
  <S extends v.GenericSchema>(weights: S, wayOf: (weights: v.InferOutput<S>) => Way): Format =>
  (group, settings) => {
    const schema = v.object({ config_groups: v.object({ [group]: v.object({ weights }) }) });
    return wayOf(parsed(schema, settings).config_groups[group]?.weights);
  };
const symmetric = v.nullish(v.literal(true));
const tensor = { strategy: v.literal("tensor") };
const channel = { strategy: v.literal("channel") };
const group = { strategy: v.literal("group"), group_size: size };
const float8 = { type: v.literal("float"), num_bits: v.literal(8), symmetric };
const float8Format = format(
  v.variant("strategy", [
    v.object({ ...float8, ...tensor }),
    v.object({ ...float8, ...channel }),
    v.object({ ...float8, strategy: v.literal("block"), block_structure: block }),
  ]),
  (weights) =>
    e4m3("_scale", (matrix) => {
      if (weights.strategy === "block") return weights.block_structure;
      return weights.strategy === "channel" ? [1, matrix[1]] : matrix;
    }),
);
const int8 = { type: v.literal("int"), num_bits: v.literal(8), symmetric };
const int = { type: v.literal("int"), num_bits: v.pipe(size, v.maxValue(8)), symmetric: v.nullish(v.boolean()) };
const wholeNumbers = <E extends v.ObjectEntries>(of: E) =>
  v.variant("strategy", [
    v.object({ ...of, ...tensor }),
    v.object({ ...of, ...channel }),
    v.object({ ...of, ...group }),
  ]);
type Strategy =
  | { readonly strategy: "tensor" | "channel" }
  | { readonly strategy: "group"; readonly group_size: number };
function groupOf(weights: Strategy): Group {
  if (weights.strategy === "group") return weights.group_size;
  return weights.strategy === "channel" ? "row" : "matrix";
}
const packed = { codes: "_packed", scales: "_scale" };
const zeros = "_zero_point";
const formats: Readonly<Record<string, Format>> = {
  "float-quantized": float8Format,
  "naive-quantized": float8Format,
  "int-quantized": format(wholeNumbers(int8), (weights) => ({
    code: "i8",
    codes: "",
    scales: "_scale",
    dequantised: (parts) => plainRows(parts, groupOf(weights)),
  })),
  "pack-quantized": format(wholeNumbers(int), (weights) => ({
    ...packed,
    code: "i32",
    others: { shape: "_shape", order: "_g_idx", ...(weights.symmetric === false && { zeros }) },
    dequantised: (parts) => {
      if (weights.symmetric === false && !parts.zeros) throw missing(parts.codes, zeros);
      return packedRows(parts, weights.num_bits, groupOf(weights));
    },
  })),
  "nvfp4-pack-quantized": format(
    v.object({
      type: v.literal("float"),
      num_bits: v.literal(4),
      symmetric,
      strategy: v.literal("tensor_group"),
      group_size: v.literal(16),
    }),
    () => nvfp4({ ...packed, others: { global: "_global_scale" } }, (scale, global) => scale / global),
  ),
  "mxfp4-pack-quantized": format(
    v.object({ type: v.literal("float"), num_bits: v.literal(4), symmetric, ...group, group_size: v.literal(32) }),
    () => ({ ...packed, code: "u8", dequantised: rowsOfGroups }),
  ),
};
/** e2m1 codes, two a byte, with an e4m3 scale for each 16, and one for all, by which `scaled` divides or multiplies. */
const nvfp4 = (
  names: Pick<Way, "codes" | "scales" | "others">,
  scaled: (scale: number, global: number) => number,
): Way => ({
  ...names,
  code: "u8",
  dequantised: ({ codes, scales, global }) => {
    const [rows, bytes] = matrixOf(codes);
    requireShape(scales, codes, [rows, bytes / 8]);
    if (!global) throw missing(codes, names.others?.global ?? "");
    const all = asFloats(global);
    if (product(all.shape) !== 1) requireShape(global, codes, [1]);
    return scaledRows(asCodes(codes, "u8"), asCodes(scales, "e4m3"), () => {
      const [one = Number.NaN] = numbers(all.read());
      return (scale) => Math.fround(scaled(scale, one));
    });
  },
});

const compressedSettings = v.object({
  format: v.string(),
  config_groups: v.record(v.string(), v.object({ format: v.nullish(v.string()), weights: v.unknown() })),
  transform_config: v.nullish(v.strictObject({})),
  sparsity_config: v.nullish(v.object({ format: v.optional(v.literal("dense")) })),
});
/** As GLM-4.5, Kimi K2 Thinking and others are released. Several groups may be of several kinds, which their tensors tell apart. */
const compressedTensors: Form = (settings) => {
  const { format: all, config_groups: groups } = parsed(compressedSettings, settings);
  const ways = new Map<string, Way>();
  for (const [name, { weights, ...group }] of Object.entries(groups)) {
    const format = group.format ?? all;
    const of = lookup(formats, format);
    if (!of) throw unsupported(settings.path, `format is ${shown(format)}, and not ${Object.keys(formats).join(", ")}`);
    ways.set(JSON.stringify([format, weights]), of(name, settings));
  }
  const kinds = new Set([...ways.values()].map(({ code, codes }) => `${codes} ${code}`));
  if (kinds.size < ways.size || ways.size === 0)
    throw unsupported(settings.path, `config_groups has ${ways.size} ways to scale weights, and not one`);
  return {
    ways: [...ways.values()],
    dropped: [".input_scale", ".input_global_scale", ".output_scale", ".k_scale", ".v_scale"],
  };
};

const noPlan = v.nullish(v.strictObject({}));
const groupSize = v.union([v.literal(-1), size]);
const rowsOf = (of: v.InferOutput<typeof groupSize>): Group => (of === -1 ? "row" : of);
const gptqFormat = v.nullish(v.picklist(["gptq", "gptq_v2"]));
const gptqSettings = v.object({
  bits: v.picklist([2, 3, 4, 8]),
  group_size: groupSize,
  checkpoint_format: gptqFormat,
  format: gptqFormat,
  dynamic: noPlan,
  is_marlin_format: v.nullish(v.literal(false)),
});
const underWeight = { weight: ".weight", code: "i32", codes: ".qweight", scales: ".scales" } as const;
/** As AutoGPTQ and GPTQModel write. The first layout has zeros less one; AutoGPTQ gives each matrix a bias. */
const gptqForm: Form = (settings) => {
  const { bits, group_size: each, checkpoint_format: one, format: other } = parsed(gptqSettings, settings);
  const less = (one ?? other) === "gptq_v2" ? 0 : 1;
  const others = { zeros: ".qzeros", order: ".g_idx" };
  const dequantised: Way["dequantised"] = (parts) => turned(gptq(parts, bits, rowsOf(each), less));
  return { ways: [{ ...underWeight, others, dequantised }], dropped: [], spare: ".bias" };
};
const awqFormat = v.nullish(v.pipe(v.string(), v.toLowerCase(), v.literal("gemm")));
const awqSettings = v.object({
  bits: v.literal(4),
  group_size: groupSize,
  zero_point: v.literal(true),
  version: awqFormat,
  format: awqFormat,
});
/** As AutoAWQ writes. */
const awqForm: Form = (settings) => {
  const { group_size: each } = parsed(awqSettings, settings);
  const dequantised: Way["dequantised"] = (parts) => {
    if (!parts.zeros) throw missing(parts.codes, ".qzeros");
    return turned(awq(parts, rowsOf(each)));
  };
  return { ways: [{ ...underWeight, others: { zeros: ".qzeros" }, dequantised }], dropped: [] };
};
const modeloptSettings = v.object({ quant_algo: v.picklist(["NVFP4", "FP8"]) });
/** As NVIDIA's ModelOpt writes. */
const modelopt: Form = (settings) => {
  const { quant_algo: algorithm } = parsed(modeloptSettings, settings);
  const names = { codes: "", scales: "_scale", others: { global: "_scale_2" } };
  const way =
    algorithm === "FP8" ? e4m3("_scale", (matrix) => matrix) : nvfp4(names, (scale, global) => scale * global);
  return { ways: [way], dropped: [".input_scale", ".k_scale", ".v_scale"] };
};

/** By `quant_method`. */
const forms: Readonly<Record<string, Form>> = {
  fp8,
  mxfp4,
  "compressed-tensors": compressedTensors,
  gptq: gptqForm,
  awq: awqForm,
  modelopt,
};
const lookup = <T>(of: Readonly<Record<string, T>>, key: unknown): T | undefined =>
  typeof key === "string" && Object.hasOwn(of, key) ? of[key] : undefined;

/** What config.json says; null if nothing is quantised. */
export function quantisationOf(path: string, config: Json): Quantisation | null {
  const { quantization_config: json } = config;
  if (json === undefined || json === null) return null;
  const { quant_method: method } = json as { readonly quant_method?: unknown };
  const form = lookup(forms, method);
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
const notPower = ({ place }: Placed): Problem =>
  unfit(`${place} has the code 255, which is no power of two, so that what it scales is no number`);
const missing = ({ place }: Placed, end: string): Problem =>
  unfit(`${place} is quantised, and no file of the folder has the \`${end}\` that belongs to it`);
