"""Tables that are read a block at a time: however many rows there are, memory stays as it is."""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .frame import ROOT, Result

FEATURES, MOST = 26, 500  # megabytes of anonymous memory
BLOCK, GROUP = 1 << 20, 1 << 16  # rows that are written at a time, and in a row group
KINDS = ("parquet", "csv")
MAIN = "from fastbp.app.cli import main; main()"


def large(times, rows=9_000_000):
    """Train on a gigabyte of random rows, as Parquet and as text, and look at the memory of the process."""
    result = Result(f"fastbp train --stream of {rows:,} rows of {FEATURES} numbers: {', '.join(KINDS)}")
    for seed in range(times):
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"table.{kind}")
                write(path, rows, seed)
                code, most = trained(path, folder)
            result.expect(code == 0 and most < MOST, f"{kind}, seed {seed}: exit code {code}, {most:.0f} MB")
    return result


def write(path, rows, seed):
    """Write random numbers, and one that depends on them."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng, names = np.random.default_rng(seed), [*(f"x{j}" for j in range(FEATURES)), "y"]
    schema = pa.schema([(name, pa.float32()) for name in names])
    is_text = path.suffix == ".csv"
    with csv.CSVWriter(path, schema) if is_text else parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BLOCK):
            x = rng.normal(size=(FEATURES, min(BLOCK, rows - start))).astype(np.float32)
            block = pa.table([*x, np.tanh(x[:5].sum(axis=0))], schema=schema)
            writer.write_table(block, *([] if is_text else [GROUP]))


def trained(path, folder):
    """Train on a file; return the exit code and the most anonymous memory in megabytes."""
    options = ["--stream", "--target", "y", "--epochs", "1", "--hidden", "64", "--batch-size", "1024", "--out", folder]
    words = [sys.executable, "-c", MAIN, "train", str(path), *options]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    most = 0.0
    while process.poll() is None:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        most = max(most, int(found[1]) / 1024 if found else 0.0)
        time.sleep(0.02)
    return process.returncode, most
