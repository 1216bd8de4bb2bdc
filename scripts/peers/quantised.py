"""Tiny checkpoints that are quantised as released ones are, what torch and transformers make of their weights, and the logits with these.

    python scripts/peers/quantised.py          dequantises the stored weights again, computes the logits, and compares
    python scripts/peers/quantised.py --write  quantises models of hf.py and stores them in test/peers/quantised, each with expected.safetensors

Needs PyTorch and transformers. Where transformers has the formula, it is transformers' own; its FP8 loader refuses a matrix that blocks do not
divide (DeepSeek-V3's have such) or splits it evenly, and compressed-tensors' is a package of its own: these are written out here."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import FP4_VALUES, convert_moe_packed_tensors

import hf

FOLDER = Path(__file__).parents[2] / "test" / "peers" / "quantised"
BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [8, 8]}
CHANNELS = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False, "strategy": "channel", "group_size": None, "block_structure": None}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": CHANNELS, "output_activations": None}},
    "ignore": ["lm_head"],
    "kv_cache_scheme": None,
    "quantization_status": "compressed",
}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
POWERS = BLOCKS | {"scale_fmt": "ue8m0"}
# By folder, which is one of hf.py's: quantization_config, the dtype of scales, what differs from hf.py's configuration.
MODELS = {
    "qwen3_moe": (BLOCKS, torch.bfloat16, {}),
    "deepseek_v3": (BLOCKS, torch.float32, {}),
    "glm4_moe": (COMPRESSED, torch.bfloat16, {}),
    "gpt_oss": (MXFP4, torch.uint8, {"hidden_size": 32, "intermediate_size": 32, "num_local_experts": 3, "vocab_size": 20}),
    "deepseek_v4": (
        POWERS,
        torch.float8_e8m0fnu,
        {"hidden_size": 32, "moe_intermediate_size": 32, "n_routed_experts": 3, "vocab_size": 20, "num_hidden_layers": 1}
        | {"layer_types": ["sliding_attention"], "mlp_layer_types": ["moe"], "expert_dtype": "fp4"},
    ),
}


def block_of(shape, quantization):
    if quantization["quant_method"] == "compressed-tensors":
        return 1, shape[-1]
    return quantization["weight_block_size"] or shape[-2:]


def over_blocks(scale, shape, block):
    """The scale of each element."""
    wide = scale.float().reshape(1, 1) if scale.numel() == 1 else scale.float()
    return wide.repeat_interleave(block[0], -2)[..., : shape[-2], :].repeat_interleave(block[1], -1)[..., : shape[-1]]


def fp8(weight, quantization, dtype):
    block = block_of(weight.shape, quantization)
    rows, columns = (-(-n // b) for n, b in zip(weight.shape, block, strict=True))
    padded = torch.zeros(rows * block[0], columns * block[1])
    padded[: weight.shape[0], : weight.shape[1]] = weight
    most = padded.reshape(rows, block[0], columns, block[1]).abs().amax((1, 3))
    scale = (most / 448).to(dtype)
    return (weight / over_blocks(scale, weight.shape, block)).clamp(-448, 448).to(torch.float8_e4m3fn), scale


def mxfp4(weight):
    """[experts, inputs, outputs], as [experts, outputs, groups, 16] and a scale for each group."""
    groups = weight.transpose(1, 2).unflatten(-1, (-1, 32))
    exponent = (groups.abs().amax(-1) / 6).log2().ceil().clamp(-127, 127)
    values = torch.tensor(FP4_VALUES)
    codes = (groups[..., None] / exponent.exp2()[..., None, None] - values).abs().argmin(-1).to(torch.uint8)
    return codes[..., 0::2] | codes[..., 1::2] << 4, (exponent + 127).to(torch.uint8)


def quantised(weights, quantization, dtype):
    out = {}
    for name, w in weights.items():
        if quantization is POWERS:
            out |= as_v4(name, w)
            continue
        inner = w.ndim == 2 and "model.layers" in name and not name.endswith("mlp.gate.weight")
        if quantization["quant_method"] == "mxfp4" and name.endswith("_proj"):
            out[f"{name}_blocks"], out[f"{name}_scales"] = mxfp4(w)
        elif quantization["quant_method"] != "mxfp4" and inner:
            end = "_scale_inv" if quantization["quant_method"] == "fp8" else "_scale"
            out[name], out[name + end] = fp8(w, quantization, dtype)
        else:
            out[name] = w if "correction_bias" in name else w.bfloat16()
    return {name: t.contiguous() for name, t in out.items()}


def as_v4(name, w):
    """As DeepSeek-V4 is released: experts of two e2m1 codes a byte, other matrices e4m3; scales beside them are powers of two."""
    scale = name.removesuffix(".weight") + ".scale"
    if ".experts." in name:
        codes, exponents = mxfp4(w.T[None])
        return {name: codes.reshape(w.shape[0], -1).view(torch.int8), scale: exponents[0].view(torch.float8_e8m0fnu)}
    if any(part in name for part in (".attn.w", ".shared_experts.")):
        codes, number = fp8(w, POWERS, torch.float8_e8m0fnu)
        return {name: codes, scale: number}
    return {name: w.bfloat16() if name.endswith("weight") else w}


def dequantised(stored, quantization):
    out = {}
    for name, t in stored.items():
        if name.endswith("_blocks"):
            name, t = name.removesuffix("_blocks"), convert_moe_packed_tensors(t, stored[name.replace("_blocks", "_scales")])
        elif t.dtype == torch.int8:
            t = Fp8Dequantize(None)._dequantize_one(t, stored[name.replace(".weight", ".scale")], torch.bfloat16)
        elif t.dtype == torch.float8_e4m3fn:
            names = (name + "_scale_inv", name + "_scale", name.replace(".weight", ".scale"))
            t = scaled(t, next(stored[scale] for scale in names if scale in stored), quantization)
        elif name.endswith(("_scale_inv", "_scales", ".scale")) or name.endswith(".weight_scale"):
            continue
        out[name] = t.contiguous()
    return out


def scaled(codes, scale, quantization):
    block = block_of(codes.shape, quantization)
    number = scale if scale.dtype != torch.uint8 else (scale.float() - 127).exp2()
    result = (codes.float() * over_blocks(number, codes.shape, block)).bfloat16()
    if all(n % b == 0 for n, b in zip(codes.shape[-2:], block, strict=True)):
        same(result, Fp8Dequantize(None)._dequantize_one(codes, scale, torch.bfloat16), "transformers'")
    return result


def same(a, b, what):
    if a.dtype != b.dtype or not torch.equal(a.nan_to_num(12345), b.nan_to_num(12345)) or not torch.equal(a.isnan(), b.isnan()):
        raise SystemExit(f"dequantised weights are not {what}")


def logits(name, weights, tokens, dtype):
    kind = getattr(transformers, f"{hf.MODELS[name][0]}ForCausalLM")
    config = json.loads((FOLDER / name / "config.json").read_text())
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config | {"quantization_config": None}))
        save_file(weights, f"{folder}/model.safetensors", {"format": "pt"})
        return hf.logits(kind.from_pretrained(folder, dtype=dtype).eval(), {"tokens": tokens})


def write(name):
    quantization, dtype, changes = MODELS[name]
    folder = FOLDER / name
    tokens = torch.randint(0, 20, (2, 11), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    for seed in range(100):
        hf.drawn(name, seed, **changes).save_pretrained(folder)
        (folder / "generation_config.json").unlink()
        config = json.loads((folder / "config.json").read_text()) | {"dtype": "bfloat16", "quantization_config": quantization}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        stored = quantised(load_file(folder / "model.safetensors"), quantization, dtype)
        weights = dequantised(stored, quantization)
        rough, exact = (logits(name, weights, tokens, d) for d in (torch.float32, torch.float64))
        if hf.apart(rough, exact) > (1e-5 if f"{hf.MODELS[name][0]}ForCausalLM" in hf.WIDE else 1e-6):
            continue
        put(folder, stored)
        save_file({"tokens": tokens, "logits": exact} | {f"weight.{k}": t for k, t in weights.items()}, folder / "expected.safetensors")
        print(name, "seed", seed, "f32 from f64:", hf.apart(rough, exact))
        return
    raise SystemExit(f"no seed gives {name} clear choices")


def put(folder, stored):
    """In two files, of which the second has all scales."""
    (folder / "model.safetensors").unlink()
    files = ({}, {})
    for name, t in stored.items():
        files["_scale" in name][name] = t
    names = [f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    for name, tensors in zip(names, files, strict=True):
        save_file(tensors, folder / name, {"format": "pt"})
    index = {"metadata": {"total_size": sum(t.nbytes for t in stored.values())}, "weight_map": {k: names["_scale" in k] for k in sorted(stored)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def check(name):
    folder = FOLDER / name
    expected = load_file(folder / "expected.safetensors")
    stored = {k: t for file in folder.glob("model-*.safetensors") for k, t in load_file(file).items()}
    weights = dequantised(stored, MODELS[name][0])
    for key, t in weights.items():
        same(t, expected[f"weight.{key}"], "the stored ones")
    off = hf.apart(logits(name, weights, expected["tokens"], torch.float64), expected["logits"])
    if not off <= 1e-6:
        raise SystemExit(f"{name}: the logits are {off} apart from the stored ones")


def codes():
    """All codes of each kind, under scales of each kind."""
    g = torch.Generator().manual_seed(0)
    every = torch.arange(256, dtype=torch.uint8)
    e4m3, e8m0 = every.view(torch.float8_e4m3fn).reshape(16, 16), every.view(torch.float8_e8m0fnu)
    halves = torch.arange(64)[:, None] * 1024 + torch.tensor([0, 1, 341, 512, 1023])
    whole = {"fine": scales(g), "row": scales(g, 1), "large": torch.tensor([[3e38]]), "power": e8m0[100], "byte": every[255]}
    stack = {"stack.weight": e4m3[3::4, 5::2].repeat(256, 1, 1), "stack.weight_scale_inv": e8m0.reshape(256, 1, 1)}
    pairs = every[:16] | every[:16].flip(0) << 4
    return {
        "whole": {f"{k}.weight": e4m3 for k in whole} | {f"{k}.weight_scale_inv": s for k, s in whole.items()} | stack,
        "blocks": {"stack.weight": e4m3.repeat(2, 1, 1), "stack.weight_scale_inv": scales(g, 2, 2, 2)}
        | {"odd.weight": e4m3[:13, :11], "odd.weight_scale_inv": torch.rand(2, 2, generator=g).half()},
        "mxfp4": {"every_blocks": pairs.repeat(256, 2, 1, 1), "every_scales": every.reshape(256, 1, 1).repeat(1, 2, 1)},
        "halves": {"every": halves.to(torch.uint16).view(torch.float16)},
    }


def scales(g, *shape):
    return torch.rand(shape, generator=g) * 2.0 ** torch.randint(-130, 125, shape, generator=g)


SETTINGS = {"whole": BLOCKS | {"weight_block_size": None}, "blocks": BLOCKS, "mxfp4": MXFP4, "halves": BLOCKS}


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    storing = "--write" in sys.argv
    for name in MODELS:
        (write if storing else check)(name)
    for name, tensors in codes().items():
        file, expected = FOLDER / f"{name}.safetensors", FOLDER / f"{name}.expected.safetensors"
        if storing:
            save_file({k: t.clone(memory_format=torch.contiguous_format) for k, t in tensors.items()}, file)
        results = {k: t.float() if t.dtype == torch.float16 else t for k, t in dequantised(load_file(file), SETTINGS[name]).items()}
        if storing:
            save_file(results, expected)
        for key, t in load_file(expected).items():
            same(results[key], t, f"the stored ones of {name}")
    print("test/peers/quantised is what transformers", transformers.__version__, "gives")


if __name__ == "__main__":
    main()
