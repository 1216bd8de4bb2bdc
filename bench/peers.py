"""What PyTorch needs for a case of bench/cases.ts: peers.py THREADS|cuda f32|tf32|bf16 CASE, CASE being its JSON.

Prints {peer: {"forward": seconds, "step": seconds}}, each the best of several runs in this process.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F


def gate(x, weight, k):
    score, index = torch.topk(torch.softmax(x @ weight, -1), k)
    return score / score.sum(-1, keepdim=True), index


def expert_of(weights):
    """SwiGLU of (gate, up, down), or GELU of (up, its bias, down, its bias)."""
    if len(weights) == 3:
        g, u, d = weights
        return lambda rows, e: (F.silu(rows @ g[e]) * (rows @ u[e])) @ d[e]
    u, b, d, c = weights
    return lambda rows, e: F.gelu(rows @ u[e] + b[e]) @ d[e] + c[e]


def loop(x, router, k, *weights):
    """One expert after the other, on the rows that chose it."""
    score, index = gate(x, router, k)
    expert, y = expert_of(weights), torch.zeros_like(x)
    for e in range(router.shape[1]):
        row, choice = torch.where(index == e)
        y = y.index_add(0, row, expert(x[row], e) * score[row, choice, None])
    return y


def grouped(x, router, k, *weights):
    """Rows sorted by expert, then one grouped product for each weight. It has no biases."""
    score, index = gate(x, router, k)
    order = torch.argsort(index.flatten(), stable=True)
    row = order // k
    ends = torch.bincount(index.flatten(), minlength=router.shape[1]).cumsum(0).to(torch.int32)
    g, u, d = weights
    rows = x[row]
    inner = F.silu(torch._grouped_mm(rows, g, offs=ends)) * torch._grouped_mm(rows, u, offs=ends)
    y = torch._grouped_mm(inner, d, offs=ends) * score.flatten()[order, None]
    return torch.zeros_like(x).index_add(0, row, y)


def waited(run):
    """The run, and on a GPU all that it has begun."""

    def whole():
        run()
        if torch.get_default_device().type == "cuda":
            torch.cuda.synchronize()

    return whole


def best(run, seconds=2.0, times=3):
    """The best of `times` runs, more while less than `seconds` have passed."""
    run = waited(run)
    run()
    found, start = float("inf"), time.perf_counter()
    while times > 0 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        run()
        found, times = min(found, time.perf_counter() - before), times - 1
    return found


def layer(f, *leaves, passes):
    """Seconds of f(*leaves) as training runs it, and with the gradients of all leaves."""
    for leaf in leaves:
        leaf.requires_grad_("step" in passes)
    y = f(*leaves)
    dy = torch.randn_like(y)
    del y
    seconds = {"forward": best(lambda: f(*leaves))}
    if "step" in passes:
        seconds["step"] = best(lambda: torch.autograd.grad(f(*leaves), leaves, dy))
    return seconds


def moe(declaration, shape, passes):
    t, d, n, e, k = shape
    x, router = torch.randn(t, d), torch.randn(d, e) / d**0.5
    wide, narrow = lambda: torch.randn(e, d, n) / d**0.5, torch.randn(e, n, d) / n**0.5
    if declaration == "GeluMoE":
        weights = wide(), torch.zeros(e, n), narrow, torch.zeros(e, d)
        kinds = {"PyTorch, loop": loop}
    else:
        weights = wide(), wide(), narrow
        kinds = {"PyTorch, loop": loop, "PyTorch, grouped_mm": grouped}
    return attempt({
        name: lambda f=f: layer(lambda x, r, *w: f(x, r, k, *w), x, router, *weights, passes=passes)
        for name, f in kinds.items()
    })


def attempt(kinds):
    """What PyTorch does not do on this processor is left out, and said."""
    found = {}
    for name, run in kinds.items():
        try:
            found[name] = run()
        except RuntimeError as error:
            print(f"{name} does not run here: {str(error).splitlines()[0]}", file=sys.stderr)
    return found


def adamw(rows, columns):
    weight = torch.nn.Parameter(torch.randn(rows, columns))
    weight.grad = torch.randn(rows, columns)
    optimizer = torch.optim.AdamW([weight], fused=True)

    def step():
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        optimizer.step()

    return {"step": best(step)}


def run(name, declaration, shape, passes):
    r = torch.randn
    if name == "moe":
        return moe(declaration, shape, passes)
    if name == "adamw":
        return {"PyTorch": adamw(*shape)}
    if name == "attention":
        f = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return {"PyTorch": layer(f, r(shape), r(shape), r(shape), passes=passes)}
    if name == "dense":
        m, d, n = shape
        return {"PyTorch": layer(torch.matmul, r(m, d), r(d, n), passes=passes)}
    width = shape[-1:]
    f = {
        "softmax": lambda x: torch.softmax(x, -1),
        "rmsnorm": lambda x, w=torch.ones(width): F.rms_norm(x, width, w, 1e-6),
        "layernorm": lambda x, w=torch.ones(width), b=torch.zeros(width): F.layer_norm(x, width, w, b),
    }[name]
    return {"PyTorch": layer(f, r(shape), passes=passes)}


if __name__ == "__main__":
    place, numbers, case = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if numbers == "bf16":
        torch.set_default_dtype(torch.bfloat16)
    torch.backends.cuda.matmul.allow_tf32 = numbers == "tf32"
    if place == "cuda":
        torch.set_default_device("cuda")
    else:
        torch.set_num_threads(int(place))
    torch.manual_seed(0)
    print(json.dumps(run(case["name"], case["declaration"], case["shape"], case["passes"])))
