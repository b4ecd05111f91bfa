"""Schedules: a number for each step of a run, for learning rates, weight decay, momentum, betas and Dropout's p.

They go where the number would: ``fastbp.Adam(lr=fastbp.schedules.cosine(3e-3, warmup=0.05))``,
``fastbp.Dropout(fastbp.schedules.flat_cosine(0.15))``. The step s of n, counted from 0, has the progress s / n: 0 in
the first step, (n - 1) / n in the last. The numbers of many steps are computed before a compiled call, which takes them
in turn. See `Trainer` for what n is.

A length (`warmup`, `every`, `flat`) is a number of steps if it is an int, and a part of the run if it is a float.
"""

from fastbp._base.schedule import Schedule
from fastbp.schedules.curves import constant, cosine, flat_cosine, linear, polynomial
from fastbp.schedules.names import CURVES, named
from fastbp.schedules.repeated import cosine_restarts, exponential, step
from fastbp.schedules.whole_runs import coslog4, function, one_cycle

__all__ = [
    "CURVES",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "coslog4",
    "exponential",
    "flat_cosine",
    "function",
    "linear",
    "named",
    "one_cycle",
    "polynomial",
    "step",
]
