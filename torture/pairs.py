"""Pairs of features: what users do between and within runs of `fit`, in random sequences, beside a twin left in peace.

The model of what must hold: a stop and its resume, a checkpoint, a copy, a fork, other threads, a thread count, a full
disk and whatever a callback looks at change no bit. So the twin makes the same updates by uninterrupted calls alone,
and after each act of a sequence both have the same parameters, optimizer, history and count of steps.
"""

import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np

from .frame import Result, threads_always
from .pair import ACT_NAMES, Pair

ACTS = 12  # of a sequence
AT_ONCE = 100  # sequences in a process


def pairs(times):
    """Run random sequences of acts; a crash, a hang, an unexpected error or other bits is a failure."""
    result = Result(f"random sequences of {ACTS} of: {', '.join(name.replace('_', ' ') for name in ACT_NAMES)}")
    for first in range(0, times, AT_ONCE):
        seeds = range(first, min(times, first + AT_ONCE))
        for seed, wrong in zip(seeds, result.call(f"seeds {seeds}", 300, sequences, list(seeds)) or [], strict=False):
            result.expect(not wrong, f"seed {seed}: {wrong}")
    return result


def sequences(seeds):
    """Return of each seed what was wrong, or ""."""
    warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads
    threads_always()
    return [sequence(seed) for seed in seeds]


def sequence(seed):
    """Let a trainer and its twin live through one sequence; return what was wrong, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(np.random.default_rng(seed), Path(folder))
        told = []
        try:
            for _ in range(ACTS):
                name = pair.rng.choice(ACT_NAMES)
                told.append(name)
                told[-1] = getattr(pair, name)() or name
                if wrong := pair.differences():
                    return f"{wrong} after {'; '.join(told)}"
        except Exception:
            return f"{'; '.join(told)}: {traceback.format_exc(limit=-4)}"
        finally:
            pair.end()
    return ""
