"""Whole steps, whole runs, and what they lead to."""

import tempfile
from pathlib import Path

from asv_runner.benchmarks.mark import SkipNotImplemented

from ._clock import Timed, Tracked, loop
from ._work import THREADS, labels, numbers, offered, read_sizes, trainer, use_threads

# The cases of the table of peers
STEPS = {
    "10-46-46-10, 128": {},
    "17-64-64-6 tanh, 64": {"activation": "tanh"},
    "17-64-64-6, 64": {},
    "784-128-10, 32": {},
    "784-128-10, 128": {},
    "784-512-512-10, 256": {},
    "1024-4096-4096-1000, 512": {},
    "4-32-16-4 tanh mse Adam, 10000": {"activation": "tanh", "loss": "mse", "optimizer": "Adam"},
    "784-128-10 Adam, 128": {"optimizer": "Adam"},
    "784-512-512-10 Adam, 256": {"optimizer": "Adam"},
}


class Step(Timed):
    """Forward, loss, backward and update on one batch in memory."""

    params = (list(STEPS), THREADS)
    param_names = ("network, batch", "threads")

    def prepare(self, case, threads):
        use_threads(threads)
        options = dict(STEPS[case])
        if "optimizer" in options:
            options["optimizer"] = offered(options["optimizer"])(1e-3)
        network, batch = case.split(", ")
        sizes, rows = read_sizes(network.split()[0]), int(batch)
        it, x = trainer(sizes, **options), numbers(rows, sizes[0])
        y = numbers(rows, sizes[-1]) if options.get("loss") == "mse" else labels(rows, sizes[-1])
        return lambda: it.step(x, y), 1

    def time_step(self, case, threads):
        loop(self.call, self.calls)


def digits():
    """Return the real digits: pixels from 0 to 1, and labels; for training and for the test."""
    data = offered("load_dataset")("digits")
    return (data.x_train / 16).astype("float32"), data.y_train, (data.x_test / 16).astype("float32"), data.y_test


class Fit(Timed):
    """`fit` on the digits, an epoch a call."""

    params = (["64-100-10, 128", "64-256-128-10, 64"], THREADS)
    param_names = ("network, batch", "threads")

    def prepare(self, case, threads):
        use_threads(threads)
        network, batch = case.split(", ")
        x, y, _, _ = digits()
        it = trainer(read_sizes(network), optimizer=offered("Adam")(1e-3))
        return lambda: it.fit(x, y, epochs=1, batch_size=int(batch), rng=0, progress=False), len(x)

    def time_a_sample(self, case, threads):
        loop(self.call, self.calls)


class Checkpoint(Timed):
    """Saving what a run needs to go on, to a file."""

    params = ["784-512-512-10"]  # noqa: RUF012  # a constant
    param_names = ["network"]  # noqa: RUF012  # a constant

    def prepare(self, network):
        it = trainer(read_sizes(network), optimizer=offered("Adam")(1e-3))
        if not hasattr(it, "save_checkpoint"):
            raise SkipNotImplemented("a Trainer has no save_checkpoint here")
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "run.checkpoint"
        return lambda: it.save_checkpoint(path), 1

    def time_save(self, network):
        loop(self.call, self.calls)


class Learning(Tracked):
    """A run on the digits from a seed: the same network, the same order, the same bits."""

    def setup_cache(self):
        x, y, x_test, y_test = digits()
        it = trainer((64, 100, 10), optimizer=offered("Adam")(3e-3))
        it.fit(x, y, epochs=10, batch_size=128, rng=0, progress=False)
        return it.evaluate(x_test, y_test)

    def track_final_loss(self, found):
        return found["loss"]

    track_final_loss.unit = "nats"

    def track_accuracy(self, found):
        return 100 * found["accuracy"]

    track_accuracy.unit = "% of the test"
