"""Fit what has not been fitted yet, and append how wrong it is: a line of JSON each."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.tables import scores
from benchmarks.tables.data import Split, load, split
from benchmarks.tables.methods import MODULES, Asked, module_of

Line = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is to be compared: on so many training rows at most, on the splits of the first seeds."""

    methods: Sequence[str]
    tables: Sequence[str]
    rows: int
    seeds: int
    threads: int
    epochs: int | None


def lines(results: Path) -> list[Line]:
    """Read what all files of a folder have."""
    return [json.loads(line) for file in sorted(results.glob("*.jsonl")) for line in file.read_text().splitlines()]


def missing(have: Sequence[Line], wanted: Wanted) -> Iterator[tuple[str, str, int]]:
    """Yield what to fit, in the order of methods, then splits, then tables."""
    done = {(line["method"], line["table"], line["seed"]) for line in have if line["rows"] == wanted.rows}
    for method, seed, table in product(wanted.methods, range(wanted.seeds), wanted.tables):
        if (method, table, seed) not in done:
            yield method, table, seed


def fit_and_score(method: str, part: Split, asked: Asked) -> Line:
    """Fit a method on a split; return its scores on the test rows and the seconds it took."""
    module = module_of(method)
    began, cpu = time.perf_counter(), _cpu_seconds()
    predict = module.METHODS[method](part, asked)
    fitted, cpu = time.perf_counter(), _cpu_seconds() - cpu
    out = predict(part.x_test)
    done = time.perf_counter()
    score = scores.of_classes if part.classes else scores.of_numbers
    return {
        **score(out, part.y_test, predict(part.x_validation), part.y_validation),
        "fit_seconds": round(fitted - began, 3),
        "fit_cpu_seconds": round(cpu, 3),
        "predict_seconds": round(done - fitted, 4),
        "version": module.VERSION,
    }


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def run(results: Path, wanted: Wanted, seconds: float) -> bool:
    """Fit what is missing until the time is over; return whether nothing is left."""
    began = time.perf_counter()
    results.mkdir(parents=True, exist_ok=True)
    for method, table, seed in missing(lines(results), wanted):
        if time.perf_counter() - began > seconds:
            return False
        line = {"method": method, "table": table, "rows": wanted.rows, "seed": seed}
        asked = Asked(seed, wanted.threads, wanted.epochs)
        line |= fit_and_score(method, split(load(table), seed, wanted.rows), asked)
        with open(results / f"{MODULES[method][1:]}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    return True
