"""Answers for one row, and for many."""

from ._clock import Timed, loop
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
