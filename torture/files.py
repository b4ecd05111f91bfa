"""Files: whenever the process is killed and whatever is damaged, the old content, the new, or an error with a name."""

import os
import signal
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import fastbp

from .frame import Result


class Save(fastbp.Callback):
    """Saves at the end of each step and tells the step; the sum of the parameters is saved beside them."""

    def __init__(self, path, told):
        self.path, self.told = path, told

    def on_steps_end(self, trainer):
        trainer.model.metadata = {"step": trainer.steps, "sum": float(trainer.model._params.sum(dtype=float))}
        trainer.save_checkpoint(self.path)
        os.write(self.told, b"%d\n" % trainer.steps)


def save_for_ever(path, told):
    """Go on with the run of a checkpoint, or begin it."""
    fastbp._base.pace.CALL_SECONDS = 0.0  # calls of one step
    x, y = fastbp.load_digits()
    model = fastbp.mlp([64, 2000, 10], rng=0)  # a file that takes a moment to write
    trainer = fastbp.Trainer.load_checkpoint(path) if path.exists() else fastbp.Trainer(model)
    trainer.fit(x, y, epochs=10**6, batch_size=64, rng=0, callbacks=[Save(path, told)], progress=False, resume=True)


def kill(path, seconds):
    """Kill a run so long after its first checkpoint; return the last step that it told of."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads
        child = os.fork()
    if child == 0:
        try:
            save_for_ever(path, write)
        finally:
            os._exit(1)
    os.close(write)
    with open(read) as told:
        first = told.readline()
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        step = int((first + told.read()).splitlines()[-1])
    if (code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) != -signal.SIGKILL:
        raise RuntimeError(f"the run ended by itself, with {code}")
    return step


def kills(times):
    """Kill a run that saves all the time; each checkpoint is whole, the last one told of or the one after."""
    result = Result("kill -9 of a run that saves, at random moments, each going on from the one before")
    rng, last = np.random.default_rng(0), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        for i in range(times):
            told = kill(path, rng.uniform(0, 0.05))
            try:
                trainer = fastbp.Trainer.load_checkpoint(path)
            except ValueError as problem:
                result.expect(False, f"try {i}: {problem}")
                break
            held = {"step": trainer.steps, "sum": float(trainer.model._params.sum(dtype=float))}
            right = trainer.model.metadata == held and trainer.steps - told in (0, 1) and trainer.steps > last
            result.expect(right, f"try {i}: step {last} before, told of {told}, found {held}: {trainer.model.metadata}")
            last = trainer.steps
    return result


def _checkpoint(path):
    trainer = fastbp.Trainer(fastbp.mlp([2, 2], rng=0), optimizer=fastbp.SGD(0.1))
    stop = fastbp.EarlyStopping("loss")
    trainer.fit(np.eye(2), [0, 1], batch_size=1, rng=0, callbacks=[stop], progress=False)
    trainer.save_checkpoint(path)


def _model(path):
    fastbp.mlp([2, 2], rng=0).save(path)


# How a small file of each kind is written, and read: what is read is written again, to be compared.
KINDS = {
    "checkpoint": (_checkpoint, lambda path: fastbp.Trainer.load_checkpoint(path).save_checkpoint(path)),
    "model": (_model, lambda path: fastbp.load(path).save(path)),
}


def damage(times):
    """Cut a file at every byte, and flip so many of its bits, one at a time."""
    result = Result(f"a {' and a '.join(KINDS)} cut at every byte, one bit flipped: an error, or what was saved")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for kind, (write, rewrite) in KINDS.items():
            write(path)
            whole = path.read_bytes()
            spoilt = [(f"cut at byte {n}", whole[:n]) for n in range(len(whole))]
            for bit in rng.integers(0, 8 * len(whole), times):
                content = bytearray(whole)
                content[bit // 8] ^= 1 << bit % 8
                spoilt.append((f"bit {bit} flipped", bytes(content)))
            for what, content in spoilt:
                path.write_bytes(content)
                try:
                    rewrite(path)
                    result.expect(path.read_bytes() == whole, f"{kind}, {what}: other content")
                except ValueError as problem:
                    result.expect(str(path) in str(problem), f"{kind}, {what}: {problem}")
                except Exception as problem:
                    result.expect(False, f"{kind}, {what}: {type(problem).__name__}: {problem}")
    return result
