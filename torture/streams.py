"""Runs on blocks of rows: ended at a random moment and resumed elsewhere, and how much memory they take."""

import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import fastbp

from .bits import names, settings
from .frame import ChildFailed, Result, call, threads_always
from .networks import digest, state
from .resumed import SECONDS, WAYS, Ends, Stop

FEATURES, CLASSES, EPOCHS = 10, 4, 3
MIB = 1 << 20
BLOCK_ROWS, WIDTH = 1 << 14, 64  # of a block of 4 MiB
WINDOW = 4


class Drawn(fastbp.Blocks):
    """Blocks of random sizes, whose rows are drawn when they are read, sometimes after a while."""

    def __init__(self, layout):
        rng = np.random.default_rng([5, layout])
        self.sizes, self.window = rng.integers(1, 200, rng.integers(1, 12)), int(rng.integers(1, 5))
        self.batch = int(rng.integers(1, 120))

    def read(self, block):
        rng = np.random.default_rng([7, block])
        time.sleep(np.random.default_rng().choice([0, 0, 0.003]))  # another time in each process
        x = rng.standard_normal((self.sizes[block], FEATURES))
        return x, rng.integers(0, CLASSES, len(x)), rng.uniform(0.5, 2, len(x))


def trainer():
    model = fastbp.mlp([FEATURES, 32, CLASSES], norm="layer_norm", dropout=0.2, rng=0)
    return fastbp.Trainer(model, optimizer=fastbp.AdamW(fastbp.schedules.cosine(1e-2)), ema=0.9)


def fit(one, layout, callbacks=(), **options):
    """Train on a layout of blocks; return the digest of what it leads to."""
    source = Drawn(layout)
    history = one.fit(
        source, epochs=EPOCHS, batch_size=min(source.batch, int(source.sizes.sum())), drop_last=layout % 2 == 1, rng=3,
        validation_data=source, callbacks=callbacks, progress=False, **options,
    )  # fmt: skip
    return digest(*state(one, gradients=False), *history.values())


def resume(times, threads=(1, 3)):
    """End a run on blocks at any moment, and go on in another process under another layer, with other threads."""
    result = Result(f"fit on random blocks ended by {', '.join(WAYS)}, resumed in another process; {names(threads)}")
    there, rng = settings(threads), np.random.default_rng(0)
    for i in range(times):
        (before, first), (after, second) = there[i % len(there)], there[(i + 1 + i // len(there)) % len(there)]
        end = WAYS[i % len(WAYS)], int(rng.integers(1, 20)), rng.uniform(0, 0.02)
        label = f"layout {i} from {before} to {after}, {end}"
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "checkpoint")
            try:
                call(SECONDS, begin, path, i, *end, **first)
            except ChildFailed as problem:
                result.expect(str(problem).startswith(end[0]), f"{label}: {problem}")
            found = result.call(label, SECONDS, go_on, path, i, **second)
            if found is not None:
                result.expect(found[0] == found[1], f"{label}: other bits")
    return result


def begin(path, layout, way, step, seconds):
    threads_always()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    fastbp._base.pace.CALL_SECONDS = 0  # a step a call
    one, ends = trainer(), Ends(way, step, seconds)
    one.save_checkpoint(path)  # a run that is killed before its first step begins anew
    try:
        fit(one, layout, (fastbp.Checkpoint(path, every_seconds=0), ends))
    except (Stop, KeyboardInterrupt):
        one.save_checkpoint(path)


def go_on(path, layout):
    threads_always()
    return fit(fastbp.Trainer.load_checkpoint(path), layout, resume=True), fit(trainer(), layout)


class Zeros(fastbp.Blocks):
    """So many blocks of 4 MiB each."""

    window = WINDOW

    def __init__(self, blocks):
        self.sizes = np.full(blocks, BLOCK_ROWS)

    def read(self, block):
        return np.ones((BLOCK_ROWS, WIDTH), np.float32), np.zeros((BLOCK_ROWS, 1), np.float32)


def memory(times):
    """Train on 60 times as many megabytes of rows; look at the anonymous memory meanwhile."""
    result = Result("memory of two windows and a block, whatever the rows take")
    blocks = 4 * WINDOW + 15 * times
    most = result.call("memory", SECONDS + 10 * times, megabytes, blocks)
    if most is not None:
        allowed = (2 * WINDOW + 1) * 4 + 40  # and what else a process takes meanwhile
        result.expect(most < allowed, f"{most:.0f} MiB of {4 * blocks} MiB of rows, and {allowed} were allowed")
    return result


def megabytes(blocks):
    """Return by how much the anonymous memory of this process grows while it trains on so many blocks."""
    one = fastbp.Trainer(fastbp.mlp([WIDTH, 1], rng=0), "mse", fastbp.SGD(1e-3))
    one.fit(Zeros(1), batch_size=256, progress=False)
    ended, before = threading.Event(), anonymous()
    seen = [before]

    def look():
        while not ended.wait(0.002):
            seen.append(anonymous())

    looks = threading.Thread(target=look)
    looks.start()
    one.fit(Zeros(blocks), batch_size=256, progress=False)
    ended.set()
    looks.join()
    return (max(seen) - before) / MIB


def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
