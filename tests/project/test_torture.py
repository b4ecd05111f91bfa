"""Short forms of the long runs in torture/."""

import os
import shutil
import time
from functools import partial

import pytest

from torture import (
    bits,
    builds,
    cache,
    files,
    first_calls,
    forks,
    frame,
    interrupts,
    large,
    memory,
    others,
    pairs,
    pool,
    readers,
    resumed,
    runs,
    stacks,
    streams,
    tables,
    threads,
)  # fmt: skip
from torture.__main__ import CHECKS, OF_THE_CACHE
from torture.networks import FEW

OF_CHILDREN = ("step", "fit", "predict", "everything")
SHORT = {
    "bits": partial(bits.bits, 1, threads=(1, 7), cases=FEW),
    "rows": partial(bits.rows, 1, threads=(3,), cases=FEW),
    "resume": partial(resumed.resume, 1, cases=FEW[-1:]),
    "streams": partial(streams.resume, 1),
    "memory of streams": partial(streams.memory, 1),
    "threads": partial(threads.threads, 1, count=24, rounds=4, cases=FEW),
    "small stacks": partial(
        stacks.stacks, 1, ("step", "fit", "predict", "by_hand", "loss", "sklearn"), ["64k"], [256], False
    ),
    "nested": partial(threads.nested, 1),
    "pool": partial(pool.pool, 1, seconds=0.5),
    "forks": partial(forks.forks, 2, ways=("os.fork",)),
    "compiling": partial(forks.compiling, 1),
    "first calls under fork": partial(first_calls.first_calls, 2, forks=4, kinds=OF_CHILDREN),
    "settings of others": partial(others.settings, 1, calls=4, kinds=("step", "fit", "by_hand")),
    "memory": partial(memory.memory, 2, most_layers=1),
    "first call": partial(memory.first_call, 2),
    "damaged cache": partial(cache.damaged, 4),
    "unwritable cache": partial(cache.unwritable, 1),
    "cold cache": partial(cache.cold, 1, processes=2),
    "kills": partial(files.kills, 20),
    "interrupts": partial(interrupts.interrupts, 2, most=1.5),
    "stopped runs": partial(runs.runs, 1, most_stops=1),
    "pairs": partial(pairs.pairs, 40),
    "damaged files": partial(files.damage, 1000),
    "readers": partial(readers.readers, 60),
    "tables": partial(tables.tables, 60),
    "large tables": partial(large.large, 1, rows=20_000),
    "builds": partial(builds.builds, 1, kind="pure"),
}


def marked(name):
    return pytest.param(name, marks=[pytest.mark.jit] * (name in OF_THE_CACHE))


@pytest.mark.parametrize("name", [marked(name) for name in SHORT])
def test_nothing_fails_in(name):
    if name == "pool" and not shutil.which("cc"):
        pytest.skip("no C compiler")
    result = SHORT[name]()
    assert result.failures == []
    assert result.times > 0


def test_every_check_has_a_short_form():
    assert SHORT.keys() == CHECKS.keys()


def add(a, b):
    return a + b


def crash():
    os.abort()


def hang():
    time.sleep(60)


def test_a_crash_a_hang_and_an_error_in_a_process_are_failures():
    """Functions of this file have a name that a process can import."""
    for function in (add, crash, hang):
        function.__module__ = "tests.project.test_torture"
    result = frame.Result("these")
    assert result.call("sum", 30, add, 2, 3) == 5
    assert result.failures == []
    for function, seconds in ((crash, 30), (hang, 2)):
        assert result.call(function.__name__, seconds, function) is None
    assert result.call("wrong", 30, add, 2, "3") is None
    assert result.failures[0].startswith("crash: SIGABRT")
    assert result.failures[1] == "hang: not at its end after 2 s"
    assert result.failures[2].startswith("wrong: exit code 1: TypeError")
