"""Computes the numbers in test/peers that moec is compared with, or checks them.

    python scripts/peers/peers.py          recomputes and compares with what is stored
    python scripts/peers/peers.py --write  stores anew

Needs PyTorch and safetensors. Parameters and inputs are f32, results are computed in f64. numbers.json has the losses of 20 steps in f64 and in f32, the
relative error of PyTorch's own f32 gradients (in norm, of the worst parameter), and the smallest difference between a K-th score and the next. `apart` has the
results of the first step where a row holds several documents, under a block-diagonal mask, and where they begin."""

import json
import sys
from pathlib import Path

import torch
from model import GptMoE, MoE, Training
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parents[2] / "test" / "peers"
STEPS = 20
# The documents of three rows of nine tokens, and the place in its row where each token's document begins.
DOCUMENT = torch.tensor([[0, 0, 0, 1, 1, 2, 3, 3, 3], [4, 4, 4, 4, 4, 4, 4, 4, 4], [5, 6, 6, 6, 6, 6, 6, 7, 7]])
SINCE = torch.tensor([[row.index(d) for d in row] for row in DOCUMENT.tolist()], dtype=torch.int32)


def drawn(model, seed, std, gate):
    """Random values for every parameter: weights around 0, norms around 1. Those of gates have a larger deviation, so that choices are clear."""
    random = torch.Generator().manual_seed(seed)
    values = {}
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=random)
        values[name] = x * (gate if name.endswith("gate.weight") and "experts" not in name else std) if p.dim() > 1 else 1 + 0.1 * x
    return values, random


def load(model, values, dtype):
    model.to(dtype).load_state_dict(values)
    return model


def gradients(model):
    return {f"grad.{name}": p.grad for name, p in model.named_parameters()}


def layer_case(seed):
    """A mixture of 6 experts, 2 per row, on 33 rows of 13 features. One expert gets no row."""
    build = lambda: MoE(13, 7, 6, 2, balance=0.02)
    params, random = drawn(build(), seed, 0.4, 0.5)
    params["gate.weight"][0, 5] = -9.0
    inputs = {"x": torch.randn(3, 11, 13, generator=random), "cotangent.0": torch.randn(3, 11, 13, generator=random)}
    inputs["x"][..., 0] = 1.0

    def run(dtype):
        model = load(build(), params, dtype)
        x = inputs["x"].to(dtype).requires_grad_()
        y = model(x)
        (model.gate.balance + (y * inputs["cotangent.0"].to(dtype)).sum()).backward()
        results = {"0": y.detach(), "loss.balance": model.gate.balance.detach(), "metric.gate.load": model.gate.load.to(dtype)}
        return results | gradients(model) | {"grad.input.x": x.grad}, model.gate.gap

    return params, inputs, run


def gpt_case(seed):
    """A model with two blocks, on 3 rows of 9 tokens, a new batch in each step. Some targets are -1."""
    build = lambda: GptMoE(v=37, d=20, h=12, layers=2, heads=2, e=5, k=2)
    params, random = drawn(build(), seed, 0.25, 0.5)
    text = torch.randint(0, 37, (STEPS, 3, 10), generator=random, dtype=torch.int32)
    steps = {"tokens": text[:, :, :-1], "targets": text[:, :, 1:].clone()}
    steps["targets"][:, 1, 4] = -1
    steps["targets"][:, 2, 6:] = -1
    tokens, targets = steps["tokens"].long(), steps["targets"].long()

    def run(dtype, document=None):
        model = load(build(), params, dtype)
        losses = model.losses(tokens[0], targets[0], document)
        sum(losses.values()).backward()
        gap = min(gate.gap for gate in model.gates().values())
        results = {f"loss.{name}": loss.detach() for name, loss in losses.items()}
        results |= {f"metric.{path}.load": gate.load.to(dtype) for path, gate in model.gates().items()}
        results |= {name: g.clone() for name, g in gradients(model).items()}
        return results, gap, model

    return params, steps, run


def train(model, batches):
    """The losses of every step, and the smallest `gap` of all gates in all steps."""
    training, losses, gap = Training(model, peak=0.01, warm=4, total=STEPS), [], 1.0
    for tokens, targets in zip(batches["tokens"].long(), batches["targets"].long()):
        losses.append(training.step(tokens, targets))
        gap = min(gap, *(gate.gap for gate in model.gates().values()))
    return losses, gap


def deviation(results, exact):
    """The relative error of the gradients, in norm, of the worst parameter."""
    return max(((results[k].double() - v).norm() / v.norm()).item() for k, v in exact.items() if k.startswith("grad.") and v.norm() > 0)


def make_layer():
    for seed in range(100):
        params, inputs, run = layer_case(seed)
        exact, gap = run(torch.float64)
        if gap >= 1e-3:
            summary = {"seed": seed, "gap": gap, "f32 deviation": deviation(run(torch.float32)[0], exact)}
            return {"params": params, "input": inputs, "expected": exact}, summary
    raise SystemExit("no seed gives clear choices")


def make_gpt():
    for seed in range(1000):
        params, steps, run = gpt_case(seed)
        exact, gap, model = run(torch.float64)
        if gap < 1e-3:
            continue
        losses, least = train(model, steps)
        if least < 1e-4:
            continue
        apart, least_apart, _ = run(torch.float64, DOCUMENT)
        if least_apart < 1e-4:
            continue
        rough, _, model32 = run(torch.float32)
        summary = {"seed": seed, "gap": gap, "gap of all steps": least, "f32 deviation": deviation(rough, exact)}
        first = {name: x[0] for name, x in steps.items()}
        summary |= {"f64": losses, "f32": train(model32, steps)[0]}
        return {"params": params, "input": first, "steps": steps, "expected": exact, "apart": {"since": SINCE} | apart}, summary
    raise SystemExit("no seed gives clear choices")


def compare(name, made, stored):
    if made.keys() != stored.keys():
        raise SystemExit(f"{name}: other tensors than {sorted(stored)}")
    for key in made:
        a, b = made[key].double(), stored[key].double()
        if not (a - b).norm() <= 1e-12 * (1 + b.norm()):
            raise SystemExit(f"{name}: {key} is off by {(a - b).norm().item()}")


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    summary = {"torch": torch.__version__.split("+")[0]}
    for name, make in {"moe": make_layer, "gpt": make_gpt}.items():
        files, summary[name] = make()
        for part, tensors in files.items():
            tensors, path = {k: v.contiguous() for k, v in tensors.items()}, FOLDER / f"{name}.{part}.safetensors"
            save_file(tensors, path) if "--write" in sys.argv else compare(path.name, tensors, load_file(path))
    file = FOLDER / "numbers.json"
    if "--write" in sys.argv:
        file.write_text(json.dumps(summary, indent=1) + "\n")
    for precision, bar in {"f64": 1e-12, "f32": 1e-5}.items():
        stored = json.loads(file.read_text())["gpt"][precision]
        for step, (a, b) in enumerate(zip(summary["gpt"][precision], stored, strict=True)):
            if any(not abs(a[k] - b[k]) <= bar for k in a):
                raise SystemExit(f"gpt: step {step} in {precision} is {a}, stored {b}")
    print("the stored numbers are PyTorch's, computed again with", torch.__version__)


main()
