"""Runs that end at a random moment go on in another process, to the bits of a run that did not."""

import os
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np

import fastbp

from .bits import names, settings
from .frame import ChildFailed, Result, call, threads_always
from .networks import ALL, digest, make, state

SECONDS = 120
WAYS = ("exception", "SIGINT", "SIGKILL")
STEPS = 21  # of a run, those that its callback makes aside
METRICS = {"classes": ["f1_macro", "log_loss"], "labels": ["f1_micro", "auc"], "numbers": ["mae", "pinball_0.3"]}


class Stop(Exception):
    """Raised by a callback: the run is to be resumed."""


class Ends(fastbp.Callback):
    """Ends a run so many seconds after a step, by an exception or a signal."""

    def __init__(self, way, step, seconds):
        self.way, self.step = way, step
        self.timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.Signals.__members__.get(way)))

    def on_steps_end(self, trainer):
        if trainer.steps >= self.step and self.way == "exception":
            raise Stop
        if trainer.steps >= self.step and self.timer.ident is None:
            self.timer.start()

    def on_fit_end(self, trainer):
        self.timer.cancel()


class More(fastbp.Callback):
    """Makes steps of its own."""

    every = 4

    def __init__(self, x, y):
        self.x, self.y = x, y

    def on_steps_end(self, trainer):
        trainer.step(self.x, self.y)


def spread(targets, outputs, sample_weight):
    """Return a figure: how far apart outputs are."""
    return float(np.ptp(outputs))


def fit(trainer, x, y, callbacks=(), **options):
    """Train with all that `fit` takes; return the digest of what it leads to."""
    metrics = [*METRICS.get(trainer.loss._says, ()), spread]
    weight = np.random.default_rng(1).uniform(0.5, 2, len(x))
    best = fastbp.EarlyStopping("val_spread", mode="max", patience=9)
    history = trainer.fit(
        x, y, epochs=7, batch_size=-(-len(x) // 3), rng=5, metrics=metrics, validation_split=0.2, sample_weight=weight,
        callbacks=[best, More(x[:64], y[:64]), *callbacks], progress=False, **options,
    )  # fmt: skip
    return digest(*state(trainer, gradients=False), *history.values())  # those of a finished run are in no file


def resume(times, threads=(1, 3), cases=ALL):
    """End a run at any moment, and go on in another process under another layer, with other threads."""
    result = Result(f"fit with callbacks ended by {', '.join(WAYS)}, resumed in another process; {names(threads)}")
    there, rng = settings(threads), np.random.default_rng(0)
    expected = {case: result.call("whole runs", SECONDS, whole, case) for case in cases[:times]}
    for i in range(times):
        (before, first), (after, second) = there[i % len(there)], there[(i + 1 + i // len(there)) % len(there)]
        case, end = cases[i % len(cases)], (WAYS[i % len(WAYS)], i % STEPS + 1, rng.uniform(0, 0.02))
        label = f"case {case} from {before} to {after}, {end}"
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "checkpoint")
            try:
                call(SECONDS, begin, path, case, *end, **first)
            except ChildFailed as problem:
                result.expect(str(problem).startswith(end[0]), f"{label}: {problem}")
            found = result.call(label, SECONDS, go_on, path, case, **second)
            if found is not None:
                result.expect(found == expected[case], f"{label}: other bits")
    return result


def whole(case):
    return fit(*make(case))


def begin(path, case, way, step, seconds):
    threads_always()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    fastbp._base.pace.CALL_SECONDS = 0  # a step a call
    trainer, x, y = make(case)
    ends = fastbp.Checkpoint(path, every_seconds=0), Ends(way, step, seconds)
    try:
        fit(trainer, x, y, ends)
    except (Stop, KeyboardInterrupt):
        trainer.save_checkpoint(path)


def go_on(path, case):
    threads_always()
    _, x, y = make(case)
    return fit(fastbp.Trainer.load_checkpoint(path), x, y, resume=True)
