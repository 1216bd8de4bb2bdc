"""Every mixture of stdlib/moe.moe in PyTorch, written from its paper, row by row and expert by expert.

    python scripts/peers/mixtures.py          recomputes and compares with test/peers/mixtures.safetensors
    python scripts/peers/mixtures.py --write  stores anew

Parameters and inputs are f32, results are computed in f64. Each mixture gets random rows, and skewed rows of which nearly all prefer one expert. Seeds
are searched for which no choice changes when the rows are perturbed by 1e-4. Stored as MIXTURE.INPUT.WHAT; gradients are of the sum of `cotangent`
times the result, plus the losses."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from stored import keep

FILE = Path(__file__).parents[2] / "test" / "peers" / "mixtures.safetensors"
B, T, D, H, E = 3, 8, 6, 5, 4


def swiglu(w, path, e=None):
    """A SwiGlu with the parameters under `path`; of an array of them, copy `e`."""
    gate, up, down = (w[f"{path}.{k}.weight"] for k in ("gate", "up", "down"))
    if e is not None:
        gate, up, down = gate[e], up[e], down[e]
    return lambda x: (F.silu(x @ gate) * (x @ up)) @ down


def top_k_gate(logits, k, balance):
    """The scores (which sum to 1) and numbers of the k best experts, and the balance loss of Fedus et al. 2022."""
    p = F.softmax(logits, -1)
    value, expert = torch.topk(p, k)
    share = torch.bincount(expert.flatten(), minlength=p.shape[-1]).to(p.dtype) / expert.numel()
    return value / value.sum(-1, keepdim=True), expert, balance * p.shape[-1] * (share * p.mean(0)).sum()


def combined(rows, score, expert, experts):
    """For each row the sum of its chosen experts' results, weighted by the scores."""
    of_row = lambda n: sum(score[n, k] * experts(expert[n, k].item())(rows[n]) for k in range(score.shape[1]))
    return torch.stack([of_row(n) for n in range(len(rows))])


def moe(w, x):
    rows = x.reshape(-1, D)
    score, expert, loss = top_k_gate(rows @ w["mix.gate.weight"], 2, 0.02)
    return combined(rows, score, expert, lambda e: swiglu(w, "mix.experts", e)).view_as(x), {"balance": loss}, [expert]


def shared(w, x):
    """Dai et al. 2024, equation 9, without the residual."""
    rows = x.reshape(-1, D)
    score, expert, loss = top_k_gate(rows @ w["mix.moe.gate.weight"], 2, 0.02)
    y = combined(rows, score, expert, lambda e: swiglu(w, "mix.moe.experts", e)) + swiglu(w, "mix.shared")(rows)
    return y.view_as(x), {"balance": loss}, [expert]


def expert_choice(w, x):
    """Zhou et al. 2022."""
    rows = x.reshape(-1, D)
    score, token = torch.topk(F.softmax(rows @ w["mix.weight"], -1).T, math.ceil(1.5 * len(rows) / E))
    y = [torch.zeros(D, dtype=x.dtype)] * len(rows)
    for e in range(E):
        for c, n in enumerate(token[e].tolist()):
            y[n] = y[n] + score[e, c] * swiglu(w, "mix.experts", e)(rows[n])
    return torch.stack(y).view_as(x), {}, [token]


def soft(w, x):
    """Puigcerver et al. 2024, for each sequence, with two slots an expert."""
    sequences = []
    for b in range(B):
        logits = x[b] @ w["mix.slots"]
        slots = F.softmax(logits, 0).T @ x[b]
        outs = torch.stack([swiglu(w, "mix.experts", s // 2)(slots[s]) for s in range(2 * E)])
        sequences.append(F.softmax(logits, 1) @ outs)
    return torch.stack(sequences), {}, []


def grouped(w, x):
    """Shazeer et al. 2017, appendix B: two groups of four, one group and two of its experts."""
    rows, y = x.reshape(-1, D), []
    p = F.softmax(rows @ w["mix.outer.weight"], -1)
    first, group = p.max(-1)
    share = torch.bincount(group, minlength=2).to(p.dtype) / len(rows)
    chosen = []
    for n, row in enumerate(rows):
        g = group[n].item()
        second, local = torch.topk(F.softmax(row @ w["mix.inner.weight"][g], -1), 2)
        chosen.append(local)
        y.append(sum(first[n] * second[k] * swiglu(w, "mix.experts", g * E + local[k].item())(row) for k in range(2)))
    return torch.stack(y).view_as(x), {"balance": 0.01 * 2 * (share * p.mean(0)).sum()}, [group, torch.stack(chosen)]


def depth(w, x):
    """Raposo et al. 2024, equation 1, with the sigmoid of the score: half of the tokens attend to each other in their order, the others pass by."""
    score = (x @ w["mix.weight"])[..., 0]
    taken = torch.topk(score, T // 2).indices.sort(-1).values
    out = []
    for b in range(B):
        picked = x[b, taken[b]]
        mask = taken[b][:, None] >= taken[b][None, :]
        attention = F.softmax((picked @ picked.T).masked_fill(~mask, -math.inf), -1) @ picked @ w["mix.body.weight"]
        rows = {t: x[b, t] + score[b, t].sigmoid() * attention[i] for i, t in enumerate(taken[b].tolist())}
        out.append(torch.stack([rows.get(t, x[b, t]) for t in range(T)]))
    return torch.stack(out), {}, [taken]


def feed(prefix, *copies):
    """The shapes of a SwiGlu's parameters."""
    return {f"{prefix}.gate.weight": (*copies, D, H), f"{prefix}.up.weight": (*copies, D, H), f"{prefix}.down.weight": (*copies, H, D)}


# By the name in test/peers/mixtures.moe: the function here, and the shapes of its parameters, that of the gate first.
MIXTURES = {
    "Mixture": (moe, {"mix.gate.weight": (D, E)} | feed("mix.experts", E)),
    "Shared": (shared, {"mix.moe.gate.weight": (D, E)} | feed("mix.moe.experts", E) | feed("mix.shared")),
    "Choice": (expert_choice, {"mix.weight": (D, E)} | feed("mix.experts", E)),
    "Soft": (soft, {"mix.slots": (D, 2 * E)} | feed("mix.experts", E)),
    "Grouped": (grouped, {"mix.outer.weight": (D, 2), "mix.inner.weight": (2, D, E)} | feed("mix.experts", 2 * E)),
    "Depths": (depth, {"mix.weight": (D, 1), "mix.body.weight": (D, D)}),
}


def case(name, kind, seed):
    g = torch.Generator().manual_seed(seed)
    w = {k: 0.7 * torch.randn(s, generator=g) for k, s in MIXTURES[name][1].items()}
    x, cotangent = torch.randn(B, T, D, generator=g), torch.randn(B, T, D, generator=g)
    liked = next(iter(w.values()))[:, 0]
    return w, 0.3 * x + 2 * liked / liked.norm() if kind == "skewed" else x, cotangent


def clear(name, w, x):
    w, x = {k: v.double() for k, v in w.items()}, x.double()
    g, run = torch.Generator().manual_seed(1), MIXTURES[name][0]
    exact = run(w, x)[2]
    moved = [run(w, x + 1e-4 * torch.randn(x.shape, generator=g))[2] for _ in range(3)]
    return all(a.equal(b) for m in moved for a, b in zip(exact, m))


def made(name, kind):
    seed = next(s for s in range(1000) if clear(name, *case(name, kind, s)[:2]))
    w, x, cotangent = case(name, kind, seed)
    results = {f"param.{k}": v for k, v in w.items()} | {"input.x": x, "input.cotangent.0": cotangent}
    w, x = {k: v.double().requires_grad_() for k, v in w.items()}, x.double().requires_grad_()
    y, losses, _ = MIXTURES[name][0](w, x)
    ((y * cotangent).sum() + sum(losses.values())).backward()
    results |= {"output.0": y.detach(), "grad.input.x": x.grad}
    results |= {f"loss.{k}": v.detach() for k, v in losses.items()} | {f"grad.{k}": v.grad for k, v in w.items()}
    return {f"{name}.{kind}.{k}": v.contiguous() for k, v in results.items()}


def main():
    torch.set_num_threads(1)
    results = {}
    for name in MIXTURES:
        for kind in ("random", "skewed"):
            results |= made(name, kind)
    keep(FILE, results)


if __name__ == "__main__":
    main()
