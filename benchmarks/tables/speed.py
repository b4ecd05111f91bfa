"""How long fits and predictions take, by turns, each in a process of its own that has done a short fit before."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from benchmarks.tables.data import Table, load, split
from benchmarks.tables.methods import Asked, module_of

TABLE = "diamonds"
PREDICTED = 10_000
REPEATS = 5  # predictions
CASES = {
    "td-s": ("fastbp RealMLP TD-S", "pytabkit RealMLP TD-S"),
    "td": ("fastbp RealMLP TD", "pytabkit RealMLP TD"),
    "tabm": ("fastbp TabM-mini", "tabm TabM-mini"),
}


def timed(method: str, rows: int, asked: Asked) -> dict[str, float]:
    """Fit and predict; what compiles or loads at first has done so on a few rows."""
    fit, table = module_of(method).METHODS[method], load(TABLE)
    fit(split(table, 1, 512), Asked(0, asked.threads, epochs=2))(_rows(table))
    part = split(table, 0, rows)
    began = time.perf_counter()
    predict = fit(part, asked)
    seconds = {"fit": time.perf_counter() - began}
    x, each = _rows(table), []
    for _ in range(REPEATS):
        began = time.perf_counter()
        predict(x)
        each.append(time.perf_counter() - began)
    return seconds | {"predict": statistics.median(each)}


def _rows(table: Table) -> pd.DataFrame:
    """Return rows to predict."""
    order = np.random.default_rng(2).permutation(len(table.features))
    return table.features.iloc[order[:PREDICTED]]


def speed(cases: Sequence[str], rows: int, turns: int, asked: Asked) -> None:
    """Print the seconds of each turn, then medians and ratios."""
    for case in cases:
        found: dict[str, list[dict[str, float]]] = {method: [] for method in CASES[case]}
        for _, method in product(range(turns), found):
            found[method].append(_in_process(method, rows, asked))
            print(json.dumps({"method": method, "rows": rows} | vars(asked) | found[method][-1]), flush=True)
        for what in ("fit", "predict"):
            ours, theirs = ([turn[what] for turn in each] for each in found.values())
            ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
            medians = f"fastbp {statistics.median(ours):.3g} s, {CASES[case][1]} {statistics.median(theirs):.3g} s"
            spread = f"{statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{case} {what}: {medians}; ratio {spread}", flush=True)


def _in_process(method: str, rows: int, asked: Asked) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.tables.speed", method, str(rows), json.dumps(vars(asked))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    name, count, rest = sys.argv[1:]
    print(json.dumps(timed(name, int(count), Asked(**json.loads(rest)))))
