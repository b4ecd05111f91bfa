"""Many Python threads at once; calls from inside a user's own parallel loop. No abort, and the right bits."""

import _thread
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from .frame import Result, layers, threads_always
from .networks import ALL, FEW, digest, make, state, trained

PYTHON_THREADS, ROUNDS = 96, 16


def threads(times, count=PYTHON_THREADS, rounds=ROUNDS, cases=ALL):
    """Train and predict in many Python threads, half of them unknown to `threading`, beside a user's ``prange``."""
    result = Result(f"{count} Python threads x {rounds} rounds of step, predict, shared predict; {', '.join(layers())}")
    for layer in layers():
        for _ in range(times):
            environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "4"}
            wrong = result.call(layer, 300, many_threads, count, rounds, cases, **environment)
            if wrong is not None:
                result.expect(wrong == 0, f"{layer}: {wrong} threads with other bits")
    return result


def many_threads(count, rounds, cases):
    """Return how many of the threads came to other bits than one alone did."""
    threads_always()
    shared, rows, _ = make(cases[-1])
    rows = rows[:64]

    def work(i):
        trainer, x, y = make(cases[i % len(cases)], seed=i % 8)
        x, y = x[:256], y[:256]
        results = []
        for _ in range(rounds):
            results += [np.array(trainer.step(x, y)), trainer.model.predict(x), shared.model.predict(rows)]
        return digest(*results, *state(trainer))

    kinds = len(cases) * 8
    expected = [work(i) for i in range(kinds)]
    together, found = threading.Barrier(count), [None] * count

    def note(i):
        together.wait()
        try:
            found[i] = work(i % kinds)
        except BaseException as problem:
            found[i] = repr(problem)

    users = threading.Thread(target=users_loop, args=(found,))
    users.start()
    known = [threading.Thread(target=note, args=(i,)) for i in range(0, count, 2)]
    for thread in known:
        thread.start()
    for i in range(1, count, 2):
        _thread.start_new_thread(note, (i,))
    for thread in [*known, users]:
        thread.join()
    return sum(found[i] != expected[i % kinds] for i in range(count))


@numba.njit(parallel=True, nogil=True)
def double(x):
    for i in numba.prange(x.size):
        x[i] += x[i]


def users_loop(found):
    """Run a parallel loop that is none of ours, until all threads have found something."""
    while None in found:
        double(np.ones(1000))


def nested(times):
    """Predict and train inside a user's ``prange``, and in the threads of a pool that a ``prange`` waits for."""
    result = Result(f"predict and step inside a user's prange and thread pool; {', '.join(layers())}")
    for layer in layers():
        environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "4"}
        for wrong in result.call(layer, 120, inside, times, **environment) or []:
            result.expect(not wrong, f"{layer}: {wrong} other bits")
    return result


def inside(times):
    threads_always()
    expected = {case: trained(case, 3) for case in FEW}

    def one(i):
        case = FEW[i % len(FEW)]
        return trained(case, 3) == expected[case]

    right = np.zeros(8)

    def call_back(i):
        right[i] = one(i)

    @numba.njit(parallel=True)
    def loop(n):
        for i in numba.prange(n):
            with numba.objmode():
                call_back(i)

    wrong = []
    for _ in range(times):
        right[:] = 0
        loop(len(right))
        with ThreadPoolExecutor(8) as pool:
            wrong.append(int((right == 0).sum()) + sum(not good for good in pool.map(one, range(8))))
    return wrong
