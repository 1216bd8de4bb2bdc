"""Every gate of stdlib/gates.moe in PyTorch, from its paper or source and not from moec's code; queues and capacities are plain loops.

    python scripts/peers/gates.py          recomputes and compares with test/peers/gates.safetensors
    python scripts/peers/gates.py --write  stores anew

Each gate gets random rows, and skewed rows of which nearly all prefer one expert. Parameters and inputs are f32, results are computed in f64. Seeds are
searched for which no choice changes when the rows are perturbed by 1e-4, so that rounding cannot choose other experts. Stored as GATE.INPUT.WHAT."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from stored import keep

FILE = Path(__file__).parents[2] / "test" / "peers" / "gates.safetensors"
N, D, E, STEP = 24, 7, 6, 25


def balance(p, first):
    """The balance loss of Fedus et al. 2022, equations 4 to 6, counting all choices in `first`."""
    share = torch.bincount(first.flatten(), minlength=E).to(p.dtype) / first.numel()
    return E * (share * p.mean(dim=0)).sum()


def queued(expert, capacity, priority=None):
    """Drops (-1) the choices over an expert's capacity. First choices are queued before second ones, then by priority, then in the order of rows."""
    kept, used = expert.clone(), [0] * E
    for k in range(expert.shape[1]):
        order = range(len(expert)) if priority is None else sorted(range(len(expert)), key=lambda n: -priority[n, k].item())
        for n in order:
            e = expert[n, k].item()
            if e >= 0:
                used[e] += 1
                if used[e] > capacity:
                    kept[n, k] = -1
    return kept


def naive(w, x, training, **_):
    value, expert = torch.topk(x @ w["weight"] + w.get("bias", 0), 2)
    return F.softmax(value, -1), expert, {}


def softmax(w, x, training, **_):
    return *torch.topk(F.softmax(x @ w["weight"], -1), 2), {}


def top_k(w, x, training, **_):
    logits = x @ w["weight"]
    p = F.softmax(logits, -1)
    value, expert = torch.topk(p, 2)
    losses = {"balance": 0.02 * balance(p, expert), "z": 0.001 * torch.logsumexp(logits, -1).square().mean()}
    return value / value.sum(-1, keepdim=True), expert, losses


def top_k_plain(w, x, training, **_):
    p = F.softmax(x @ w["weight"], -1)
    value, expert = torch.topk(p, 3)
    return value, expert, {"balance": 0.01 * balance(p, expert)}


def noisy(w, x, training, drawn=None):
    """Shazeer et al. 2017, equations 3 to 11; the 0.01 that is added to softplus comes from the authors' code."""
    clean, spread = x @ w["weight"], F.softplus(x @ w["noise"]) + 0.01
    h = clean + drawn * spread if training else clean
    value, expert = torch.topk(h, 2)
    score = F.softmax(value, -1)
    gates = torch.zeros_like(h).scatter(1, expert, score)
    rows = []
    for e in range(E):
        others = torch.cat([h[:, :e], h[:, e + 1 :]], dim=1)
        kth = torch.topk(others, 2).values[:, 1]
        rows.append(torch.distributions.Normal(0, 1).cdf((clean[:, e] - kth) / spread[:, e]).sum())

    def squared_variation(v):
        return v.var(unbiased=False) / (v.mean().square() + 1e-10)

    losses = {"load": 0.2 * squared_variation(torch.stack(rows)), "importance": 0.3 * squared_variation(gates.sum(0))}
    return score, expert, losses


def switch(w, x, training, drawn=None):
    p = F.softmax((x * drawn if training else x) @ w["weight"], -1)
    value, expert = p.max(-1, keepdim=True)
    return value, queued(expert, math.ceil(1.25 * N / E), value), {"balance": 0.02 * balance(p, expert)}


def gshard(w, x, training, drawn=None):
    """GShard (Lepikhin et al. 2021, algorithm 1): the first choices of all rows are placed, then the second ones, as long as there is capacity."""
    p = F.softmax(x @ w["weight"], -1)
    value, expert = torch.topk(p, 2)
    score = value / value.sum(-1, keepdim=True)
    wanted = expert.clone()
    if training:
        wanted[2 * score[:, 1] < drawn, 1] = -1
    return score, queued(wanted, math.ceil(1.5 * N / E)), {"balance": 0.02 * balance(p, expert[:, :1])}


def sinkhorn(w, x, training, **_):
    logits = x @ w["weight"]
    plan = logits.detach().exp()
    for _ in range(8):
        plan = plan / plan.sum(0, keepdim=True)
        plan = plan / plan.sum(1, keepdim=True)
    expert = torch.topk(plan if training else logits, 2).indices
    return logits.gather(1, expert).sigmoid(), expert, {}


def bias(w, x, training, **_):
    """DeepSeek-V3's gate: groups are chosen by the sum of their two best biased scores; the weights are scores without the bias."""
    p = (x @ w["weight"]).sigmoid()
    wish = p.detach() + w["bias"]
    groups = torch.topk(wish.view(N, 3, 2).sum(-1), 2).indices
    open = torch.zeros(N, 3).scatter(1, groups, 1.0).bool().repeat_interleave(2, 1)
    expert = torch.topk(wish.masked_fill(~open, -math.inf), 2).indices
    value = p.gather(1, expert)
    load = torch.bincount(expert.flatten(), minlength=E).double()
    w["kept"] = {"state.gate.bias": w["bias"] + 0.01 * torch.sign(N * 2 / E - load)}
    return 2.5 * value / value.sum(-1, keepdim=True), expert, {}


def swipe(w, x, training, **_):
    """FastMoE's swipe_once for first choices, then for second ones. Each worker (of two experts) has room for an equal share of all choices; choices over
    that go to the first worker with room."""
    logits = x @ w["weight"]
    expert = torch.topk(logits, 2).indices
    if training:
        room, late = [N * 2 // 3] * 3, []
        for k in range(2):
            for n in range(N):
                worker = expert[n, k].item() // 2
                if room[worker] > 0:
                    room[worker] -= 1
                else:
                    late.append((n, k))
        for n, k in late:
            worker = next(i for i in range(3) if room[i] > 0)
            room[worker] -= 1
            expert[n, k] = 2 * worker + k % 2
    return F.softmax(logits.gather(1, expert), -1), expert, {}


def topology(w, x, training, **_):
    """FasterMoE's topology-aware gate (He et al. 2022) on two nodes, each with three experts and half of the rows."""
    logits = x @ w["weight"]
    expert = torch.topk(logits, 2).indices
    free = expert.clone()
    for node in range(2):
        rows, foreign = range(node * N // 2, (node + 1) * N // 2), slice(3 - 3 * node, 6 - 3 * node)
        away = [n for n in rows if free[n, 0].item() // 3 != node]
        limit = math.floor(0.2 * N / 2)
        if len(away) < limit:
            continue
        leaves = sorted(away, key=lambda n: -logits[n, free[n, 0]].item())[:limit]
        near = logits.detach().clone()
        near[:, foreign] = -math.inf
        for n in rows:
            expert[n] = torch.topk(near[n], 2).indices
        for n in leaves:
            expert[n, 1] = free[n, 0]
    losses = {"balance": 0.02 * balance(F.softmax(logits, -1), free[:, :1])}
    return F.softmax(logits.gather(1, expert), -1), expert, losses


def product_key(w, x, training, **_):
    """Product keys by their definition (Lample et al. 2019, section 3.1): for each head, the K best of all N * N sums of half scores."""
    q = (x @ w["query"]).view(N, 2, 2, 4)
    q = q / (q.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    s, t = torch.einsum("nhq,hqk->nhk", q[:, 0], w["rows"]), torch.einsum("nhq,hqk->nhk", q[:, 1], w["columns"])
    value, expert = torch.topk((s[..., None] + t[:, :, None]).flatten(2), 3)
    return F.softmax(value, -1).flatten(1), expert.flatten(1), {}


def dense_to_sparse(w, x, training, drawn=None):
    heat = max(0.3, 2 + (0.3 - 2) * (STEP if training else 0) / 100)
    p = F.softmax((x @ w["weight"] + (drawn if training else 0)) / heat, -1)
    return p, torch.where(p > 0.1, torch.arange(E), -1), {}


def relu(w, x, k, target, alpha):
    """ReMoE (Wang et al. 2024), equations 5 to 8, 10 and 11, of one layer; the k highest scores alone are choices."""
    r = F.relu(x @ w["weight"])
    positive = (r > 0).double()
    f = E / (target * N) * positive.sum(0)
    sparsity = 1 - positive.mean()
    grown = w["coefficient"] * alpha ** torch.sign((1 - target / E) - sparsity)
    w["kept"] = {"state.gate.coefficient": grown, "metric.gate.active": positive.sum(1).mean()}
    value, expert = torch.topk(r, k)
    return value, torch.where(value > 0, expert, -1), {"sparsity": w["coefficient"] / N * (f * r).sum()}


def relu_all(w, x, training, **_):
    return relu(w, x, E, 2.5, 1.5)


def relu_few(w, x, training, **_):
    return relu(w, x, 2, 4, 1.2)


def top_p(w, x, training, **_):
    """Huang et al. 2024: experts are added, the likeliest first, until their chances sum to p; three at most. Load is counted in rows."""
    p = F.softmax(x @ w["weight"], -1)
    value, order = torch.sort(p, dim=-1, descending=True)
    expert, taken = torch.full((N, 3), -1), torch.zeros(E, dtype=p.dtype)
    for n in range(N):
        mass = 0.0
        for k in range(3):
            if mass < 0.8:
                expert[n, k] = order[n, k]
                taken[order[n, k]] += 1
                mass += value[n, k].item()
    w["kept"] = {"metric.gate.active": taken.sum() / N}
    losses = {"balance": 0.02 * E * (taken / N * p.mean(0)).sum(), "dynamic": 0.003 * -(p * p.log()).sum(-1).mean()}
    return value[:, :3], expert, losses


def assigned(logits):
    """The maximum sum of logits over balanced assignments (N / E rows to each expert), by augmenting paths: rows are added one by one, each along the
    best chain of reassignments that ends at an expert with room."""
    value, held = logits.tolist(), [[] for _ in range(E)]
    for new in range(N):
        gain, moves = list(value[new]), [[(new, None, e)] for e in range(E)]
        for _ in range(E):
            for a in range(E):
                for n in held[a]:
                    for b in range(E):
                        if gain[a] + value[n][b] - value[n][a] > gain[b] + 1e-12:
                            gain[b], moves[b] = gain[a] + value[n][b] - value[n][a], moves[a] + [(n, a, b)]
        end = max((e for e in range(E) if len(held[e]) < N // E), key=lambda e: gain[e])
        for n, a, b in moves[end]:
            if a is not None:
                held[a].remove(n)
            held[b].append(n)
    return logits.new_tensor(sum(value[n][e] for e in range(E) for n in held[e]))


def uniform(g, *shape):
    return torch.rand(*shape, generator=g)


def gumbel(g, *shape):
    # In f64: PyTorch's log of f32 is rounded by the instruction set.
    return -torch.log(-torch.log(torch.rand(*shape, generator=g).double())).float()


def jitter(g, *shape):
    return 1 + 0.1 * (2 * uniform(g, *shape) - 1)


def gaussian(g, *shape):
    return torch.randn(*shape, generator=g)


# By the gate's name in test/peers/gates.moe: the function here, and the function and shape of the random numbers that it draws, if any.
GATES = {
    "Naive": (naive, None, ()),
    "NaiveBiased": (naive, None, ()),
    "Softmax": (softmax, None, ()),
    "TopK": (top_k, None, ()),
    "TopKPlain": (top_k_plain, None, ()),
    "Noisy": (noisy, gaussian, (N, E)),
    "Switch": (switch, jitter, (N, D)),
    "GShard": (gshard, uniform, (N,)),
    "Sinkhorn": (sinkhorn, None, ()),
    "Bias": (bias, None, ()),
    "Swipe": (swipe, None, ()),
    "Topology": (topology, None, ()),
    "DenseToSparse": (dense_to_sparse, gumbel, (N, E)),
    "Relu": (relu_all, None, ()),
    "ReluFew": (relu_few, None, ()),
    "TopP": (top_p, None, ()),
    "ProductKey": (product_key, None, ()),
}
# What a gate has as state, which has no gradient.
STATES = {"Bias": "bias", "Relu": "coefficient", "ReluFew": "coefficient"}


def case(name, kind, seed):
    """The parameters, the rows, and the random numbers of one case."""
    gate, draw, shape = GATES[name]
    g = torch.Generator().manual_seed(seed)
    w = {"weight": 0.7 * gaussian(g, D, E)}
    liked = w["weight"][:, 1]
    if name == "ProductKey":
        w = {"query": 0.7 * gaussian(g, D, 16), "rows": 0.5 * gaussian(g, 2, 4, 5), "columns": 0.5 * gaussian(g, 2, 4, 5)}
    if name == "Noisy":
        w["noise"] = 0.5 * gaussian(g, D, E)
    if name in ("Bias", "NaiveBiased"):
        w["bias"] = 0.2 * gaussian(g, E)
    if name in ("Relu", "ReluFew"):
        w["coefficient"] = torch.tensor(0.25)
    x = gaussian(g, N, D)
    if kind == "skewed":
        x = 0.5 * x + 2 * liked / liked.norm()
    return w, x, {"drawn": draw(g, *shape)} if draw else {}


def chosen(name, w, x, drawn):
    return [GATES[name][0](dict(w), x, training, **drawn)[1] for training in (True, False)]


def clear(name, w, x, drawn):
    w, drawn = ({k: v.double() for k, v in d.items()} for d in (w, drawn))
    g, exact = torch.Generator().manual_seed(1), chosen(name, w, x.double(), drawn)
    moved = [chosen(name, w, x.double() + 1e-4 * gaussian(g, N, D), drawn) for _ in range(4)]
    return all(a.equal(b) for m in moved for a, b in zip(exact, m))


def made(name, kind):
    seed = next(s for s in range(1000) if clear(name, *case(name, kind, s)))
    w, x, drawn = case(name, kind, seed)
    results = {f"param.gate.{k}": v for k, v in w.items()} | {"input.x": x} | {f"input.{k}": v for k, v in drawn.items()}
    w = {k: v.double().requires_grad_(k != STATES.get(name)) for k, v in w.items()}
    x = x.double().requires_grad_()
    score, expert, losses = GATES[name][0](w, x, True, **{k: v.double() for k, v in drawn.items()})
    kept = w.pop("kept", {})
    weight = gaussian(torch.Generator().manual_seed(seed), *score.shape)
    results["input.weight"] = weight
    losses = losses | {"scores": torch.where(expert >= 0, score * weight, 0).sum()}
    sum(losses.values()).backward()
    results |= {"metric.score": score.detach(), "metric.expert": expert.int(), "grad.input.x": x.grad}
    results |= {f"loss.{k}": v.detach() for k, v in losses.items()}
    results |= {f"grad.gate.{k}": v.grad for k, v in w.items() if v.requires_grad}
    results |= {k: v.detach() for k, v in kept.items()}
    with torch.no_grad():
        score, expert, _ = GATES[name][0](w, x, False)
    results |= {"output.0": score, "output.1": expert.int()}
    return {f"{name}.{kind}.{k}": v.contiguous() for k, v in results.items()}


def base(kind):
    """BASE layers: Lewis et al. 2021 do not say which of several optimal assignments is taken, so only the optimal sum is stored, and each row's best
    expert."""
    g = torch.Generator().manual_seed(0)
    w, x = 0.7 * gaussian(g, D, E), gaussian(g, N, D)
    if kind == "skewed":
        x = 0.5 * x + 2 * w[:, 1] / w[:, 1].norm()
    logits = x.double() @ w.double()
    best, expert = logits.max(-1, keepdim=True)
    results = {"param.gate.weight": w, "input.x": x, "input.weight": torch.ones(N, 1), "optimum": assigned(logits)}
    results |= {"output.0": best.sigmoid(), "output.1": expert.int()}
    return {f"Base.{kind}.{k}": v.contiguous() for k, v in results.items()}


def arrivals(expert, priority=None):
    """The position of each choice in its expert's queue. Choices of no expert (-1) have a queue of their own."""
    place, used = torch.zeros_like(expert), [0] * (E + 1)
    for k in range(expert.shape[1]):
        order = range(len(expert)) if priority is None else sorted(range(len(expert)), key=lambda n: -priority[n, k].item())
        for n in order:
            place[n, k] = used[expert[n, k]]
            used[expert[n, k]] += 1
    return place


def queue(kind):
    """The case for the library's functions of capacity: three choices per row, some of no expert, with many equal priorities."""
    g = torch.Generator().manual_seed(3)
    expert = torch.randint(-1, E, (N, 3), generator=g)
    if kind == "skewed":
        expert = torch.where(uniform(g, N, 3) < 0.7, 1, expert)
    priority = torch.randint(0, 4, (N, 3), generator=g).float() / 4
    kept, best = queued(expert, 4), queued(expert, 4, priority)
    results = [arrivals(expert), arrivals(expert, priority), kept, best, (best < 0).sum()]
    return {"input.expert": expert.int(), "input.priority": priority} | {f"output.{i}": v.int() for i, v in enumerate(results)}


def hashed(kind):
    """Hash layers: a fixed 32-bit hash of the token. Roller et al. 2021 do not say which."""
    if kind == "random":
        tokens = torch.randint(0, 200_000, (N,), generator=torch.Generator().manual_seed(0))
    else:
        tokens = torch.arange(N) % 3
    product = (tokens * 40503 + 2**31) % 2**32 - 2**31
    index = (product % 65521 % E)[:, None]
    return {"input.x": tokens.int(), "output.0": torch.ones(N, 1), "output.1": index.int()}


def main():
    torch.set_num_threads(1)
    results = {}
    for name in GATES:
        for kind in ("random", "skewed"):
            results |= made(name, kind)
    for kind in ("random", "skewed"):
        results |= base(kind)
        for name, made_by in {"Queue": queue, "Hash": hashed}.items():
            results |= {f"{name}.{kind}.{k}": v.contiguous() for k, v in made_by(kind).items()}
    keep(FILE, results)


if __name__ == "__main__":
    main()
