"""The same bits on any number of threads, under any threading layer, in any process and batch."""

from itertools import product

import numpy as np

from .frame import Result, layers, threads_always
from .networks import ALL, make, trained

THREADS = (1, 2, 3, 7, 16)
STEPS = 50
MOST_ROWS = 257


def settings(threads=THREADS):
    """Return a label and an environment for each threading layer and number of threads."""
    return [
        (f"{layer}, {n} threads", {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": str(n)})
        for layer, n in product(layers(), threads)
    ]


def bits(times, threads=THREADS, cases=ALL):
    """Train networks, again and again, on all numbers of threads under all layers."""
    tried = f"{STEPS} steps of {len(cases)} networks: all that training changes, gradients, predictions"
    result = Result(f"{tried}; {names(threads)}")
    expected = None
    for label, environment in settings(threads):
        found = result.call(label, 30 + 10 * times, train, times, cases, **environment)
        for digests in found or []:
            expected = expected or digests
            result.expect(digests == expected, f"{label}: other bits")
    return result


def names(threads):
    return f"{', '.join(map(str, threads))} threads, {', '.join(layers())}"


def train(times, cases):
    threads_always()
    return [[trained(case, STEPS) for case in cases] for _ in range(times)]


def rows(times, threads=(1, 3), cases=ALL):
    """Predict a row alone and in batches of 2 to 257 rows, at random places."""
    result = Result(f"a row alone, and in every batch of 2 to {MOST_ROWS} rows; {names(threads)}")
    for label, environment in settings(threads):
        for wrong in result.call(label, 30 + 10 * times, predict, times, cases, **environment) or []:
            result.expect(not wrong, f"{label}: other bits in batches of {wrong} rows")
    return result


def predict(times, cases):
    threads_always()
    rng = np.random.default_rng(0)
    found = []
    for _, case in product(range(times), cases):
        trainer, x, _ = make(case)
        x, model = x[:MOST_ROWS], trainer.model
        alone = np.concatenate([model.predict(row[None]) for row in x])
        wrong = []
        for batch in range(2, len(x) + 1):
            start = rng.integers(0, len(x) - batch + 1)
            part = slice(start, start + batch)
            if model.predict(x[part]).tobytes() != alone[part].tobytes():
                wrong.append(batch)
        found.append(wrong)
    return found
