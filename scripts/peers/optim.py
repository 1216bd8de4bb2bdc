"""50 training steps with the optimizers and schedules of stdlib/optim.moe and stdlib/schedule.moe: PyTorch's own, Lion by its authors' code, AdEMAMix by its paper.

    python scripts/peers/optim.py          recomputes and compares with test/peers/optim.safetensors
    python scripts/peers/optim.py --write  stores anew

A small net with an array of layers learns the results of another such net; the last layer of the array gets no gradient in the first 20 steps. Initial
parameters and batches are f32, all computation is f64. Stored are the initial parameters (`param.`), the batches (`input.`), and for each case its
losses and final parameters."""

import math
from pathlib import Path
from unittest import mock

import torch
from stored import keep
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR

FILE = Path(__file__).parents[2] / "test" / "peers" / "optim.safetensors"
STEPS, N, D, H, O, E = 50, 8, 7, 5, 4, 3


def start(seed):
    """Initial parameters. Each layer of the array has its own tensors, since moec's optimizers treat each separately too."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"net.first.weight": (D, H), "net.first.bias": (H,), "net.scale.weight": (O,)}
    shapes |= {f"net.parts.{e}.{k}": s for e in range(E) for k, s in {"weight": (H, O), "bias": (O,)}.items()}
    return {k: 0.6 * torch.randn(s, generator=g) for k, s in shapes.items()}


def net(w, x, open):
    hidden = torch.tanh(x @ w["net.first.weight"] + w["net.first.bias"])
    parts = [open[e] * torch.tanh(hidden @ w[f"net.parts.{e}.weight"] + w[f"net.parts.{e}.bias"]) for e in range(E)]
    return sum(parts) * w["net.scale.weight"]


def batches():
    g = torch.Generator().manual_seed(7)
    x, open = torch.randn(STEPS, N, D, generator=g), (torch.rand(STEPS, E, generator=g) < 0.7).float()
    open[:20, E - 1] = 0
    # In f64: f32 products and tanh are rounded by the instruction set.
    teacher = {k: w.double() for k, w in start(99).items()}
    y = torch.stack([net(teacher, x[s].double(), torch.ones(E)) for s in range(STEPS)])
    return {"x": x, "open": open, "y": 2 * y.float()}


class Lion(torch.optim.Optimizer):
    """https://github.com/google/automl/blob/master/lion/lion_pytorch.py (Chen et al. 2023)."""

    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                p.mul_(1 - group["lr"] * group["weight_decay"])
                exp_avg = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                update = exp_avg * beta1 + p.grad * (1 - beta1)
                p.add_(torch.sign(update), alpha=-group["lr"])
                exp_avg.mul_(beta2).add_(p.grad, alpha=1 - beta2)


class AdEMAMix(torch.optim.Optimizer):
    """Pagliardini et al. 2024, algorithm 1, with the schedulers of their section 3: 1 / log(beta3) and alpha are linear in the step up to `warm`."""

    def __init__(self, params, lr, betas, alpha, warm, eps):
        super().__init__(params, {"lr": lr, "betas": betas, "alpha": alpha, "warm": warm, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2, beta3 = group["betas"]
            for p in group["params"]:
                state = self.state[p] or {"t": 0} | {k: torch.zeros_like(p) for k in ["m1", "m2", "nu"]}
                self.state[p] = state
                state["t"] += 1
                t, warm, log1, log3 = state["t"], group["warm"], math.log(beta1), math.log(beta3)
                alpha = min(t * group["alpha"] / warm, group["alpha"])
                slow = min(math.exp(log1 * log3 / ((1 - t / warm) * log3 + t / warm * log1)), beta3) if t < warm else beta3
                state["m1"].mul_(beta1).add_(p.grad, alpha=1 - beta1)
                state["m2"].mul_(slow).add_(p.grad, alpha=1 - slow)
                state["nu"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                mean, square = state["m1"] / (1 - beta1**t), state["nu"] / (1 - beta2**t)
                update = (mean + alpha * state["m2"]) / (square.sqrt() + group["eps"]) + group["weight_decay"] * p
                p.sub_(group["lr"] * update)


def cosine(optimizer, warm, low):
    """A linear warm-up in steps 0 .. warm - 1, then half a cosine."""
    rise = LinearLR(optimizer, start_factor=1 / warm, total_iters=warm - 1)
    return SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, T_max=STEPS - warm, eta_min=low)], [warm])


def stable_decay(optimizer, warm, cool):
    """Warm-up, constant, decay (Hu et al. 2024, MiniCPM), with a linear decay."""
    return LambdaLR(optimizer, lambda s: (s + 1) / warm if s < warm else (STEPS - s) / cool if STEPS - s < cool else 1)


def inverse_root(optimizer, warm):
    """Vaswani et al. 2017, equation 3, scaled to 1 at step `warm`."""
    return LambdaLR(optimizer, lambda s: math.sqrt(warm) * min((s + 1) ** -0.5, (s + 1) * warm**-1.5))


def of(w, *ends):
    return [v for k, v in w.items() if k.endswith(ends)]


def matrices(w):
    return [v for v in w.values() if v.dim() == 2]


def vectors(w):
    return [v for v in w.values() if v.dim() == 1]


def adamw(w, lr, decay):
    groups = [{"params": matrices(w), "weight_decay": decay}, {"params": vectors(w), "weight_decay": 0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.95), eps=1e-8)


def sgd_case(w):
    return [torch.optim.SGD(w.values(), lr=0.1, momentum=0.9, weight_decay=0.05)], [], 0.5


def sgd_plain(w):
    optimizer = torch.optim.SGD(w.values(), lr=0.2)
    return [optimizer], [inverse_root(optimizer, 10)], math.inf


def adamw_case(w):
    optimizer = adamw(w, 0.02, 0.1)
    return [optimizer], [cosine(optimizer, 10, 0.001)], 0.7


def ademamix_case(w):
    groups = [{"params": matrices(w), "weight_decay": 0.1}, {"params": vectors(w), "weight_decay": 0}]
    return [AdEMAMix(groups, lr=0.01, betas=(0.9, 0.999, 0.99), alpha=5, warm=30, eps=1e-8)], [], 0.7


def lion_case(w):
    optimizer = Lion(w.values(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.3)
    return [optimizer], [stable_decay(optimizer, 5, 15)], 0.5


def adafactor_case(w):
    return [torch.optim.Adafactor(w.values(), lr=1e-2, weight_decay=0.2)], [], math.inf


def muon_case(w):
    muon = torch.optim.Muon(matrices(w), lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    rest = adamw({k: v for k, v in w.items() if v.dim() == 1}, 0.02, 0)
    return [muon, rest], [cosine(muon, 10, 0), cosine(rest, 10, 0)], 1.0


def parts_case(w):
    """The scale and the first matrix are frozen. All biases are trained by SGD and the array's matrices by AdamW, with one clip of the common norm."""
    for frozen in of(w, "scale.weight", "first.weight"):
        frozen.requires_grad_(False)
    experts = {k: v for k, v in w.items() if "parts" in k and v.dim() == 2}
    return [torch.optim.SGD(of(w, "bias"), lr=0.1, momentum=0.8), adamw(experts, 0.02, 0.1)], [], 0.5


CASES = {
    "SgdCase": sgd_case,
    "SgdPlain": sgd_plain,
    "AdamWCase": adamw_case,
    "AdEMAMixCase": ademamix_case,
    "LionCase": lion_case,
    "AdafactorCase": adafactor_case,
    "MuonCase": muon_case,
    "MuonAlone": muon_case,
    "PartsCase": parts_case,
}


def trained(case, dtype=torch.float64):
    """The loss before each step, and the parameters after the last. Asserts that some steps were clipped and some were not."""
    w = {k: v.to(dtype).requires_grad_() for k, v in start(0).items()}
    data = {k: v.to(dtype) for k, v in batches().items()}
    optimizers, schedules, clip = CASES[case](w)
    losses, clipped = [], []
    for s in range(STEPS):
        loss = (net(w, data["x"][s], data["open"][s]) - data["y"][s]).square().mean()
        losses.append(loss.detach())
        for p in w.values():
            p.grad = torch.zeros_like(p)
        loss.backward()
        clipped.append(torch.nn.utils.clip_grad_norm_([p for p in w.values() if p.requires_grad], clip).item() > clip)
        for optimizer in optimizers:
            optimizer.step()
        for schedule in schedules:
            schedule.step()
    assert math.isinf(clip) or 0 < sum(clipped) < STEPS, f"{case}: {sum(clipped)} steps are clipped"
    return {"losses": torch.stack(losses)} | {f"after.{k}": v.detach() for k, v in w.items()}


def main():
    torch.set_num_threads(1)
    results = {f"param.{k}": v for k, v in start(0).items()} | {f"input.{k}": v for k, v in batches().items()}
    # PyTorch's Muon computes in bf16 inside; here this is patched, so that it is exact
    with mock.patch.object(torch, "bfloat16", torch.float64):
        for case in CASES:
            results |= {f"{case}.{k}": v.contiguous() for k, v in trained(case).items()}
    keep(FILE, results, 1e-10)


if __name__ == "__main__":
    main()
