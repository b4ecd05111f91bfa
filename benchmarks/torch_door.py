"""fastbp.torch beside torch: training steps with torch's fused Adam, cross-entropies, and chains with dropout.

Both sides take turns in one process, some tens of milliseconds each; medians and quartiles are over the turns.

    python benchmarks/torch_door.py [--threads N] [--rounds 15]
"""

import argparse
import copy
import statistics
import time
from itertools import pairwise

import torch
from torch import nn

from fastbp.torch import MLP, CrossEntropyLoss, replace_

SIZES, BATCH = (17, 64, 64, 6), 64
LOGITS = [
    (1, 2), (64, 10), (128, 10), (256, 10), (64, 100), (64, 1000), (1024, 100), (1024, 1000), (4096, 4096),
    (32, 10, 28), (8, 21, 64, 64),
]  # fmt: skip
# Layers, rows, and whether there is dropout between the layers
CHAINS = [((64, 256, 256, 10), 1, False), ((17, 64, 64, 6), 64, True), ((784, 512, 512, 10), 128, True)]
TURN = 0.05


def training_steps():
    """Return by name a training step: forward, backward, fused Adam."""
    x, gradient = torch.randn(BATCH, SIZES[0]), torch.randn(BATCH, SIZES[-1]) / BATCH

    def plain():
        return nn.Sequential(
            nn.Linear(*SIZES[:2]), nn.ReLU(), nn.Linear(*SIZES[1:3]), nn.ReLU(), nn.Linear(*SIZES[2:])
        )  # fmt: skip

    replaced = plain()
    replace_(replaced)

    def step_of(model):
        optimizer = torch.optim.Adam(model.parameters(), fused=True)

        def step():
            optimizer.zero_grad()
            model(x).backward(gradient)
            optimizer.step()

        return step

    return {"torch": step_of(plain()), "MLP": step_of(MLP(SIZES)), "replace_": step_of(replaced)}


def losses(shape):
    """Return by name a cross-entropy of logits of a shape: with its gradient, and alone."""
    logits = torch.randn(shape, requires_grad=True)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]))

    def calls_of(loss):
        def with_gradient():
            logits.grad = None
            loss(logits, labels).backward()

        def alone():
            with torch.no_grad():
                loss(logits, labels)

        return with_gradient, alone

    pairs = zip(calls_of(nn.CrossEntropyLoss()), calls_of(CrossEntropyLoss()), strict=True)
    return [{"torch": torchs, "CrossEntropyLoss": own} for torchs, own in pairs]


def chains(sizes, rows, dropout):
    """Return by name a chain's forward and backward pass, and its forward pass in evaluation mode."""
    layers = []
    for ins, outs in pairwise(sizes):
        layers += [nn.Linear(ins, outs), nn.ReLU(), *([nn.Dropout(0.2)] * dropout)]
    plain = nn.Sequential(*layers[: -1 - dropout])
    replaced = copy.deepcopy(plain)
    replace_(replaced)
    x, gradient = torch.randn(rows, sizes[0]), torch.randn(rows, sizes[-1])

    def calls_of(model):
        def train():
            model.train()
            model.zero_grad()
            model(x).backward(gradient)

        def evaluate():
            model.eval()
            with torch.no_grad():
                model(x)

        return train, evaluate

    pairs = zip(calls_of(plain), calls_of(replaced), strict=True)
    return [{"torch": torchs, "replace_": own} for torchs, own in pairs]


def cases():
    """Return what is timed, by title."""
    found = {f"step {'-'.join(map(str, SIZES))}, batch {BATCH}, with fused Adam": training_steps()}
    for shape in LOGITS:
        title = f"cross-entropy {' x '.join(map(str, shape))}"
        found[f"{title}, with its gradient"], found[f"{title}, alone"] = losses(shape)
    for sizes, rows, dropout in CHAINS:
        title = f"chain {'-'.join(map(str, sizes))}, batch {rows}{', dropout' * dropout}"
        found[f"{title}, forward and backward"], found[f"{title}, evaluation"] = chains(sizes, rows, dropout)
    return found


def measured(calls, rounds):
    """Return the microseconds of each call, a list of one number a round."""
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(TURN / (time.perf_counter() - start)))
    times = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            if turn > 0:
                times[name].append((time.perf_counter() - start) / repeats[name] * 1e6)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads; medians and quartiles of {options.rounds} turns")
    for title, calls in cases().items():
        print(title)
        times = measured(calls, options.rounds)
        base = statistics.median(times["torch"])
        for name, values in times.items():
            low, middle, high = statistics.quantiles(values, n=4)
            print(f"  {name:17} {middle:10.1f} µs [{low:.1f} to {high:.1f}]   {base / middle:5.2f} times torch's speed")


if __name__ == "__main__":
    main()
