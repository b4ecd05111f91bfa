"""fastbp.torch beside torch: a whole training step of a small network with torch's fused Adam, and the cross-entropy.

Both sides take turns in one process, some tens of milliseconds each; medians and quartiles are over the turns.

    python benchmarks/torch_door.py [--threads N] [--rounds 15]
"""

import argparse
import statistics
import time

import torch
from torch import nn

from fastbp.torch import MLP, CrossEntropyLoss, replace_

SIZES, BATCH = (17, 64, 64, 6), 64
CLASSES = 4096
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


def losses():
    """Return by name value and gradient of the cross-entropy."""
    logits = torch.randn(CLASSES, CLASSES, requires_grad=True)
    labels = torch.randint(CLASSES, (CLASSES,))

    def call_of(loss):
        def call():
            logits.grad = None
            loss(logits, labels).backward()

        return call

    return {"torch": call_of(nn.CrossEntropyLoss()), "CrossEntropyLoss": call_of(CrossEntropyLoss())}


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
    for title, calls in (
        (f"step {'-'.join(map(str, SIZES))}, batch {BATCH}, with fused Adam", training_steps()),
        (f"cross-entropy {CLASSES} x {CLASSES}, value and gradient", losses()),
    ):
        print(title)
        times = measured(calls, options.rounds)
        base = statistics.median(times["torch"])
        for name, values in times.items():
            low, middle, high = statistics.quantiles(values, n=4)
            print(f"  {name:17} {middle:10.1f} µs [{low:.1f} to {high:.1f}]   {base / middle:5.2f} times torch's speed")


if __name__ == "__main__":
    main()
