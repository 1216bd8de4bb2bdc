"""Matrices of few bits, packed as released checkpoints have them, and the numbers that they stand for.

    python scripts/peers/packed.py          dequantises the stored matrices again, and compares
    python scripts/peers/packed.py --write  stores them in test/peers/quantised, each with NAME.expected.safetensors

Needs PyTorch and compressed-tensors, whose own code packs and unpacks its formats. GPTQ, AWQ and ModelOpt's NVFP4 are written out as AutoGPTQ 0.7,
AutoAWQ 0.2 and ModelOpt have them: their packages need a GPU to be built."""

import sys
from pathlib import Path

import torch
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parents[2] / "test" / "peers" / "quantised"
GPTQ_BITS = {"gptq": 4, "gptq3": 3, "gptq8": 8}
# By file: format, what is said of weights, the dtype of scales, outputs and inputs.
COMPRESSED = {
    "int4": ("pack-quantized", {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}, torch.bfloat16, (13, 96)),
    "int4_zeros": ("pack-quantized", {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": False}, torch.float32, (13, 64)),
    "int3": ("pack-quantized", {"num_bits": 3, "type": "int", "strategy": "channel"}, torch.float32, (7, 37)),
    "int8": ("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"}, torch.bfloat16, (7, 37)),
    "nvfp4": ("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, torch.float32, (6, 48)),
    "mxfp4_rows": ("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}, torch.bfloat16, (6, 96)),
}


def drawn(g, *shape):
    return torch.randn(shape, generator=g) * 0.5


def compressed(g, kind, said, dtype, shape):
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**{"symmetric": True, **said}))
    outputs, inputs = shape
    groups = -(-inputs // said.get("group_size", inputs))
    weight = drawn(g, *shape)
    scale = weight.reshape(outputs, groups, -1).abs().amax(-1) / (2 ** (said["num_bits"] - 1) if said["type"] == "int" else 6)
    state = {"weight": weight, "weight_scale": scale.to(dtype)}
    if kind.startswith("mxfp4"):
        state["weight_scale"] = scale.log2().ceil().exp2()
    if kind.startswith("nvfp4"):
        state["weight_global_scale"] = torch.tensor([448.0 * 6]) / weight.abs().max()
        state["weight_scale"] = (scale * state["weight_global_scale"]).to(torch.float8_e4m3fn).float()
    if not said.get("symmetric", True):
        state["weight_zero_point"] = torch.randint(-8, 8, (outputs, groups), generator=g).to(torch.int8)
    packed = BaseCompressor.get_value_from_registry(kind).compress(state, scheme)
    return {f"a.{name}": t for name, t in packed.items()}


def decompressed(stored, kind, said):
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**{"symmetric": True, **said}))
    state = {name.removeprefix("a."): t for name, t in stored.items()}
    return {"a.weight": BaseCompressor.get_value_from_registry(kind).decompress(state, scheme)["weight"].float().bfloat16()}


def in_words(numbers, bits):
    """Down the rows, as AutoGPTQ's `pack`: 32 numbers in as many words as they have bits."""
    blocks = numbers.long().unflatten(0, (-1, 32))
    words = torch.zeros(blocks.shape[0], bits, *blocks.shape[2:], dtype=torch.long)
    for i in range(32):
        for bit in range(bits):
            at = i * bits + bit
            words[:, at // 32] |= (blocks[:, i] >> bit & 1) << at % 32
    return words.flatten(0, 1).int()


def from_words(words, bits):
    blocks = words.long().unflatten(0, (-1, bits))
    ones = torch.stack([blocks[:, at // 32] >> at % 32 & 1 for at in range(32 * bits)], 1)
    return (ones.unflatten(1, (32, bits)) << torch.arange(bits)[(None, None, slice(None)) + (None,) * (ones.ndim - 2)]).sum(2).flatten(0, 1)


def gptq(g, bits, inputs=64, outputs=32, groups=2):
    """`order`: activations were sorted, so groups are of inputs that do not stand together."""
    codes, zeros = (torch.randint(0, 2**bits, (n, outputs), generator=g) for n in (inputs, groups))
    order = torch.arange(inputs)[torch.randperm(inputs, generator=g)] // (inputs // groups)
    return {
        "a.qweight": in_words(codes, bits),
        "a.qzeros": in_words((zeros - 1 & 2**bits - 1).T, bits).T,
        "a.scales": drawn(g, groups, outputs).half(),
        "a.g_idx": order.int(),
        "a.bias": drawn(g, outputs).bfloat16(),
    }


def from_gptq(stored, bits):
    codes, order = from_words(stored["a.qweight"], bits), stored["a.g_idx"].long()
    zeros = from_words(stored["a.qzeros"].T, bits).T + 1 & 2**bits - 1
    weight = (codes - zeros[order]).float() * stored["a.scales"].float()[order]
    return {"a.weight": weight.T.bfloat16(), "a.bias": stored["a.bias"]}


EVEN_FIRST = [0, 2, 4, 6, 1, 3, 5, 7]


def awq(g, inputs=64, outputs=24, groups=2):
    def words(numbers):
        parts = numbers.unflatten(1, (-1, 8))[..., EVEN_FIRST]
        return (parts << torch.arange(0, 32, 4)).sum(-1).int()

    codes, zeros = (torch.randint(0, 16, (n, outputs), generator=g) for n in (inputs, groups))
    return {"a.qweight": words(codes), "a.qzeros": words(zeros), "a.scales": drawn(g, groups, outputs).half()}


def from_awq(stored):
    def numbers(words):
        parts = words[..., None].long() >> torch.arange(0, 32, 4) & 15
        return parts[..., [EVEN_FIRST.index(i) for i in range(8)]].flatten(1)

    scales = stored["a.scales"].float()
    codes, zeros = numbers(stored["a.qweight"]), numbers(stored["a.qzeros"])
    each = len(codes) // len(scales)
    weight = (codes - zeros.repeat_interleave(each, 0)).float() * scales.repeat_interleave(each, 0)
    return {"a.weight": weight.T.bfloat16()}


def modelopt(g, outputs=6, inputs=48):
    return {
        "a.weight": torch.randint(0, 256, (outputs, inputs // 2), generator=g).to(torch.uint8),
        "a.weight_scale": torch.rand(outputs, inputs // 16, generator=g).mul(400).to(torch.float8_e4m3fn),
        "a.weight_scale_2": torch.tensor(0.00123),
        "a.input_scale": torch.tensor(0.5),
        "a.k_scale": torch.tensor(0.5),
    }


def from_modelopt(stored):
    e2m1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    nibbles = torch.stack((stored["a.weight"] & 15, stored["a.weight"] >> 4), -1).flatten(1).long()
    values = e2m1[nibbles & 7] * torch.where(nibbles > 7, -1.0, 1.0)
    scales = stored["a.weight_scale"].float() * stored["a.weight_scale_2"]
    return {"a.weight": (values * scales.repeat_interleave(16, 1)).bfloat16()}


def stored_of(g):
    return (
        {name: compressed(g, *how) for name, how in COMPRESSED.items()}
        | {name: gptq(g, bits) for name, bits in GPTQ_BITS.items()}
        | {"awq": awq(g), "modelopt": modelopt(g)}
    )


def numbers_of(name, stored):
    if name in COMPRESSED:
        return decompressed(stored, *COMPRESSED[name][:2])
    if name in GPTQ_BITS:
        return from_gptq(stored, GPTQ_BITS[name])
    return from_awq(stored) if name == "awq" else from_modelopt(stored)


def main():
    storing = "--write" in sys.argv
    for name, tensors in stored_of(torch.Generator().manual_seed(0)).items():
        file, expected = FOLDER / f"{name}.safetensors", FOLDER / f"{name}.expected.safetensors"
        if storing:
            save_file({key: t.contiguous() for key, t in tensors.items()}, file)
        found = {key: t.contiguous() for key, t in numbers_of(name, load_file(file)).items()}
        if storing:
            save_file(found, expected)
        for key, t in load_file(expected).items():
            if not torch.equal(found[key], t):
                raise SystemExit(f"{name}: `{key}` is not the stored one")
    print("the matrices of few bits in test/peers/quantised are what compressed-tensors, AutoGPTQ and AutoAWQ make of them")


if __name__ == "__main__":
    main()
