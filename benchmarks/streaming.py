"""Training on rows that are read while steps run, beside the same rows in memory: samples a second, and memory.

    python benchmarks/streaming.py speed [--rows 1000000] [--turns 3] [--group 131072]
    python benchmarks/streaming.py memory [--gigabytes 4] [--group 131072]

The network is 26-256-256-256-1, on batches of 256 rows, with the threads that fastbp takes by default. `speed` runs an
epoch of each source in turn, in one process, and says how long it took as a multiple of the time in memory. `memory`
writes a table of so many bytes, trains on it for an epoch in another process, and says how much anonymous memory that
had at most: what it takes of the machine, while pages of files are the system's to keep or drop. Tables are written to
the folder of temporary files and deleted.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from pyarrow import parquet
from rich import box
from rich.console import Console
from rich.table import Table

import fastbp

FEATURES, SIZES, BATCH = 26, [26, 256, 256, 256, 1], 256
ROW_BYTES = 4 * (FEATURES + 1)
PIECE = 1 << 20  # rows that are made at a time
console = Console(highlight=False)


def pieces(rows: int) -> Iterator[Any]:
    """Yield arrays of features with the target as their last column."""
    rng = np.random.default_rng(0)
    for first in range(0, rows, PIECE):
        numbers = rng.standard_normal((min(PIECE, rows - first), FEATURES + 1), np.float32)
        numbers[:, -1] = np.tanh(numbers[:, 0] * numbers[:, 1]) + 0.1 * numbers[:, -1]
        yield numbers


def write_parquet(path: Path, rows: int, group: int) -> None:
    """Write a table of columns x0, x1, ..., y."""
    schema = pa.schema([(name, pa.float32()) for name in (*(f"x{i}" for i in range(FEATURES)), "y")])
    with parquet.ParquetWriter(path, schema) as writer:
        for numbers in pieces(rows):
            writer.write_table(pa.table(dict(zip(schema.names, numbers.T, strict=True)), schema), row_group_size=group)


def write_npy(folder: Path, rows: int) -> tuple[Any, Any]:
    """Write x.npy and y.npy, and open them as memory maps."""
    shapes = {"x": (rows, FEATURES), "y": (rows,)}
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
        for name, shape in shapes.items()
    }
    for i, numbers in enumerate(pieces(rows)):
        files["x"][i * PIECE : (i + 1) * PIECE], files["y"][i * PIECE : (i + 1) * PIECE] = (
            numbers[:, :-1],
            numbers[:, -1],
        )
    x, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes)
    return x, y


def trainer() -> fastbp.Trainer:
    return fastbp.Trainer(fastbp.mlp(SIZES, "relu", rng=0), "mse", fastbp.Adam(1e-3))


def speed(rows: int, turns: int, group: int, folder: Path) -> None:
    """Print the time of an epoch of each source."""
    write_parquet(folder / "rows.parquet", rows, group)
    x, y = write_npy(folder, rows)
    sources: dict[str, tuple[Any, ...]] = {
        "in memory": (np.array(x), np.array(y)),
        "Parquet": (fastbp.ParquetBlocks(folder / "rows.parquet", "y"),),
        "memory maps, all rows permuted": (x, y),
        "memory maps in blocks": (fastbp.ArrayBlocks(x, y, rows=group),),
    }
    trainers = {name: trainer() for name in sources}
    times: dict[str, list[float]] = {name: [] for name in sources}
    for turn in range(turns + 1):  # the first does not count
        for name, given in sources.items():
            began = time.perf_counter()
            trainers[name].fit(*given, batch_size=BATCH, rng=turn, progress=False)
            times[name] += [time.perf_counter() - began] * (turn > 0)
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("rows", "samples/s", "time, in memory = 1"):
        table.add_column(column, justify="left" if column == "rows" else "right")
    for name, seconds in times.items():
        ratio = median(a / b for a, b in zip(seconds, times["in memory"], strict=True))
        table.add_row(name, f"{rows / median(seconds):,.0f}", f"{ratio:.3f}")
    console.print(f"{fastbp.get_num_threads()} threads, an epoch of {rows:,} rows, medians of {turns} turns")
    console.print(table)


def anonymous_megabytes() -> float:
    """Return the anonymous memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def most_megabytes(act: Callable[[], Any]) -> float:
    """Return the most anonymous memory that this process has while it does something."""
    ended, seen = threading.Event(), [anonymous_megabytes()]

    def look() -> None:
        while not ended.wait(0.02):
            seen.append(anonymous_megabytes())

    looks = threading.Thread(target=look)
    looks.start()
    try:
        act()
    finally:
        ended.set()
        looks.join()
    return max(seen)


def epoch(path: str) -> None:
    """Train on a table for an epoch; print the memory before and at most, and samples a second."""
    one, source = trainer(), fastbp.ParquetBlocks(path, "y")
    trainer().fit(np.zeros((BATCH, FEATURES)), np.zeros(BATCH), progress=False)  # kernels are compiled or loaded
    before, began = anonymous_megabytes(), time.perf_counter()
    most = most_megabytes(lambda: one.fit(source, batch_size=BATCH, rng=0, progress=False))
    print(before, most, source.sizes.sum() / (time.perf_counter() - began))


def memory(gigabytes: float, group: int, folder: Path) -> tuple[float, float]:
    """Print and return how much memory an epoch takes: before, and at most."""
    rows = int(gigabytes * 1e9 / ROW_BYTES)
    path = folder / "rows.parquet"
    write_parquet(path, rows, group)
    code = "import sys, streaming; streaming.epoch(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True
    )
    before, most, rate = map(float, done.stdout.split())
    console.print(
        f"{gigabytes:g} GB of {rows:,} rows, {path.stat().st_size / 1e9:.2f} GB as Parquet: {most:.0f} MB of anonymous "
        f"memory at most, {before:.0f} MB before that epoch, {rate:,.0f} samples/s"
    )
    return before, most


def main(
    what: Annotated[str, typer.Argument(help="speed or memory")],
    rows: Annotated[int, typer.Option(min=BATCH)] = 1_000_000,
    turns: Annotated[int, typer.Option(min=1)] = 3,
    group: Annotated[int, typer.Option(min=1, help="Rows of a row group, and of a block.")] = 1 << 17,
    gigabytes: Annotated[float, typer.Option(help="Of a table for memory.")] = 4.0,
) -> None:
    """Time an epoch of rows that are read while steps run, or look at its memory."""
    with tempfile.TemporaryDirectory() as folder:
        if what == "speed":
            speed(rows, turns, group, Path(folder))
        elif what == "memory":
            memory(gigabytes, group, Path(folder))
        else:
            raise typer.BadParameter(f"expected speed or memory, got {what}")


if __name__ == "__main__":
    typer.run(main)
