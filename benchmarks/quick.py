"""A training step side by side with PyTorch, in a minute: `make bench`.

A step is forward, softmax cross-entropy, backward and an SGD update on one batch that is in memory, called from Python
as a user calls it: `fastbp.Trainer.step`, and PyTorch's eager loop. Compiling is done before. The contenders take turns
for some rounds and the medians are shown, so that a busy moment of the machine falls on all of them.
"""

import os
import statistics
import time
from itertools import pairwise

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import fastbp

try:
    import torch
except ImportError:
    torch = None

# sizes, activation, batch
NETWORKS = [
    ((10, 46, 46, 10), "relu", 128),
    ((17, 64, 64, 6), "tanh", 64),
    ((784, 128, 10), "relu", 32),
    ((784, 128, 10), "relu", 128),
    ((784, 512, 512, 10), "relu", 256),
]
ROUNDS = 15
SECONDS = 0.03  # of one turn, after as much again to settle
LR = 0.01


def flops(sizes, batch):
    """Multiplications and additions of the products in a step; the input needs no gradient."""
    work = sum(2 * a * b for a, b in pairwise(sizes))
    return batch * (3 * work - 2 * sizes[0] * sizes[1])


def fastbp_step(sizes, activation, x, y, threads):
    trainer = fastbp.Trainer(fastbp.mlp(sizes, activation, rng=0), optimizer=fastbp.SGD(LR))

    def step():
        trainer.step(x, y)

    return lambda: fastbp.set_num_threads(threads), step


def torch_step(sizes, activation, x, y, threads):
    make = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[activation]
    layers = [part for a, b in pairwise(sizes) for part in (torch.nn.Linear(a, b), make())][:-1]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return lambda: torch.set_num_threads(threads), step


def turn(prepare, step):
    """Return the seconds of a step, over one turn."""
    prepare()
    for _ in ("settle", "measure"):  # threads of the contender before may still be spinning
        calls, began = 0, time.perf_counter()
        while (now := time.perf_counter()) - began < SECONDS:
            step()
            calls += 1
    return (now - began) / calls


def measure(sizes, activation, batch, contenders):
    """Return the median seconds of a step of each contender, (make, threads)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], batch)
    steps = [make(sizes, activation, x, y, threads) for make, threads in contenders]
    for prepare, step in steps:
        turn(prepare, step)
    rounds = [[turn(*step) for step in steps] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def main():
    cores = fastbp.get_num_threads()
    counts = sorted({1, cores})
    makers = [("fastbp", fastbp_step)] + ([("torch", torch_step)] if torch else [])
    contenders = [(make, threads) for _, make in makers for threads in counts]
    table = Table(title="A training step", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in (
        "network, batch",
        *(f"{name}\n{n} thr.\nus" for name, _ in makers for n in counts),
        *(f"{name}\nbest\nGFLOP/s" for name, _ in makers),
        *(["ratio"] if torch else []),
    ):
        table.add_column(name, justify="left" if name.startswith("network") else "right", no_wrap=True)
    for sizes, activation, batch in NETWORKS:
        seconds = measure(sizes, activation, batch, contenders)
        best = [min(seconds[i : i + len(counts)]) for i in range(0, len(seconds), len(counts))]
        cells = [f"{1e6 * s:.0f}" for s in seconds] + [f"{flops(sizes, batch) / s / 1e9:.0f}" for s in best]
        if torch:
            cells.append(f"{best[1] / best[0]:.1f}")
        tanh = "" if activation == "relu" else f" {activation}"
        table.add_row(f"{'-'.join(map(str, sizes))}{tanh}, {batch}", *cells)
    console = Console(highlight=False, soft_wrap=True)
    about = fastbp.config()
    versions = f"fastbp {fastbp.__version__}" + (
        f", torch {torch.__version__}" if torch else "; torch is not installed"
    )
    console.print(f"{about['CPU']}, {about['instruction set']}, {cores} threads; {versions}")
    load = os.getloadavg()[0]
    console.print(
        f"load of the machine in the last minute: {load:.1f}; believe ratios, not times, where others compute"
    )
    console.print(table)


if __name__ == "__main__":
    main()
