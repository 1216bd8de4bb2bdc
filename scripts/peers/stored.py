"""What the scripts of this folder do with their results: with `--write` store them, otherwise compare them with the stored ones."""

import sys

import torch
from safetensors.torch import load_file, save_file


def keep(file, results, bar=1e-12):
    """Stores or compares the tensors `results`. `bar`: the largest norm of a difference, relative to 1 + the tensor's norm."""
    if "--write" in sys.argv:
        save_file(results, file)
        return
    stored = load_file(file)
    if results.keys() != stored.keys():
        raise SystemExit(f"{file.name} has other tensors: {sorted(results.keys() ^ stored.keys())}")
    for key, value in results.items():
        if not (value.double() - stored[key].double()).norm() <= bar * (1 + value.double().norm()):
            raise SystemExit(f"{file.name}: {key} is not what PyTorch gives now")
    print(f"{file.name} is PyTorch's, computed again with", torch.__version__)
