"""Answers for one row, and for many."""

import contextlib
import subprocess
import sys
import time

from ._clock import Timed, Tracked, loop, ratio
from ._work import THREADS, numbers, offered, read_sizes, use_threads


class Predict(Timed):
    """`predict` of a network in memory, in seconds a call: at batch 1 the latency of an answer."""

    params = (["10-46-46-10, 1", "784-128-10, 1", "784-512-512-10, 1", "784-128-10, 1024"], THREADS)
    param_names = ("network, batch", "threads")

    def prepare(self, case, threads):
        use_threads(threads)
        network, batch = case.split(", ")
        sizes = read_sizes(network)
        model, x = offered("mlp")(sizes, rng=0), numbers(int(batch), sizes[0])
        return lambda: model.predict(x), 1

    def time_predict(self, case, threads):
        loop(self.call, self.calls)


@contextlib.contextmanager
def busy_core():
    """Let another process want one of the cores meanwhile."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            time.sleep(0.1)
            yield
        finally:
            process.kill()


class Beside(Tracked):
    """`predict` on two threads, as a multiple of its time on one, while another process has one of the two cores."""

    params = ["64-100-10, 200", "784-128-10, 128"]  # noqa: RUF012  # a constant
    param_names = ["network, batch"]  # noqa: RUF012  # a constant
    unit = "times the time on one thread"

    def track_two_threads(self, case):
        network, batch = case.split(", ")
        sizes = read_sizes(network)
        model, x = offered("mlp")(sizes, rng=0), numbers(int(batch), sizes[0])

        def predict_on(threads):
            use_threads(threads)
            model.predict(x)

        with busy_core():
            return ratio(lambda: predict_on(2), lambda: predict_on(1))
