"""LoRA as PEFT's Linear has it (Hu et al. 2021), in experts and beside them, and what `merge_and_unload` leaves of it.

    python scripts/peers/lora.py          recomputes and compares with test/peers/lora.safetensors
    python scripts/peers/lora.py --write  stores anew

Adapters are applied beside the weights for `output`, and added to them for `plain.PATH`. Weights lie as in nn.Linear, [out, in], and are stored as
test/peers/lora.moe has them. Parameters and inputs are f32, results are computed in f64."""

from pathlib import Path

import torch
import torch.nn.functional as F
from stored import keep

FILE = Path(__file__).parents[2] / "test" / "peers" / "lora.safetensors"
N, D, H, E, R, ALPHA = 5, 6, 7, 3, 2, 16


class Linear(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs))
        self.lora_A = torch.nn.Linear(inputs, R, bias=False)
        self.lora_B = torch.nn.Linear(R, outputs, bias=False)
        torch.nn.init.normal_(self.lora_B.weight, std=0.3)  # as if trained: it begins as 0

    def forward(self, x):
        return F.linear(x, self.weight) + self.lora_B(self.lora_A(x)) * (ALPHA / R)

    def merged(self):
        return self.weight + self.lora_B.weight @ self.lora_A.weight * (ALPHA / R)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        parts = lambda: {"gate": Linear(D, H), "up": Linear(D, H), "down": Linear(H, D)}
        self.experts = torch.nn.ModuleList(torch.nn.ModuleDict(parts()) for _ in range(E))
        self.out = Linear(D, D)

    def forward(self, x):
        rows = [e["down"](F.silu(e["gate"](x[i])) * e["up"](x[i])) for i, e in enumerate(self.experts)]
        return self.out(torch.stack(rows))


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = Model(), torch.randn(E, N, D)
    results = {"input.x": x.clone()}
    for name, layer in model.named_modules():
        if isinstance(layer, Linear):
            own = {"weight": layer.weight, "a": layer.lora_A.weight, "b": layer.lora_B.weight}
            results |= {f"param.{name}.{k}": v.T.contiguous() for k, v in own.items()}
    model.double()
    results["output"] = model(x.double())
    results |= {f"plain.{k}.weight": v.merged().T.contiguous() for k, v in model.named_modules() if isinstance(v, Linear)}
    keep(FILE, results)


if __name__ == "__main__":
    main()
