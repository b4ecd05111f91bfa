"""Runs of the command line: stopped by real signals at random moments, they go on to the bits of a run that was not."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .frame import ROOT, Result

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
# Exit codes of a run that a signal met: in its training, or before or after that.
CODES = {signal.SIGINT: (130, 0), signal.SIGTERM: (143, -15, 0), signal.SIGKILL: (-9, 0)}
TRAINED_ON = (1437, 1293, 1077)  # rows of the digits, by the part that is held out
MOMENTS = 5  # that each draw of options is tried at
MOST_STOPS = 3
# The command line, with checkpoints and compiled calls so short that all happens in a second.
COMMAND = """
import sys
from fastbp._base import pace
from fastbp.app import run
from fastbp.app import cli
run.CHECKPOINT_SECONDS, pace.CALL_SECONDS = map(float, sys.argv[1:3])
sys.argv[1:] = ["train", *sys.argv[3:]]
cli.main()
"""


def draw(rng):
    """Return options of a run that takes a second or so: many short epochs, or fewer long ones."""
    validation, batch = rng.choice([0, 0.1, 0.25]), int(rng.integers(3, 400))
    maybe = {
        "--dropout": rng.uniform(0.05, 0.6),
        "--norm": rng.choice(["layer_norm", "rms_norm"] + ["batch_norm"] * all(n % batch != 1 for n in TRAINED_ON)),
        "--warmup": 0.2,
        "--clip-norm": 1.0,
        "--ema": rng.choice([0.9, 0.99]),
        "--weight-decay": 0.01,
        **({"--monitor": "val_accuracy"} if validation else {}),
    }
    chosen = [part for name, value in maybe.items() if rng.random() < 0.4 for part in (name, value)]
    schedules = ["linear", "constant", "cosine"] + ["one_cycle"] * ("--warmup" not in chosen)
    if "--weight-decay" in chosen:
        chosen += ["--no-decay", "*.bias"]
    return [
        *chosen,
        "--hidden", rng.choice(["", "7", "32", "64,32"]),
        "--batch-size", batch, "--epochs", 40_000 // (1300 // batch + 40),
        "--optimizer", rng.choice(["adam", "adamw", "sgd", "momentum", "nesterov", "rmsprop"]),
        "--schedule", rng.choice(schedules),
        "--dtype", rng.choice(["float32", "float64"]),
        "--validation-fraction", validation, "--patience", rng.choice([0, 0, 5, 50]) if validation else 0,
        "--seed", int(rng.integers(100)), "--threads", int(rng.integers(1, 3)),
    ]  # fmt: skip


def start(out, options, every_seconds, call_seconds):
    """Start a run; return its process."""
    command = [sys.executable, "-c", COMMAND, every_seconds, call_seconds, *options, "--out", out]
    return subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process):
    """Wait for a run; return its exit code and its last words."""
    try:
        _, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "hangs", ""
    return process.returncode, errors.strip()


def stop(process, number, seconds):
    """Send a signal so many seconds after a run has read its data; return its exit code and its last words."""
    for line in process.stdout:
        if line.startswith("threads"):
            break
    time.sleep(seconds)
    process.send_signal(number)
    return end(process)


def bits(folder):
    """Return the bits that a run ended with."""
    return [(folder / name).read_bytes() for name in ("model.safetensors", "history.csv")]


def runs(times, most_stops=MOST_STOPS):
    """Stop a run some times, at random moments, each going on from the one before with ``--resume`` alone."""
    names = ", ".join(number.name for number in SIGNALS)
    result = Result(f"`fastbp train` stopped by {names} at random moments, then --resume to the end; drawn options")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(times):
            if i % MOMENTS == 0:
                options, straight = draw(rng), Path(folder) / f"straight {i}"
                began = time.perf_counter()
                code, words = end(start(straight, options, 30, 0.05))
                whole = time.perf_counter() - began
                result.expect(code == 0, f"{options}: {code}, {words}")
            out, said = Path(folder) / f"stopped {i}", []
            for _ in range(rng.integers(1, most_stops + 1)):
                number = SIGNALS[rng.integers(len(SIGNALS))]
                timing = rng.choice([0.02, 0.2]), rng.choice([0.0, 0.05])
                again = ["--resume"] if list(out.glob("*.safetensors")) else options
                code, words = stop(start(out, again, *timing), number, rng.uniform(0, whole / 2))
                said.append(f"{number.name} {code} {words}")
                if code not in CODES[number] or len(words.splitlines()) > 1:
                    break
            again = ["--resume"] if list(out.glob("*.safetensors")) else options
            code, words = end(start(out, again, 30, 0.05))
            right = code == 0 and bits(out) == bits(straight)
            result.expect(right, f"try {i}, {options}: {'; '.join(said)}; at the end {code} {words}")
    return result
