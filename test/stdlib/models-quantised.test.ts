// Quantised checkpoints, and what torch and transformers make of them. How they were made: scripts/peers/quantised.py, scripts/peers/packed.py.
import assert from "node:assert/strict";
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { Problem } from "../../compiler/diagnostic.ts";
import { product } from "../../compiler/types/numbers.ts";
import { dequantised } from "../../runtime/codes.ts";
import { openTransformers } from "../../runtime/import/config.ts";
import { exportModel } from "../../runtime/import/export.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { quantisationOf } from "../../runtime/import/quantisation.ts";
import { openWeights } from "../../runtime/import/quantised.ts";
import { readJson, weightFiles } from "../../runtime/import/weight-files.ts";
import { readSafetensors, type Tensor } from "../../runtime/index.ts";
import { runEntry } from "../../runtime/run.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { codesAt, type StoredTensor, turned } from "../../runtime/storage/stored-tensor.ts";
import { convert, fromNumbers, part, widenF16 } from "../../runtime/tensor.ts";
import { assertProblem } from "../assert-problem.ts";
import { assertBits, bits } from "../bits.ts";
import { hf } from "../hf-copies.ts";
import { assertClose, some } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("models-quantised");
const stored = join(project, "test/peers/quantised");
const models = readdirSync(stored).filter((name) => !name.endsWith(".safetensors"));
const expectedOf = (model: string): Map<string, Tensor> => readSafetensors(join(stored, model, "expected.safetensors"));
const weightsOf = (folder: string, quantisation = openTransformers(folder).quantisation): Map<string, StoredTensor> =>
  new Map([...openWeights(weightFiles(folder), quantisation).values()].flatMap((x) => [...x]));

for (const name of models) {
  test(`${name}: the weights that transformers dequantises, bit by bit`, () => {
    assertBits(weightsOf(join(stored, name)), some(expectedOf(name), "weight."));
  });
  test(`${name}: the logits of transformers, from a run that is imported in bf16`, async () => {
    const out = join(temporaryFolder(), "run");
    assert.equal((await importModel({ folder: join(stored, name), out })).precision, "bf16");
    const expected = expectedOf(name);
    const rows = Array.from(expected.get("tokens")?.data ?? []);
    const input = join(temporaryFolder(), "tokens.json");
    writeFileSync(input, JSON.stringify({ tokens: [rows.slice(0, 11), rows.slice(11)] }));
    const how = { entry: "Imported", params: out, input, target: "reference", precision: "f64" } as const;
    const results = await runEntry({ program: join(out, "model.moe"), ...how });
    assertClose("logits", results.get("0"), expected.get("logits"), 1e-6);
  });
  test(`${name}: exported, it is in bf16, without quantization_config`, async () => {
    const like = join(stored, name);
    const [run, out] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "theirs")];
    await importModel({ folder: like, out: run });
    exportModel({ folder: run, like, out, warn: assert.fail });
    assertBits(weightsOf(out), some(expectedOf(name), "weight."));
    const { quantization_config: _, expert_dtype: __, ...config } = readJson(join(like, "config.json"));
    assert.deepEqual(readJson(join(out, "config.json")), config);
    const { metadata, weight_map: map } = readJson(join(out, "model.safetensors.index.json"));
    const tensors = weightFiles(out).map((file): [string, Map<string, Tensor>] => [file, readSafetensors(file)]);
    assert.deepEqual(
      map,
      Object.fromEntries(
        tensors.flatMap(([file, all]) => [...all.keys()].map((key) => [key, file.slice(out.length + 1)])),
      ),
    );
    const all = tensors.flatMap(([, of]) => [...of.values()]);
    assert.deepEqual(metadata, {
      total_parameters: all.reduce((sum, { data }) => sum + data.length, 0),
      total_size: all.reduce((sum, { data }) => sum + data.byteLength, 0),
    });
  });
}

type Settings = Readonly<Record<string, unknown>>;
const fp8 = { quant_method: "fp8", weight_block_size: [8, 8] };
const mxfp4 = { quant_method: "mxfp4" };
const read = (name: string, config: object | null): Map<string, StoredTensor> => {
  const file = join(stored, `${name}.safetensors`);
  return new Map(openWeights([file], quantisationOf("config.json", { quantization_config: config })).get(file));
};
/** Settings of compressed-tensors. */
const compressed = (format: string, weights: object): object => ({
  quant_method: "compressed-tensors",
  format,
  config_groups: { group_0: { weights: { symmetric: true, ...weights } } },
});
const inGroups = { num_bits: 4, type: "int", strategy: "group", group_size: 32 };
const byRow = { type: "int", strategy: "channel" };
const fp4 = { num_bits: 4, type: "float" };
const gptq = { quant_method: "gptq", bits: 4, group_size: 32, desc_act: true };
const awq = { quant_method: "awq", bits: 4, group_size: 32, zero_point: true, version: "GEMM" };
const int4 = compressed("pack-quantized", inGroups);
const int4Zeros = compressed("pack-quantized", { ...inGroups, symmetric: false });
const nvfp4 = compressed("nvfp4-pack-quantized", { ...fp4, strategy: "tensor_group", group_size: 16 });
const mxfp4Rows = compressed("mxfp4-pack-quantized", { ...fp4, strategy: "group", group_size: 32 });
const few: Readonly<Record<string, object>> = {
  int4,
  int4_zeros: int4Zeros,
  int3: compressed("pack-quantized", { ...byRow, num_bits: 3 }),
  int8: compressed("int-quantized", { ...byRow, num_bits: 8 }),
  nvfp4,
  mxfp4_rows: mxfp4Rows,
  gptq,
  gptq3: { ...gptq, bits: 3 },
  gptq8: { ...gptq, bits: 8, checkpoint_format: "gptq" },
  awq,
  modelopt: { quant_method: "modelopt", quant_algo: "NVFP4" },
};
for (const [name, config] of Object.entries(few))
  test(`few bits: ${name}`, () =>
    assertBits(read(name, config), readSafetensors(join(stored, `${name}.expected.safetensors`))));
for (const [name, config] of Object.entries({
  whole: { ...fp8, weight_block_size: null },
  blocks: fp8,
  mxfp4,
  halves: null,
}))
  test(`all codes, and scales of each kind: ${name}`, () => {
    const got = read(name, config);
    const expected = readSafetensors(join(stored, `${name}.expected.safetensors`));
    assertBits(got, expected);
    for (const [key, t] of got)
      for (let i = 0; t.shape.length === 3 && i < (t.shape[0] ?? 0); i++)
        assert.deepEqual(t.read([i]), part(t.read(), [i]), key); // as experts are read, one at a time
  });
test("every number of 16 bits is read as it is", () => {
  const [bits, got] = [Uint16Array.from({ length: 2 ** 16 }, (_, code) => code), new Float32Array(2 ** 16)];
  widenF16(bits, got);
  for (const code of bits) {
    const [exponent, mantissa] = [(code >> 10) % 32, code % 1024];
    const size = exponent === 0 ? (mantissa / 1024) * 2 ** -14 : (1 + mantissa / 1024) * 2 ** (exponent - 15);
    const special = mantissa === 0 ? Number.POSITIVE_INFINITY : Number.NaN;
    assert.equal(got[code], (code < 2 ** 15 ? 1 : -1) * (exponent === 31 ? special : size), String(code));
  }
});

const sizes: Readonly<Record<string, number>> = {
  F32: 4,
  F16: 2,
  I64: 8,
  BF16: 2,
  I32: 4,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U8: 1,
};
/** A file of zeros. */
function zerosOf(tensors: Record<string, readonly [dtype: string, shape: readonly number[]]>): string {
  let end = 0;
  const header = Object.entries(tensors).map(([name, [dtype, shape]]) => {
    const begin = end;
    end += (sizes[dtype] ?? 0) * product(shape);
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const path = join(temporaryFolder(), "model.safetensors");
  writeFileSync(
    path,
    Buffer.concat([new Uint8Array(new BigUint64Array([BigInt(json.length)]).buffer), json, new Uint8Array(end)]),
  );
  return path;
}
const groups = (weights: object): object => ({
  quant_method: "compressed-tensors",
  format: "float-quantized",
  config_groups: { group_0: { weights: { type: "float", num_bits: 8, symmetric: true, ...weights } } },
});
const channels = groups({ strategy: "channel" });
const settings = (config: unknown) => (): unknown => quantisationOf("config.json", { quantization_config: config });
type Described = Parameters<typeof zerosOf>[0];
const opened = (config: object | null, tensors: Described) => (): unknown =>
  openWeights([zerosOf(tensors)], quantisationOf("config.json", { quantization_config: config }));

function withTensors(tensors: ReadonlyMap<string, Tensor>, config: object | null): ReadonlyMap<string, StoredTensor> {
  const path = join(temporaryFolder(), "model.safetensors");
  writeSafetensors(path, tensors);
  return new Map(openWeights([path], quantisationOf("config.json", { quantization_config: config })).get(path));
}

test("blocks, rows and whole matrices of compressed-tensors", () => {
  const e4m3 = ["F8_E4M3", [9, 5]] as const;
  for (const [weights, shape] of [
    [{ strategy: "block", block_structure: [4, 4] }, [3, 2]],
    [{ strategy: "channel" }, [9, 1]],
    [{ strategy: "tensor" }, [1]],
  ] as const) {
    assert.ok(
      opened(groups(weights), { "a.weight": e4m3, "a.weight_scale": ["BF16", shape], "a.input_scale": ["F32", [1]] })(),
    );
    const other = { "a.weight": e4m3, "a.weight_scale": ["BF16", [2, 3]] } as const;
    assert.throws(opened(groups(weights), other), Problem);
  }
});
test("a form that is not read is a Problem that names the setting", async () => {
  for (const [config, message] of [
    [{ quant_method: "hqq" }, 'quant_method is "hqq", and not fp8, mxfp4, compressed-tensors, gptq, awq, modelopt'],
    [{ ...gptq, bits: 5 }, "bits is 5"],
    [{ ...gptq, dynamic: { "-:.*down": {} } }, "dynamic."],
    [{ ...gptq, checkpoint_format: "marlin" }, 'checkpoint_format is "marlin"'],
    [{ ...awq, version: "gemv" }, 'version is "gemv"'],
    [{ ...awq, zero_point: false }, "zero_point is false"],
    [{ quant_method: "modelopt", quant_algo: "W4A8_AWQ" }, "quant_algo"],
    [compressed("pack-quantized", { ...inGroups, num_bits: 9 }), "weights.num_bits is 9"],
    [compressed("int-quantized", { ...byRow, num_bits: 8, symmetric: false }), "weights.symmetric is false"],
    [compressed("nvfp4-pack-quantized", { ...fp4, strategy: "group", group_size: 16 }), 'strategy is "group"'],
    [{}, "quant_method is not given"],
    [7, "quant_method is not given"],
    [{ quant_method: "toString" }, '"toString"'],
    [{ quant_method: "fp8", activation_scheme: "static" }, "weight_block_size is not given"], // AutoFP8
    [{ ...fp8, weight_block_size: [8] }, "weight_block_size.1"],
    [{ ...fp8, weight_block_size: [0, 8] }, "weight_block_size.0 is 0"],
    [{ ...fp8, expert_dtype: "int4" }, 'expert_dtype is "int4"'],
    [{ ...channels, format: "marlin-24" }, 'format is "marlin-24", and not float-quantized'],
    [{ ...channels, config_groups: {} }, "config_groups has 0 ways"],
    [{ ...channels, transform_config: { config_groups: {} } }, "transform_config.config_groups"],
    [{ ...channels, sparsity_config: { format: "sparse-24-bitmask" } }, "sparsity_config.format"],
    [groups({ strategy: "channel", num_bits: 4 }), "config_groups.group_0.weights.num_bits is 4"],
    [groups({ strategy: "channel", symmetric: false }), "weights.symmetric is false"],
    [groups({ strategy: "group" }), 'weights.strategy is "group"'],
    [groups({ strategy: "block" }), "weights.block_structure is not given"],
  ] as const)
    await assertProblem(settings(config), message, "dequantize()");
  const { config_groups: one } = channels as { config_groups: object };
  const two = { ...one, group_1: { weights: { type: "float", num_bits: 8, strategy: "tensor" } } };
  await assertProblem(settings({ ...channels, config_groups: two }), "has 2 ways to scale weights", "dequantize()");
  assert.equal(settings(null)(), null);
});
test("groups of several kinds are told apart by what stands in the files", () => {
  const { config_groups: experts } = compressed("pack-quantized", inGroups) as { config_groups: { group_0: object } };
  const { config_groups: others } = channels as { config_groups: { group_0: object } };
  const kinds = { group_0: others.group_0, group_1: { ...experts.group_0, format: "pack-quantized" } };
  const got = opened(
    { ...channels, config_groups: kinds },
    {
      "a.weight": ["F8_E4M3", [9, 32]],
      "a.weight_scale": ["F32", [9, 1]],
      "b.weight_packed": ["I32", [9, 4]],
      "b.weight_scale": ["F16", [9, 1]],
      "b.weight_g_idx": ["I32", [32]],
      "c.weight": ["F32", [9, 32]],
    },
  )() as ReturnType<typeof openWeights>;
  const described = [...got.values()].flatMap((all) =>
    [...all].map(([name, t]) => `${name} ${t.dtype} ${t.shape.join()}`),
  );
  assert.deepEqual(described, ["a.weight bf16 9,32", "b.weight bf16 9,32", "c.weight f32 9,32"]);
});
test("GPTQ's second layout has zeros as they are", () => {
  const [one, two] = [gptq, { ...gptq, checkpoint_format: "gptq_v2" }].map((how) => read("gptq", how).get("a.weight"));
  const scales = readSafetensors(join(stored, "gptq.safetensors")).get("a.scales")?.data ?? [];
  const [a, b] = [one, two].map((t) => convert(t?.read() ?? assert.fail(), "f32").data);
  const steps = Float64Array.from(a ?? [], (x, i) => (b?.[i] ?? Number.NaN) - x);
  for (const [i, step] of steps.entries()) {
    const column = Math.floor(i / 64);
    const near = [scales[column], scales[32 + column]].map((s = 0) =>
      Math.min(Math.abs(step - s), Math.abs(step + 15 * s)),
    );
    assert.ok(Math.min(...near) < 0.05, `${i}: ${step}`);
  }
});
test("experts in FP4, as scales that are powers of two, say that scales stand beside weights", () => {
  const folder = join(stored, "deepseek_v4");
  const { scale_fmt: format, ...others } = readJson(join(folder, "config.json"))["quantization_config"] as Settings;
  assert.equal(format, "ue8m0");
  const read = (experts: string): Map<string, StoredTensor> =>
    weightsOf(folder, quantisationOf("config.json", { quantization_config: { ...others, expert_dtype: experts } }));
  assertBits(read("fp4"), some(expectedOf("deepseek_v4"), "weight."));
  assert.throws(() => read("fp8"), Problem);
});
test("MXFP4 in rows keeps its codes where it is turned, as linear layers are", () => {
  const t = read("mxfp4_rows", mxfp4Rows).get("a.weight") ?? assert.fail();
  const kept = turned(t).kept ?? assert.fail();
  assert.deepEqual(bits(dequantised(codesAt(kept, []))), bits(convert(turned(t).read(), "f32")));
});
test("what is damaged is a Problem that names the file and the tensor", async () => {
  const [codes, scales] = [
    ["F8_E4M3", [9, 16]],
    ["F32", [2, 2]],
  ] as const;
  const blocks = ["U8", [2, 3, 1, 16]] as const;
  const words = { "a.weight_packed": ["I32", [9, 4]] } as const;
  const bytes = { "a.weight_packed": ["U8", [9, 8]], "a.weight_scale": ["F8_E4M3", [9, 1]] } as const;
  for (const [config, tensors, message] of [
    [fp8, { "a.weight": codes }, "`a.weight` is quantised, and no file of the folder has its `a.weight_scale_inv`"],
    [fp8, { "a.weight": codes, "a.weight_scale_inv": ["F32", [2, 1]] }, "is [2, 1], and not "],
    [fp8, { "a.weight": codes, "a.weight_scale_inv": ["F32", []] }, "and not [2, 2]: "],
    [
      fp8,
      { "a.weight": codes, "a.weight_scale_inv": ["I32", [2, 2]] },
      "`a.weight_scale_inv` is i32, which is no scale",
    ],
    [fp8, { "a.weight": codes, "a.weight_scale_inv": ["F8_E4M3", [2, 2]] }, "is F8_E4M3, which is no scale"],
    [fp8, { "a.weight": ["F8_E4M3", [9]], "a.weight_scale_inv": scales }, "`a.weight` is quantised, and no matrix"],
    [
      fp8,
      { "a.weight": ["BF16", [9, 16]], "a.weight_scale_inv": scales },
      "belongs to `a.weight`, which is not quantised",
    ],
    [fp8, { "a.weight_scale_inv": scales }, "`a.weight_scale_inv` belongs to `a.weight`, which is missing"],
    [fp8, { "a.weight": ["U8", [9, 16]], "a.weight_scale_inv": scales }, "`a.weight` is U8"],
    [fp8, { "a.weight": ["F8_E5M2", [9, 16]] }, '`a.weight` has dtype "F8_E5M2"'],
    [mxfp4, { a_blocks: blocks }, "no file of the folder has its `a_scales`"],
    [mxfp4, { a_blocks: blocks, a_scales: ["U8", [2, 3]] }, "and not [2, 3, 1]: "],
    [mxfp4, { a_blocks: blocks, a_scales: ["F32", [2, 3, 1]] }, "`a_scales` is f32"],
    [mxfp4, { a_blocks: blocks, a_scales: ["F8_E4M3", [2, 3, 1]] }, "`a_scales` is F8_E4M3, which is no scale"],
    [mxfp4, { a_blocks: ["U8", [1, 16]], a_scales: ["U8", [1]] }, "`a_blocks` is [1, 16]"],
    [mxfp4, { a_scales: ["U8", [2, 3, 1]] }, "`a_scales` belongs to `a_blocks`, which is missing"],
    [int4, { ...words, "a.weight_scale": ["F32", [9, 2]] }, "is [9, 2], and not "],
    [int4, { ...words, "a.weight_scale": ["I32", [9, 1]] }, "`a.weight_scale` is i32, which is no scale"],
    [int4, { ...words, "a.weight_scale": ["F32", [9, 1]], "a.weight_shape": ["I64", [2]] }, "says [0, 0]; "],
    [int4Zeros, { ...words, "a.weight_scale": ["F32", [9, 1]] }, "the `_zero_point` that belongs to it"],
    [
      int4,
      { ...words, "a.weight_scale": ["F32", [9, 1]], "a.weight_zero_point": ["I32", [2, 1]] },
      "`a.weight_zero_point` shifts weights that config.json calls symmetric",
    ],
    [nvfp4, { "a.weight_packed": ["U8", [9, 8]], "a.weight_scale": ["F8_E4M3", [9, 1]] }, "`_global_scale`"],
    [int4, { ...words, "a.weight_scale": ["F32", [9, 1]], "a.weight": ["F32", [9, 32]] }, "`a.weight`, which"],
    [int4, { "a.weight_packed": ["I32", [9, 5]], "a.weight_scale": ["F32", [9, 1]] }, "and not [9, 2]: "],
    [int4, { "a.weight_packed": ["I32", [2, 9, 4]], "a.weight_scale": ["F32", [9, 1]] }, "is [2, 9, 4], and no matrix"],
    [
      int4Zeros,
      { ...words, "a.weight_scale": ["F32", [9, 1]], "a.weight_zero_point": ["I32", [1, 1]] },
      "is [1, 1], and not ",
    ],
    [nvfp4, { ...bytes, "a.weight_global_scale": ["F32", [2]] }, "`a.weight_global_scale` is [2], and not "],
    [gptq, { "a.qweight": ["I32", [4, 9]], "a.scales": ["F16", [2, 9]] }, "is [2, 9], and not "],
    [gptq, { "a.qweight": ["I32", [1, 4, 9]], "a.scales": ["F16", [1, 9]] }, "is [1, 4, 9], and no matrix"],
    [gptq, { "a.qweight": ["I32", [4, 9]] }, "no file of the folder has its `a.scales`"],
    [gptq, { "a.g_idx": ["I32", [4]] }, "`a.g_idx` belongs to `a.qweight`, which is missing"],
    [awq, { "a.qweight": ["I32", [32, 1]], "a.scales": ["F16", [1, 8]] }, "the `.qzeros` that belongs to it"],
    [null, { "a.weight": codes }, "config.json has no quantization_config"],
  ] as const)
    await assertProblem(opened(config, tensors), message, /restore the files|convert it/);
  await assertProblem(
    () => readSafetensors(zerosOf({ a: codes })),
    '`a` has dtype "F8_E4M3"',
    "give the folder of both",
  );
});
test("an order of -1 is none, as compressed-tensors has it", () => {
  const tensors = {
    "b.weight_packed": ["I32", [2, 8]],
    "b.weight_scale": ["F32", [2, 2]],
    "b.weight_g_idx": ["I32", [64]],
  } as const;
  const file = zerosOf(tensors);
  const words = readSafetensors(file);
  words.set("b.weight_g_idx", fromNumbers("i32", [64], Array<number>(64).fill(-1)));
  words.set("b.weight_scale", fromNumbers("f32", [2, 2], [1, 2, 3, 4]));
  writeSafetensors(file, words);
  const how = quantisationOf("config.json", { quantization_config: int4 });
  const t = openWeights([file], how).get(file)?.get("b.weight")?.read() ?? assert.fail();
  const { data } = convert(t, "f32");
  assert.deepEqual([data[0], data[31], data[32], data[127]], [-8, -8, -16, -32]);
});
test("GPTQ's biases of zeros that a model does not have are left out, and others are refused", async () => {
  const folder = join(hf, "llama");
  const config = { ...readJson(join(folder, "config.json")), quantization_config: gptq };
  const given = (name: string, value: number): string => {
    const at = temporaryFolder();
    writeFileSync(join(at, "config.json"), JSON.stringify({ ...config, attention_bias: false }));
    const all = [...readSafetensors(join(folder, "model.safetensors"))].filter(([key]) => !key.endsWith(".bias"));
    writeSafetensors(join(at, "model.safetensors"), new Map([...all, [name, fromNumbers("f32", [2], [0, value])]]));
    return at;
  };
  for (const name of ["model.layers.1.mlp.up_proj.bias", "model.layers.0.self_attn.q_proj.bias"]) {
    const [like, run, out] = [given(name, 0), join(temporaryFolder(), "run"), join(temporaryFolder(), "theirs")];
    await importModel({ folder: like, out: run });
    exportModel({ folder: run, like, out, warn: assert.fail });
    assert.ok(!readSafetensors(join(out, "model.safetensors")).has(name));
    const input = join(temporaryFolder(), "tokens.json");
    writeFileSync(input, JSON.stringify({ tokens: [[1, 2]] }));
    const how = { entry: "Imported", input, target: "reference", precision: "f64" } as const;
    const direct = await runEntry({ program: join(run, "model.moe"), params: like, ...how }); // without an import
    assert.deepEqual(direct, await runEntry({ program: join(run, "model.moe"), params: run, ...how }));
    await assertProblem(
      () => importModel({ folder: given(name, 1), out: join(temporaryFolder(), "run") }),
      "bias`",
      "config.json",
    );
  }
});
test("an order that names no group is a Problem", async () => {
  const tensors = { "a.qweight": ["I32", [4, 8]], "a.scales": ["F16", [1, 8]], "a.g_idx": ["I32", [31]] } as const;
  const [weights] = (opened(gptq, tensors)() as ReturnType<typeof openWeights>).values();
  await assertProblem(() => weights?.get("a.weight")?.read(), "`a.g_idx` has not one of 1 groups", "restore the files");
  const late = readSafetensors(join(stored, "gptq.safetensors"));
  const { data, ...order } = late.get("a.g_idx") ?? assert.fail();
  late.set("a.g_idx", { ...order, data: Int32Array.from(data, (g) => g + 1) });
  const again = withTensors(late, gptq).get("a.weight");
  await assertProblem(() => again?.read(), "`a.g_idx` has not one of 2 groups", "restore the files");
});
/** Reads a matrix of 7 by 37 numbers of three bits whose shape is said to be another. */
const inShape =
  (...shape: number[]) =>
  (): unknown => {
    const tensors = readSafetensors(join(stored, "int3.safetensors"));
    tensors.set("a.weight_shape", { dtype: "i32", shape: [2], data: Int32Array.from(shape) });
    return withTensors(tensors, few["int3"] ?? null).get("a.weight")?.shape;
  };
test("a shape that is said is that of the words", async () => {
  assert.deepEqual(inShape(7, 42)(), [7, 42]); // as many as four words hold
  await assertProblem(inShape(8, 37), "says [8, 37]", "restore the files");
  await assertProblem(inShape(7, 43), "says [7, 43]", "restore the files");
});
test("what has one scale: a matrix of ModelOpt's FP8, an output of GPTQ without groups", () => {
  const fp8 = { quant_method: "modelopt", quant_algo: "FP8" };
  const matrix = { "a.weight": ["F8_E4M3", [9, 16]], "a.weight_scale": ["F32", []], "a.k_scale": ["F32", []] } as const;
  const outputs = { "a.qweight": ["I32", [4, 9]], "a.scales": ["F16", [1, 9]] } as const;
  for (const [config, tensors, shape] of [
    [fp8, matrix, [9, 16]],
    [{ ...gptq, group_size: -1 }, outputs, [9, 32]],
  ] as const) {
    const [weights] = (opened(config, tensors)() as ReturnType<typeof openWeights>).values();
    assert.deepEqual(
      [...(weights ?? [])].map(([name, t]) => [name, t.shape]),
      [["a.weight", shape]],
    );
  }
});
test("a scale of MXFP4 that is no number is a Problem", async () => {
  const read = opened(mxfp4, { a_blocks: ["U8", [2, 3, 1, 16]], a_scales: ["U8", [2, 3, 1]] })() as ReturnType<
    typeof openWeights
  >;
  const [[file, weights] = assert.fail()] = read;
  const { kept } = weights.get("a") ?? assert.fail();
  assert.deepEqual(kept?.scales.read(), { dtype: "bf16", shape: [2, 1, 3], data: new Uint16Array(6).fill(0x40) });
  const bytes = readFileSync(file);
  bytes[bytes.length - 1] = 255;
  writeFileSync(file, bytes);
  const again = openWeights([file], quantisationOf("config.json", { quantization_config: mxfp4 }))
    .get(file)
    ?.get("a");
  await assertProblem(() => again?.kept?.scales.read(), "`a_scales` has the code 255", "restore the files");
});
test("what predicts the token after the next is left out of the run, and exported in bf16", async () => {
  const like = temporaryFolder();
  cpSync(join(stored, "deepseek_v3"), like, { recursive: true });
  const index = join(like, "model.safetensors.index.json");
  const [name, scale] = ["model.layers.3.eh_proj.weight", "model.layers.3.eh_proj.weight_scale_inv"];
  cpSync(zerosOf({ [name]: ["F8_E4M3", [16, 32]] }), join(like, "more.safetensors"));
  cpSync(zerosOf({ [scale]: ["F32", [2, 4]] }), join(like, "scales.safetensors"));
  const { weight_map: map } = readJson(index) as { weight_map: object };
  writeFileSync(
    index,
    JSON.stringify({ weight_map: { ...map, [name]: "more.safetensors", [scale]: "scales.safetensors" } }),
  );
  const [run, out] = [join(temporaryFolder(), "run"), join(temporaryFolder(), "theirs")];
  await importModel({ folder: like, out: run });
  exportModel({ folder: run, like, out, warn: assert.fail });
  const [[key, t] = assert.fail(), ...others] = readSafetensors(join(out, "more.safetensors"));
  assert.deepEqual([key, t.dtype, t.shape, others], [name, "bf16", [16, 32], []]);
  assert.ok(!existsSync(join(out, "scales.safetensors")), "nothing is left of a file of scales");
});
test.run();
