"""Ctrl-C on the command line, with real signals at random moments."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fastbp

from .frame import ROOT, Result

MARK = "fastbp._base.program"  # once it is imported, the command line answers Ctrl-C
TRAIN = ("train", "digits", "--threads", "1", "--hidden", "16")


def started(*arguments, command=(sys.executable, "-m", "fastbp"), **environment):
    """Start the command line, and return it when it answers Ctrl-C: it is made to print its imports."""
    run = subprocess.Popen(
        [*map(str, command), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1", **environment},
    )
    for line in run.stderr:
        if MARK in line:
            return run
    raise RuntimeError(f"it ended with {run.wait()}")


def ended(run):
    """Wait for its end; return the exit code and what it said besides its imports."""
    _, errors = run.communicate(timeout=120)
    return run.returncode, [line for line in errors.splitlines() if not line.startswith("import time:")]


def interrupts(times, most=3.0):
    """Interrupt commands at moments of their first seconds, some with an empty cache: one line, and 130."""
    result = Result("Ctrl-C within three seconds of train, evaluate, predict and warmup: one line and exit code 130")
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "fastbp", *TRAIN, "--epochs", "1", "--out", folder], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        model = folder / "model.safetensors"
        for i in range(times):
            command = draw.choice(
                [
                    [*TRAIN, "--epochs", "300", "--out", folder / str(i)],
                    ["evaluate", model, "digits"],
                    ["predict", model, "digits", "--out", folder / "answers.csv"],
                    ["warmup"],
                ]
            )
            cold = {"NUMBA_CACHE_DIR": str(folder / f"cache {i}")} if draw.random() < 0.5 else {}
            run, moment = started(*command, **cold), draw.uniform(0, most)
            time.sleep(moment)
            run.send_signal(signal.SIGINT)
            code, lines = ended(run)
            # It was at its end, or where Python has given up its handlers.
            whole = code in (0, -signal.SIGINT) and not lines
            right = whole or (code == 130 and len(lines) == 1 and lines[0].startswith("fastbp: interrupted"))
            result.expect(right, f"{' '.join(map(str, command))} at {moment:.2f} s: {code}, {lines[-3:]}")
            left = [path.name for path in folder.rglob(".fastbp-*")]
            result.expect(not left, f"{command[0]} at {moment:.2f} s left {left}")
            fastbp.load(model)
    return result
