"""Every attention of stdlib/attention.moe and Transformer-XL's layer in PyTorch, from their papers and not from moec's code.

    python scripts/peers/attention.py          recomputes and compares with test/peers/attention.safetensors
    python scripts/peers/attention.py --write  stores anew

Rotary embeddings are complex products. Masks compare given positions, which may start anywhere; -1 is padding. Transformer-XL's sines are looked up by
distance. Parameters and inputs are f32, results are computed in f64. They are stored as CASE.WHAT, where WHAT is `param.PATH`, `input.NAME`,
`state.PATH`, `output`, `grad.PATH` or `grad.input.NAME`."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from stored import keep

FILE = Path(__file__).parents[2] / "test" / "peers" / "attention.safetensors"
B, T, N, D = 2, 6, 5, 8
# Positions in two sequences: the first starts at 0, the second continues at 3 and is padded. PLACE: the same of the source of cross attention.
AT = torch.tensor([[0, 1, 2, 3, 4, 5], [3, 4, 5, 6, -1, -1]])
PLACE = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, -1, -1]])


def heads(x, n):
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def flat(x):
    return x.transpose(1, 2).flatten(2)


def linear(w, name, x):
    y = x @ w[f"{name}.weight"]
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def rms(w, name, x, eps=1e-6):
    return F.rms_norm(x, x.shape[-1:], w[f"{name}.weight"], eps=eps)


def causal(at, seen, window=math.inf):
    q, k = at[:, None, :, None], seen[:, None, None, :]
    return (k >= 0) & (k <= q) & (q - k < window)


def yarn(rate, factor, original, truncate=True, fast=32, slow=1):
    """YaRN (Peng et al. 2023, equations 17 to 23), pair by pair: a pair's new rate depends on how often it rotates within the original context length.
    With `truncate`, as transformers calls it, the ends of the ramp are rounded to whole pairs."""
    n, base = len(rate), 1 / rate[1].item() ** len(rate)

    def pair(turns):
        """The (fractional) index i of the pair that rotates `turns` times: base ** (i / n) * 2 pi * turns == original."""
        return n * math.log(original / (turns * 2 * math.pi)) / math.log(base)

    first, last = (math.floor(pair(fast)), math.ceil(pair(slow))) if truncate else (pair(fast), pair(slow))
    first, last = max(first, 0), min(last, 2 * n - 1)
    slowed = [min(max((i - first) / (last - first), 0), 1) for i in range(n)]
    return torch.stack([r * (1 - s) + r / factor * s for r, s in zip(rate, slowed)])


def turned(pairs, at, base, stretch=1, original=None, truncate=True):
    """RoPE (Su et al. 2021, equation 13): pair i of A / 2, as a complex number, is rotated by the angle at * base ** (-2 i / A). In the result all real
    parts come first."""
    rate = base ** (-torch.arange(pairs.shape[-1], dtype=torch.float64) / pairs.shape[-1])
    if stretch > 1:
        rate = yarn(rate, stretch, original, truncate)
        pairs = pairs * (0.1 * math.log(stretch) + 1)
    angle = at[:, None, :, None] * rate
    y = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([y.real, y.imag], dim=-1)


def rope(x, at, base=10000.0, **scaling):
    a, b = x.chunk(2, dim=-1)
    return turned(torch.complex(a, b), at, base, **scaling)


def rope_pairs(x, at, base=10000.0):
    return turned(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()), at, base)


def attention(n, groups, base=10000.0, window=math.inf, normed=False, sloped=False, **scaling):
    def run(w, /, x):
        q, k, v = heads(linear(w, "query", x), n), heads(linear(w, "key", x), groups), heads(linear(w, "value", x), groups)
        if normed:
            q, k = rms(w, "query_norm", q), rms(w, "key_norm", k)
        bias = torch.zeros((), dtype=x.dtype)
        if sloped:
            slopes = torch.tensor([2 ** (-8 * (h + 1) / n) for h in range(n)], dtype=x.dtype)
            far = (AT[:, None, :, None] - AT[:, None, None, :]).to(x.dtype)
            bias = -slopes[:, None, None] * far
        else:
            q, k = rope(q, AT, base, **scaling), rope(k, AT, base, **scaling)
        bias = bias.masked_fill(~causal(AT, AT, window), -math.inf)
        if "sinks" in w:
            return linear(w, "output", flat(sunk(q, k, v, bias, w["sinks"])))
        return linear(w, "output", flat(F.scaled_dot_product_attention(q, k, v, bias, enable_gqa=True)))

    return run


def sunk(q, k, v, bias, sinks):
    """Attention sinks (GPT-OSS's model card, 2025): the softmax includes one learned score, whose probability is dropped."""
    k, v = (y.repeat_interleave(q.shape[1] // y.shape[1], dim=1) for y in (k, v))
    scores = q @ k.mT / math.sqrt(q.shape[-1]) + bias
    with_sink = torch.cat([scores, sinks[:, None, None].expand(*scores.shape[:-1], 1)], dim=-1)
    return with_sink.softmax(-1)[..., :-1] @ v


def latent(n, r, a, p):
    """Multi-head latent attention (DeepSeek-V2, 2024, equations 37 to 47), with keys and values expanded."""

    def run(w, /, x):
        q = heads(linear(w, "query_up", rms(w, "query_norm", linear(w, "query_down", x))), n)
        low, place = linear(w, "down", x).split([r, p], dim=-1)
        kv = heads(linear(w, "up", rms(w, "norm", low)), n)
        place = rope_pairs(place[:, None], AT).expand(B, n, T, p)
        q = torch.cat([q[..., :a], rope_pairs(q[..., a:], AT)], dim=-1)
        k = torch.cat([kv[..., :a], place], dim=-1)
        y = F.scaled_dot_product_attention(q, k, kv[..., a:], causal(AT, AT), scale=1 / math.sqrt(a + p))
        return linear(w, "output", flat(y))

    return run


def cross(n, groups):
    def run(w, /, x, source):
        q, k, v = heads(linear(w, "query", x), n), heads(linear(w, "key", source), groups), heads(linear(w, "value", source), groups)
        y = F.scaled_dot_product_attention(q, k, v, (PLACE >= 0)[:, None, None], enable_gqa=True)
        return linear(w, "output", flat(y))

    return run


def xl(n, m, filled):
    """Transformer-XL (Dai et al. 2019, section 3.3), with the sines looked up by distance. Only the last `filled` rows of the memory are valid."""

    def run(p, /, x, u, w, memory):
        everything = torch.cat([memory.detach(), x], dim=1)
        i, j = torch.arange(T)[:, None] + m, torch.arange(m + T)[None]
        mask = (j <= i) & (j >= m - filled)
        rate = 10000 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
        angle = torch.arange(m + T)[:, None] * rate
        r = (torch.cat([angle.sin(), angle.cos()], dim=-1).to(x.dtype) @ p["place.weight"]).unflatten(-1, (n, -1))
        q, k, value = (heads(linear(p, name, y), n) for name, y in [("query", x), ("key", everything), ("value", everything)])
        content = torch.einsum("bhtd,bhud->bhtu", q + u[:, None], k)
        far = torch.einsum("bhtd,tuhd->bhtu", q + w[:, None], r[(i - j).clamp(min=0)])
        share = ((content + far) / math.sqrt(D / n)).masked_fill(~mask, -math.inf).softmax(-1)
        h = F.layer_norm(x + linear(p, "output", flat(share @ value)), (D,), p["norm1.weight"], p["norm1.bias"])
        y = linear(p, "feed.down", linear(p, "feed.up", h).relu())
        return F.layer_norm(h + y, (D,), p["norm2.weight"], p["norm2.bias"])

    return run


def square(*names, biased=False):
    shapes = {f"{name}.weight": (D, D) for name in names}
    return shapes | ({f"{name}.bias": (D,) for name in names} if biased else {})


FOUR = ("query", "key", "value", "output")
GROUPED = square("query", "output") | {"key.weight": (D, 4), "value.weight": (D, 4)}
WIDE = {"query.weight": (D, 16), "key.weight": (D, 16), "value.weight": (D, 16), "output.weight": (16, D)}
# By the model's name in test/peers/attention.moe: the function here, the shapes of its parameters, and those of its inputs besides x.
CASES = {
    "Mha": (attention(2, 2), square(*FOUR, biased=True), {}),
    "Grouped": (attention(4, 2, base=100.0), GROUPED, {}),
    "Window": (attention(2, 2, window=3), square(*FOUR), {}),
    "Normed": (attention(2, 1, normed=True), GROUPED | {"query_norm.weight": (4,), "key_norm.weight": (4,)}, {}),
    "Sloped": (attention(4, 2, sloped=True), GROUPED, {}),
    "Sunk": (attention(4, 2, window=4), GROUPED | {"sinks": (4,)}, {}),
    "SlopedSunk": (attention(4, 2, sloped=True), GROUPED | {"sinks": (4,)}, {}),
    "Yarn": (attention(2, 2, base=100.0, stretch=4, original=32), WIDE, {}),
    "YarnSunk": (attention(2, 2, base=1000.0, stretch=40, original=2000, truncate=False), WIDE | {"sinks": (2,)}, {}),
    "Latent": (
        latent(2, r=5, a=3, p=4),
        {"query_down.weight": (D, 6), "query_norm.weight": (6,), "query_up.weight": (6, 14), "down.weight": (D, 9)}
        | {"norm.weight": (5,), "up.weight": (5, 2 * (3 + 2)), "output.weight": (2 * 2, D)},
        {},
    ),
    "Cross": (cross(4, 2), GROUPED, {"source": (B, N, D)}),
    "Xl": (
        xl(2, 4, 3),
        square(*FOUR, "place")
        | {"feed.up.weight": (D, 6), "feed.up.bias": (6,), "feed.down.weight": (6, D), "feed.down.bias": (D,)}
        | {f"norm{i}.{name}": (D,) for i in (1, 2) for name in ("weight", "bias")},
        {"u": (2, 4), "w": (2, 4), "memory": (B, 4, D)},
    ),
}


def made(name):
    run, shapes, takes = CASES[name]
    g = torch.Generator().manual_seed(len(name))
    drawn = lambda shape: torch.randn(shape, generator=g)
    params = {k: (1 if "norm" in k and "weight" in k else 0) + 0.3 * drawn(s) for k, s in shapes.items()}
    inputs = {"x": drawn((B, T, D))} | {k: drawn(s) for k, s in takes.items()}
    cotangent = drawn((B, T, D))
    w, x = ({k: v.double().requires_grad_() for k, v in d.items()} for d in (params, inputs))
    out = run(w, **x)
    (out * cotangent.double()).sum().backward()
    results = {f"param.{k}": v for k, v in params.items()} | {"input.cotangent.0": cotangent, "output": out.detach()}
    for k, v in inputs.items():
        results[f"state.{k}" if k == "memory" else f"input.{k}"] = v
    results |= {f"grad.{k}": v.grad for k, v in w.items()} | {f"grad.input.{k}": v.grad for k, v in x.items() if k != "memory"}
    if name != "Xl":
        results["input.place" if name == "Cross" else "input.at"] = (PLACE if name == "Cross" else AT).int()
    return {f"{name}.{k}": v.contiguous() for k, v in results.items()}


def main():
    torch.set_num_threads(1)
    results = {}
    for name in CASES:
        results |= made(name)
    keep(FILE, results)


if __name__ == "__main__":
    main()
