"""The models of test/peers/*.moe in plain PyTorch, written from the language's definition and the papers, not from moec's code.
Modules are named so that `named_parameters` gives moec's paths; weights are [in, out], as in moec."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


class Linear(nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inner, outer))

    def forward(self, x):
        return F.linear(x, self.weight.t())


class RmsNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, eps=1e-6)


class SwiGlu(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.gate, self.up, self.down = Linear(d, h), Linear(d, h), Linear(h, d)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class TopKGate(nn.Module):
    """Scores of the k likeliest experts, normalised to sum to 1. Each call also sets `balance` (Switch Transformer, equation 4, weighted), `load`, and
    `gap`: the smallest difference between a k-th score and the next, which shows whether rounding could choose other experts."""

    def __init__(self, d, e, k, weight):
        super().__init__()
        self.weight, self.k, self.strength = nn.Parameter(torch.empty(d, e)), k, weight

    def forward(self, x):
        p = F.softmax(x @ self.weight, dim=-1)
        n, e = p.shape
        score, expert = torch.topk(p, self.k)
        self.load = torch.bincount(expert.flatten(), minlength=e)
        self.balance = self.strength * e * (self.load.to(p.dtype) / (n * self.k) * p.mean(dim=0)).sum()
        best = torch.topk(p.detach(), self.k + 1).values
        self.gap = (best[:, -2] - best[:, -1]).min().item()
        return score / score.sum(dim=-1, keepdim=True), expert


class MoE(nn.Module):
    def __init__(self, d, h, e, k, balance=0.01):
        super().__init__()
        self.gate = TopKGate(d, e, k, balance)
        self.experts = nn.ModuleList(SwiGlu(d, h) for _ in range(e))

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        score, expert = self.gate(rows)
        out = torch.zeros_like(rows)
        for e, body in enumerate(self.experts):
            token, choice = torch.where(expert == e)
            out = out.index_add(0, token, score[token, choice, None] * body(rows[token]))
        return out.reshape(x.shape)


def rope(x, base=10000.0):
    """RoPE (Su et al. 2021) on [B, heads, T, A]; feature i is paired with feature i + A / 2."""
    t, half = x.shape[-2], x.shape[-1] // 2
    rate = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(t, dtype=torch.float64)[:, None] * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.split(half, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.query, self.key, self.value, self.output = (Linear(d, d) for _ in range(4))
        self.heads = heads

    def forward(self, x, mask=None):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(rope(q), rope(k), v, mask, is_causal=mask is None)
        return self.output(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, d, h, heads, e, k):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.feed = RmsNorm(d), Attention(d, heads), RmsNorm(d), MoE(d, h, e, k)

    def forward(self, x, mask=None):
        y = x + self.attention(self.norm1(x), mask)
        return y + self.feed(self.norm2(y))


class Embedding(nn.Module):
    def __init__(self, v, d):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(v, d))


class GptMoE(nn.Module):
    def __init__(self, v, d, h, layers, heads, e, k):
        super().__init__()
        self.embed = Embedding(v, d)
        self.blocks = nn.ModuleList(Block(d, h, heads, e, k) for _ in range(layers))
        self.norm = RmsNorm(d)

    def forward(self, tokens, document=None):
        """`document`: the number of each token's document, which sees no other."""
        mask = None if document is None else (document[:, None, :, None] == document[:, None, None]).tril()
        x = F.embedding(tokens, self.embed.weight)
        for block in self.blocks:
            x = block(x, mask)
        return F.linear(self.norm(x), self.embed.weight)

    def losses(self, tokens, targets, document=None):
        """`language`: the mean cross entropy in nats over targets that are not -1. `balance`: the sum over the layers."""
        logits = self(tokens, document)
        language = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-1)
        return {"language": language, "balance": sum(block.feed.gate.balance for block in self.blocks)}

    def gates(self):
        return {f"blocks.{i}.feed.gate": block.feed.gate for i, block in enumerate(self.blocks)}


class Training:
    """AdamW (betas 0.9 and 0.95, decay 0.1 on all matrices but the embedding) with gradients clipped by their common norm, warm-up and half a cosine."""

    def __init__(self, model, peak, warm, total, low=0.0):
        named = list(model.named_parameters())
        decays = [p for name, p in named if p.dim() > 1 and name != "embed.weight"]
        others = [p for name, p in named if p.dim() == 1 or name == "embed.weight"]
        groups = [{"params": decays, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self.model = model
        self.optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8)

        def rate(step):
            part = min(1.0, max(0.0, (step - warm) / max(1, total - warm)))
            cosine = 0.5 * (1 + math.cos(math.pi * part))
            return min(1.0, (step + 1) / warm) * (low + (peak - low) * cosine)

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)

    def step(self, tokens, targets):
        """Makes one step, and returns the losses before it."""
        losses = self.model.losses(tokens, targets)
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        if dist.is_initialized():
            for p in self.model.parameters():
                dist.all_reduce(p.grad)
                p.grad /= dist.get_world_size()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return {name: loss.item() for name, loss in losses.items()}
