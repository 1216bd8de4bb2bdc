"""The demo's model (examples/gpt-moe.moe) trained by PyTorch on the same batches, to compare losses and time.

    python scripts/peers/demo.py --data FILE [--steps 400] [--batch 16] [--length 128] [--threads 2] [--seed 0] [--workers 1]

With --workers N, data parallelism: N processes (gloo) take a part of each batch and average their gradients. --threads is per process.

Prints one JSON object per line: every 50 steps the mean losses since the last, then the held-out loss, the seconds of training, and for each layer the
load of the busiest expert over the mean load, in the last 50 steps. Initial parameters are not moec's, so losses agree only roughly."""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from model import GptMoE, Training


def batch(data, rows, length, ranges):
    tokens = torch.zeros(rows, length, dtype=torch.long)
    targets = torch.full((rows, length), -1)
    for row, (start, end) in enumerate(ranges):
        tokens[row, : end - start] = data[start:end]
        targets[row, : end - start] = data[start + 1 : end + 1]
    return tokens, targets


def training_batch(data, rows, length, step):
    """The data is cut into as many streams as a batch has rows. Row b reads stream b, in each step the next `length` tokens."""
    stream = len(data) // rows
    start = step * length % (stream - length)
    return batch(data, rows, length, [(b * stream + start, b * stream + start + length) for b in range(rows)])


def held_out(model, data, rows, length):
    """The mean loss over all bytes but the first, as in runtime/training/data.ts."""
    stream, last, nats = -(-(len(data) - 1) // rows), len(data) - 1, 0.0
    for start in range(0, stream, length):
        ends = [min((b + 1) * stream, last) for b in range(rows)]
        ranges = [(min(b * stream + start, end), min(b * stream + start + length, end)) for b, end in enumerate(ends)]
        tokens, targets = batch(data, rows, length, ranges)
        nats += model.losses(tokens, targets)["language"].item() * (targets >= 0).sum().item()
    return nats / last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    for name, default in {"steps": 400, "batch": 16, "length": 128, "threads": 2, "seed": 0, "workers": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.workers > 1:
            mp.spawn(train, (options, f"file://{folder}/workers"), options.workers)
        else:
            train(0, options, None)


def train(rank, options, meeting):
    if meeting:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.workers)
    own = slice(rank * options.batch // options.workers, (rank + 1) * options.batch // options.workers)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    data = torch.frombuffer(bytearray(Path(options.data).read_bytes()), dtype=torch.uint8).long()
    cut = len(data) * 95 // 100
    model = GptMoE(v=256, d=128, h=256, layers=4, heads=4, e=8, k=2)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.02) if p.dim() > 1 else torch.nn.init.ones_(p)
    training, losses, seconds = Training(model, peak=2e-3, warm=50, total=options.steps, low=1e-4), [], 0.0
    loads = torch.zeros(4, 8)
    for step in range(options.steps):
        tokens, targets = training_batch(data[:cut], options.batch, options.length, step)
        begin = time.perf_counter()
        losses.append(training.step(tokens[own], targets[own])["language"])
        seconds += time.perf_counter() - begin
        if step >= options.steps - 50:
            loads += torch.stack([gate.load for gate in model.gates().values()])
        if (step + 1) % 50 == 0 and rank == 0:
            speed = (step + 1) * options.batch * options.length / seconds
            print(json.dumps({"step": step + 1, "language": sum(losses[-50:]) / 50, "tokens_per_second": speed}), flush=True)
    if rank > 0:
        return
    with torch.no_grad():
        out = held_out(model, data[cut:], options.batch, options.length)
    largest = (loads.max(dim=1).values / loads.mean(dim=1)).tolist()
    print(json.dumps({"held_out": out, "seconds": seconds, "largest": largest}))


if __name__ == "__main__":
    main()
