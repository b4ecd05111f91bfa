"""Too little memory: MemoryError, a model as it was, and never a crash."""

import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product

import numpy as np

import fastbp

from .frame import Result, layers, threads_always
from .networks import digest, make

MIB = 1 << 20
SIZES = (500, 1000, 1000, 10)  # 6 MB of parameters
ROWS = 1000
MOST = 64 * MIB  # is enough for everything
DEEDS = ("construct", "trainer", "fit", "predict", "predict in a new thread")


def memory(times, most_layers=None):
    """Take away all but so much of the address space, in many steps, before each thing that needs memory."""
    result = Result(f"RLIMIT_AS swept over {MOST // MIB} MB: {', '.join(DEEDS)}; {', '.join(layers()[:most_layers])}")
    for layer in layers()[:most_layers]:
        environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
        for outcome in result.call(layer, 60 + 2 * times, sweep, times, **environment) or []:
            result.expect(outcome in ("MemoryError", "done"), f"{layer}: {outcome}")
    return result


def first_call(times):
    """Take address space away from a process that has not loaded its kernels, nor started its threads."""
    result = Result(f"RLIMIT_AS before the first call of a process; {', '.join(layers())}")
    for layer, i in product(layers(), range(times)):
        environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
        size = int(2 * MOST * 2 ** (-7 * (i + 1) / times))  # down to a megabyte
        outcome = result.call(layer, 120, first, size, **environment)
        if outcome is not None:
            result.expect(outcome in ("MemoryError", "done"), f"{layer}: {outcome}")
    return result


def first(room):
    trainer, x, y = make(0)
    before = digest(trainer.model._params)
    outcome = starved(room, lambda: trainer.step(x, y))
    if outcome != "done" and digest(trainer.model._params) != before:
        return "changed the model"
    trainer.step(x, y)
    return outcome


@contextmanager
def room_for(size):
    """Leave the process so many bytes of address space and no more."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def starved(size, act):
    """Call `act` with so much room; return "done" or the name of what it raised."""
    try:
        with room_for(size):
            act()
        return "done"
    except Exception as problem:
        return type(problem).__name__


def address_space():
    with open("/proc/self/statm") as sizes:
        return int(sizes.read().split()[0]) * resource.getpagesize()


def fit(trainer, x, y):
    trainer.fit(x, y, batch_size=ROWS, rng=0, progress=False)


def sweep(times):
    """Return the outcome of each try: "done", "MemoryError", or what was wrong."""
    threads_always()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, SIZES[0])), rng.integers(0, SIZES[-1], ROWS)  # float64: it has to be converted
    fit(fastbp.Trainer(model := fastbp.mlp(SIZES, rng=0)), x, y)
    reference = digest(model.predict(x))
    outcomes = []
    for i in range(times):
        for deed in DEEDS:
            outcomes.append(_starve(deed, int(MOST * (i / times) ** 2), x, y, reference))
    return outcomes


def _starve(deed, room, x, y, reference):
    """Do something with so much memory and no more; then with enough, to the right bits."""
    model = fastbp.mlp(SIZES, rng=0)
    trainer = None if deed in ("construct", "trainer") else fastbp.Trainer(model)
    before = digest(model._params)
    thread = ThreadPoolExecutor(1)
    thread.submit(int).result()  # it is there, and has opened no region yet

    def act():
        nonlocal model, trainer
        if deed == "construct":
            model = fastbp.mlp(SIZES, rng=0)
        elif deed == "trainer":
            trainer = fastbp.Trainer(model)
        elif deed == "fit":
            fit(trainer, x, y)
        elif deed == "predict":
            model.predict(x)
        else:
            thread.submit(model.predict, x).result()

    outcome = starved(room, act)
    if outcome != "done":
        if digest(model._params) != before:
            return f"{deed} changed the model with {room} bytes"
        act()
    thread.shutdown()
    if deed != "fit":
        fit(trainer or fastbp.Trainer(model), x, y)
    return outcome if digest(model.predict(x)) == reference else f"{deed}: other bits after {outcome}"
