"""The work that is measured, made by what `import fastbp` offers."""

import os
from itertools import pairwise

import numpy as np
from asv_runner.benchmarks.mark import SkipNotImplemented

from . import _commit

THREADS = [1, 2]


def offered(name):
    """Return something of fastbp's by its name; a commit that lacks it skips the benchmark."""
    import fastbp  # in the process of a row alone: see __init__.py

    _commit.check()
    try:
        return getattr(fastbp, name)
    except AttributeError:
        raise SkipNotImplemented(f"fastbp has no {name} here") from None


def use_threads(threads):
    """Set the number of threads; a machine that lacks the cores skips the benchmark."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if threads > cores:
        raise SkipNotImplemented(f"{threads} threads need as many cores")
    offered("set_num_threads")(threads)


def numbers(*shape):
    """Return standard normal numbers, always the same."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def labels(rows, classes):
    """Return class labels, always the same."""
    return np.random.default_rng(1).integers(0, classes, rows)


def read_sizes(text):
    """Return (128, 784, 256) for "128x784x256", and "128-784-256" too."""
    return tuple(map(int, text.replace("x", "-").split("-")))


def trainer(sizes, activation="relu", loss="softmax_cross_entropy", optimizer=None):
    """Return a trainer of a network with layers of these sizes; with plain SGD, if nothing is said."""
    model = offered("mlp")(sizes, activation, rng=0)
    return offered("Trainer")(model, loss, optimizer or offered("SGD")(0.01))


def operations(sizes, batch):
    """Return the floating-point operations of a step, those of its products; the input needs no gradient."""
    products = sum(a * b for a, b in pairwise(sizes))
    return 2 * batch * (3 * products - sizes[0] * sizes[1])
