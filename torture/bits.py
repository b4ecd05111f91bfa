"""The same bits on any number of threads, under any threading layer, in any process and batch, and after resuming."""

import tempfile
from itertools import product
from pathlib import Path

import numpy as np

import fastbp

from .frame import Result, layers, threads_always
from .networks import CASES, digest, make, trained

THREADS = (1, 2, 3, 7, 16)
STEPS = 50
MOST_ROWS = 257


def settings(threads=THREADS):
    """Return a label and an environment for each threading layer and number of threads."""
    return [
        (f"{layer}, {n} threads", {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": str(n)})
        for layer, n in product(layers(), threads)
    ]


def bits(times, threads=THREADS):
    """Train three networks, again and again, on all numbers of threads under all layers."""
    result = Result(f"{STEPS} steps of 3 networks: parameters, gradients, predictions; {_names(threads)}")
    expected = None
    for label, environment in settings(threads):
        found = result.call(label, 30 + 10 * times, train, times, **environment)
        for digests in found or []:
            expected = expected or digests
            result.expect(digests == expected, f"{label}: other bits")
    return result


def _names(threads):
    return f"{', '.join(map(str, threads))} threads, {', '.join(layers())}"


def train(times):
    threads_always()
    return [[trained(case, STEPS) for case in range(len(CASES))] for _ in range(times)]


def rows(times, threads=(1, 3)):
    """Predict a row alone and in batches of 2 to 257 rows, at random places."""
    result = Result(f"a row alone, and in every batch of 2 to {MOST_ROWS} rows; {_names(threads)}")
    for label, environment in settings(threads):
        for wrong in result.call(label, 30 + 10 * times, predict, times, **environment) or []:
            result.expect(not wrong, f"{label}: other bits in batches of {wrong} rows")
    return result


def predict(times):
    threads_always()
    rng = np.random.default_rng(0)
    found = []
    for _, case in product(range(times), range(len(CASES))):
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


def resume(times, threads=(1, 3)):
    """Interrupt a run at any step, and go on in another process under another layer, with other threads."""
    result = Result(f"fit interrupted at a step, resumed in another process; {_names(threads)}")
    there = settings(threads)
    expected = result.call("whole run", 120, whole)
    for i in range(times):
        (before, first), (after, second) = there[i % len(there)], there[(i + 1 + i // len(there)) % len(there)]
        label = f"from {before} to {after}, at step {i % 20 + 1}"
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "checkpoint")
            result.call(label, 120, begin, path, i % 20 + 1, **first)
            found = result.call(label, 120, go_on, path, **second)
            if found is not None:
                result.expect(found == expected, f"{label}: other bits")
    return result


class _Interruption(Exception):
    pass


class _Interrupt(fastbp.Callback):
    def __init__(self, steps):
        self.steps = steps

    def on_steps_end(self, trainer):
        if trainer.steps >= self.steps:
            raise _Interruption


def _fit(trainer, x, y, **options):
    trainer.fit(x, y, epochs=3, batch_size=32, rng=5, progress=False, **options)
    return digest(*trainer.model.parameters().values(), *trainer.history["loss"])


def whole():
    return _fit(*make(0))


def begin(path, steps):
    threads_always()
    fastbp._base.pace.CALL_SECONDS = 0  # a step a call
    trainer, x, y = make(0)
    try:
        _fit(trainer, x, y, callbacks=[_Interrupt(steps)])
    except _Interruption:
        trainer.save_checkpoint(path)


def go_on(path):
    threads_always()
    _, x, y = make(0)
    return _fit(fastbp.Trainer.load_checkpoint(path), x, y, resume=True)
