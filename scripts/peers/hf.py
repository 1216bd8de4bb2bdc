"""Tiny models of transformers' architectures, as its `save_pretrained` writes them, with the logits that it computes for them.

    python scripts/peers/hf.py [NAME...]          computes the logits of the stored weights again and compares
    python scripts/peers/hf.py --write [NAME...]  draws weights and stores them in test/peers/hf/NAME with expected.safetensors, and gradients of those that
                                                  hf_models.py lists in test/peers/gradients/NAME

No NAME: all of them.

Needs PyTorch and transformers. Weights are drawn here, since transformers' initial ones are too small for clear choices of experts. The stored logits
are those of the model in f64, in which transformers still computes norms and rotations in f32 (but see `widened`). A seed is taken whose logits in f32
are close to them, so that rounding has chosen no other expert."""

import sys
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_models import COMMON, CONFIGS, GRADIENTS, MODELS, SAVED, TYPES, WIDE

FOLDER = Path(__file__).parents[2] / "test" / "peers" / "hf"


def classes(name, **changes):
    """The model's class, and its configuration."""
    kind, config, _ = MODELS[name]
    config = config | changes
    larger = "vision_config" in config
    whole = config | {"text_config": COMMON | config["text_config"]} if larger else COMMON | config
    model = getattr(transformers, f"{kind}{'ForConditionalGeneration' if larger or 'num_decoder_layers' in config else 'ForCausalLM'}")
    return model, getattr(transformers, CONFIGS.get(name, f"{kind}Config"))(**whole)


def drawn(name, seed, **changes):
    kind, config = classes(name, **changes)
    model = kind(config)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in [*model.named_parameters(), *((k, b) for k, b in model.named_buffers() if any(kind in k for kind in SAVED))]:
            if key.endswith("tid2eid"):
                p.copy_((torch.randint(0, 99, (p.shape[0], 1), generator=g) + torch.arange(p.shape[1])) % model.config.n_routed_experts)
                continue
            x = torch.randn(p.shape, generator=g)
            if key.endswith("balancing_biases"):  # of ZAYA; transformers 5.24 takes -1 for the last, that of no expert, whatever stands in the files
                p.copy_(torch.cat([0.1 * x[:-1] - 1, torch.tensor([-1.0])]))
                continue
            last = ".".join(key.split(".")[-2:])
            p.copy_(1 + 0.1 * x if "norm" in last or ("scal" in last and "bias" not in last) else 0.1 * x if "bias" in key else x * p.shape[-1] ** -0.5)
    return model.eval()


def logits(model, inputs):
    model.set_experts_implementation("eager")
    model.set_attn_implementation("eager")
    wide = model.dtype == torch.float64 and type(model).__name__ in WIDE
    with torch.no_grad(), widened(model) if wide else nullcontext():
        return model(**theirs(inputs), use_cache=False).logits


def theirs(inputs):
    """Of a model with an encoder a source is given too, padded by -1."""
    tokens = inputs["tokens"].long()
    if "source" not in inputs:
        return {"input_ids": tokens}
    source = inputs["source"].long()
    return {"input_ids": source.clamp(min=0), "attention_mask": (source >= 0).long(), "decoder_input_ids": tokens}


def drawn_inputs(name):
    g = torch.Generator().manual_seed(0)
    inputs = {"tokens": torch.randint(0, 40, (2, 11), generator=g, dtype=torch.int32)}
    if "num_decoder_layers" in MODELS[name][1]:
        inputs["source"] = torch.randint(0, 40, (2, 9), generator=g, dtype=torch.int32)
        inputs["source"][1, 4:] = -1
    pad = MODELS[name][1].get("pad_token_id")
    for tokens in inputs.values():
        tokens[tokens == pad] = 0
    return inputs


def nllb_experts(self, hidden_states, router_mask, router_probs):
    """As transformers had it before 5: all experts that a token has a chance of. 5.24 takes the 0 and 1 of the mask of first choices for numbers of experts."""
    y = torch.zeros_like(hidden_states)
    for e in range(self.num_experts):
        rows = router_probs[:, e] > 0
        y[rows] += self[f"expert_{e}"](hidden_states[rows]) * router_probs[rows, e, None] * (1 - self.moe_token_dropout)
    return y


transformers.models.nllb_moe.modeling_nllb_moe.NllbMoeExperts.forward = nllb_experts


class Wide:
    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@contextmanager
def widened(model):
    """Makes transformers compute in f64 what it otherwise computes in f32, whatever the model's dtype."""
    module = sys.modules[type(model).__module__]
    module.torch, torch.Tensor.float = Wide(), torch.Tensor.double
    yield
    module.torch = torch
    del torch.Tensor.float


def gradients(name, stored):
    """Of the sum of logits times a cotangent, all in f64: a checkpoint whose weights are gradients, 0 where transformers gives none."""
    kind, config = classes(name)
    model = kind.from_pretrained(FOLDER / name, dtype=torch.float64).eval().double()
    model.set_experts_implementation("eager")
    model.set_attn_implementation("eager")
    cotangent = torch.randn(stored["logits"].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with widened(model):
        (model(**theirs(stored), use_cache=False).logits * cotangent).sum().backward()
    for p in model.parameters():
        p.data = torch.zeros_like(p) if p.grad is None else p.grad
    with tempfile.TemporaryDirectory() as folder:
        model.float().save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors") | {"cotangent": cotangent}


def apart(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def write(name):
    inputs = drawn_inputs(name)
    for seed in range(100):
        model = drawn(name, seed)
        rough, exact = logits(model, inputs), logits(drawn(name, seed).double(), inputs)
        if apart(rough, exact) > (1e-5 if type(model).__name__ in WIDE else 1e-6):
            continue
        model.save_pretrained(FOLDER / name, max_shard_size=MODELS[name][2])
        (FOLDER / name / "generation_config.json").unlink()
        if name in TYPES:
            path = FOLDER / name / "config.json"
            path.write_text(path.read_text().replace(f'"model_type": "{model.config.model_type}"', f'"model_type": "{TYPES[name]}"'))
        save_file(inputs | {"logits": exact}, FOLDER / name / "expected.safetensors")
        if name in GRADIENTS:
            write_gradients(name)
        print(name, "seed", seed, "f32 from f64:", apart(rough, exact))
        return
    raise SystemExit(f"no seed gives {name} clear choices")


def write_gradients(name):
    (FOLDER.parent / "gradients" / name).mkdir(parents=True, exist_ok=True)
    stored = gradients(name, load_file(FOLDER / name / "expected.safetensors"))
    save_file({k: v for k, v in stored.items() if k == "cotangent" or v.is_floating_point()}, FOLDER.parent / "gradients" / name / "model.safetensors")


def check(name):
    stored = load_file(FOLDER / name / "expected.safetensors")
    kind, config = classes(name)
    given = {"config": config} if name in TYPES else {}
    model = kind.from_pretrained(FOLDER / name, dtype=torch.float64, **given).eval().double()  # what is kept in f32 too
    off = apart(logits(model, stored), stored["logits"])
    if not off <= 1e-6:
        raise SystemExit(f"{name}: the logits are {off} apart from the stored ones")
    if name in GRADIENTS:
        given = load_file(FOLDER.parent / "gradients" / name / "model.safetensors")
        for key, g in gradients(name, stored).items():
            if key in given and g.norm() > 0 and not apart(given[key], g) <= 1e-6:
                raise SystemExit(f"{name}: the gradient of {key} is {apart(given[key], g)} apart from the stored one")


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    names = [x for x in sys.argv[1:] if x != "--write"]
    if unknown := [x for x in names if x not in MODELS]:
        raise SystemExit(f"unknown: {' '.join(unknown)}; there are {' '.join(MODELS)}")
    for name in names or MODELS:
        (write if "--write" in sys.argv else check)(name)
    print("test/peers/hf is what transformers", transformers.__version__, "gives")


if __name__ == "__main__":
    main()
