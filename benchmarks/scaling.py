"""How fastbp scales: with threads, in memory, with the batch, with the size of numbers. `make bench-scaling`.

Four tables, each with a claim, and a mark where it does not hold: many threads are never slower than one, training
takes the memory that its arrays take, a row costs the same in a batch of any size, and numbers below the normal ones
cost at most twice what others do.
"""

import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table

import fastbp
from fastbp.kernels.activations import CODES

WIDTHS = (8, 16, 32, 45, 46, 64, 100, 128, 256)
BATCHES = (1, 32, 128, 1024)
ROUNDS, SECONDS = 15, 0.02
SLOWER = 1.05

MEMORY = [((784, 512, 512, 10), 256, "sgd"), ((784, 512, 512, 10), 256, "adam"),
          ((1024, 4096, 4096, 1000), 512, "sgd"), ((1024, 4096, 4096, 1000), 512, "adam")]  # fmt: skip
OPTIMIZERS = {"sgd": (fastbp.SGD(0.01), 0), "adam": (fastbp.Adam(1e-3), 2)}  # and arrays beside the parameters
FIXED_BYTES = 20e6

GROWING = (256, 1024, 4096, 16384, 65536)
LINEAR_NETWORKS = [(64, 128, 10), (784, 128, 10)]
LINEAR = 0.15

SMALL = np.float32(1e-40)  # times this, numbers are subnormal
SUBNORMAL = 2.0


def rows(sizes, batch):
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, sizes[0]), np.float32), rng.integers(0, sizes[-1], batch)


def trainer(sizes, optimizer="sgd"):
    return fastbp.Trainer(fastbp.mlp(sizes, rng=0), optimizer=OPTIMIZERS[optimizer][0])


def turn(step, x, y):
    """Return the seconds of a step, after as much time again to settle."""
    for _ in ("settle", "measure"):
        calls, began = 0, time.perf_counter()
        while (now := time.perf_counter()) - began < SECONDS:
            step(x, y)
            calls += 1
    return (now - began) / calls


def table(title, *columns):
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        shown.add_column(column, justify="right", no_wrap=True)
    return shown


def marked(text, wrong):
    return f"[bold red]{text} ![/]" if wrong else text


def threads_table():
    """Time of a step on all threads as a part of the time on one: the median of the rounds' ratios."""
    cores = fastbp.get_num_threads()
    shown = table(
        f"A step on {cores} threads / on one thread, width-width-width-10 (! above {SLOWER})",
        "width", *(f"batch {batch}" for batch in BATCHES),
    )  # fmt: skip
    ratios = {}
    for width, batch in product(WIDTHS, BATCHES):
        sizes = (width, width, width, 10)
        step, (x, y) = trainer(sizes).step, rows(sizes, batch)
        rounds = []
        for _ in range(ROUNDS):
            fastbp.set_num_threads(1)
            alone = turn(step, x, y)
            fastbp.set_num_threads(cores)
            rounds.append(turn(step, x, y) / alone)
        ratios[width, batch] = statistics.median(rounds)
    for width in WIDTHS:
        row = [ratios[width, batch] for batch in BATCHES]
        shown.add_row(str(width), *(marked(f"{ratio:.2f}", ratio > SLOWER) for ratio in row))
    return shown


def memory(name):
    """Return VmRSS, the memory of this process now, or VmHWM, the most it had, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])


def training_memory(sizes, batch, optimizer):
    """Return by how much training raises the memory of this process; the rows are the caller's and do not count."""
    fastbp.warmup()
    x, y = rows(sizes, batch)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = memory("VmRSS")
    step = trainer(sizes, optimizer).step
    for _ in range(3):
        step(x, y)
    return memory("VmHWM") - before


def memory_table():
    shown = table(
        "Memory of training past the imports; expected: parameters, gradients, state, activations, 20 MB (! above)",
        "network, batch", "optimizer", "expected, MB", "peak, MB",
    )  # fmt: skip
    for sizes, batch, optimizer in MEMORY:
        parameters = sum(a * b + b for a, b in pairwise(sizes))
        arrays = 2 + OPTIMIZERS[optimizer][1]  # parameters and gradients
        expected = 4 * (parameters * arrays + batch * sum(sizes[1:])) + FIXED_BYTES
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            peak = fresh.submit(training_memory, sizes, batch, optimizer).result()
        name = f"{'-'.join(map(str, sizes))}, {batch}"
        shown.add_row(name, optimizer, f"{expected / 1e6:.0f}", marked(f"{peak / 1e6:.0f}", peak > expected))
    return shown


def batch_table():
    shown = table(
        f"µs a row of a step, by batch (! more than {LINEAR:.0%} above batch {GROWING[0]})",
        "network", *map(str, GROWING),
    )  # fmt: skip
    for sizes in LINEAR_NETWORKS:
        runs = [(trainer(sizes).step, *rows(sizes, batch)) for batch in GROWING]
        rounds = [[turn(*run) / len(run[1]) for run in runs] for _ in range(ROUNDS)]
        costs = [1e6 * statistics.median(times) for times in zip(*rounds, strict=True)]
        cells = (marked(f"{cost:.3f}", cost > (1 + LINEAR) * costs[0]) for cost in costs)
        shown.add_row("-".join(map(str, sizes)), *cells)
    return shown


def subnormal_table():
    """Time of forward, backward and a step on one thread with subnormal numbers, as a part of that with others."""
    names = [name for name in CODES if name != "identity"]
    shown = table(f"Subnormal / normal numbers (! above {SUBNORMAL})", "what", "input", "weight", "dz")
    fastbp.set_num_threads(1)

    def ratio(usual, small):
        return statistics.median(turn(*small) / turn(*usual) for _ in range(ROUNDS))

    def add(name, *pairs):
        ratios = [ratio(*pair) for pair in pairs]
        shown.add_row(name, *(marked(f"{ratio:.2f}", ratio > SUBNORMAL) for ratio in ratios))

    def there_and_back(layer):
        def run(x, dz):
            layer.forward(x)
            layer.backward(dz)

        return run

    rng = np.random.default_rng(0)
    for shape, name in [((128, 784, 128), "identity"), *(((256, 4, 512), name) for name in names)]:
        batch, ins, outs = shape
        x, dz = rng.standard_normal((batch, ins), np.float32), rng.standard_normal((batch, outs), np.float32)
        usual, small = fastbp.Dense(ins, outs, name, rng=0), fastbp.Dense(ins, outs, name, rng=0)
        small.weight[...] *= SMALL
        run = there_and_back(usual)
        changed = [(run, x * SMALL, dz), (there_and_back(small), x, dz), (run, x, dz * SMALL)]
        add(f"{name}, {'-'.join(map(str, shape))}", *(((run, x, dz), other) for other in changed))
    logits, labels = rng.standard_normal((512, 1000), np.float32), rng.integers(0, 1000, 512)
    loss = fastbp.nn.functional.softmax_cross_entropy
    add("cross-entropy, 512-1000", ((loss, logits, labels), (loss, logits * SMALL, labels)))
    for optimizer in OPTIMIZERS:
        sizes = (784, 128, 10)
        (x, y), usual, small = rows(sizes, 128), trainer(sizes, optimizer).step, trainer(sizes, optimizer)
        small.model[0].weight[...] *= SMALL
        add(f"step, {optimizer}", ((usual, x, y), (usual, x * SMALL, y)), ((usual, x, y), (small.step, x, y)))
    return shown


TABLES = {"threads": threads_table, "memory": memory_table, "batch": batch_table, "subnormal": subnormal_table}


def main(only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(TABLES)}; may be repeated.")] = None):
    cores = fastbp.get_num_threads()
    console = Console(highlight=False, width=150)
    about = fastbp.config()
    console.print(f"{about['CPU']}, {about['instruction set']}, {cores} threads, fastbp {fastbp.__version__}")
    fastbp.warmup()
    for name in only or TABLES:
        fastbp.set_num_threads(cores)
        console.print(TABLES[name]())


if __name__ == "__main__":
    typer.run(main)
