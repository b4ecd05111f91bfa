"""A trainer and its twin, and what happens to the one and not to the other."""

import copy
import os
import pickle
import resource
import signal
import threading
from contextlib import contextmanager
from functools import partial
from itertools import count

import numpy as np

import fastbp
from fastbp.kernels import workers

from . import networks
from .callbacks import Act, Interrupt, Look, Stop
from .networks import ALL, digest, random_chain

CHILD_SECONDS = 60


def scaled(model, factor):
    """Return the state of a model whose parameters are multiplied by a number."""
    return model.state_dict() | {name: value * factor for name, value in model.parameters().items()}


class Pair:
    """A trainer, and its twin to whom nothing happens between two steps."""

    def __init__(self, rng, folder):
        self.rng, self.folder = rng, folder
        case, seed = int(rng.choice(ALL)), int(rng.integers(100))
        make = random_chain(rng) if rng.random() < 0.5 else partial(networks.make, case, seed)
        (self.subject, x, y), (self.twin, *_) = make(), make()
        self.x, self.y = x[:200], y[:200]
        rows, self.dtype = len(self.x), self.subject.model.dtype
        self.fewest = self.subject.model._fewest_rows
        self.weight = rng.uniform(0.5, 2, rows).astype(self.dtype) if rng.random() < 0.3 else None
        self.names = map(str, count())
        self.others = []
        self.stop = threading.Event()

    def differences(self):
        """Say in what the two differ, or ""."""
        one, other = (self.state(trainer) for trainer in (self.subject, self.twin))
        return ", ".join(f"{name} {one[name]} for {other[name]}" for name in one if one[name] != other[name])

    def state(self, trainer):
        return {
            "steps": trainer.steps,
            "arrays": digest(*networks.state(trainer, gradients=False)),
            "optimizer": str(trainer.optimizer),
            "history": digest(*trainer.history.values()),
        }

    def end(self):
        self.stop.set()
        for thread in self.others:
            thread.join()

    # What changes the training: the twin does the same, in one piece.

    def step(self):
        rows = slice(0, int(self.rng.integers(self.fewest, len(self.x) + 1)))
        weight = None if self.weight is None else self.weight[rows]
        for trainer in (self.subject, self.twin):
            trainer.step(self.x[rows], self.y[rows], weight)

    def other_rate(self):
        for trainer in (self.subject, self.twin):
            trainer.optimizer.lr *= 0.9

    def other_parameters(self):
        state = scaled(self.twin.model, 0.99)
        for trainer in (self.subject, self.twin):
            trainer.model.load_state_dict(state)

    def fit(self):
        """Train for some epochs, the subject with interruptions, and between two of them whatever is harmless."""
        rng, batch = self.rng, int(np.exp(self.rng.uniform(0, np.log(2 * len(self.x)))))  # mostly some steps an epoch
        while (len(self.x) % batch or batch) < self.fewest:
            batch += 1
        options = {
            "epochs": int(rng.integers(1, 4)),
            "batch_size": batch,
            "shuffle": bool(rng.random() < 0.8),
            "rng": int(rng.integers(100)),
            "sample_weight": self.weight,
            "validation_data": (self.x, self.y) if rng.random() < 0.3 else None,
            "progress": False,
        }
        acts = [self.act() for _ in range(rng.integers(0, 3))]
        stopping = rng.random() < 0.3
        callbacks = lambda: [Act(every, act) for every, act in acts] + [fastbp.EarlyStopping("loss", 2)] * stopping  # noqa: E731
        self.fit_in_calls_of(0.05, self.twin, callbacks=callbacks(), **options)
        told, resume = [f"fit {options['epochs']} x {options['batch_size']}{' with acts' * bool(acts)}"], False
        for _ in range(rng.integers(0, 4)):
            looks = [Look(self.look()) for _ in range(rng.integers(0, 2))]
            interrupt = Interrupt(int(rng.integers(1, 30)), rng.choice(["exception", "Ctrl-C"]))
            try:
                self.subject.fit(self.x, self.y, callbacks=[*callbacks(), *looks, interrupt], **options, resume=resume)
            except (Stop, KeyboardInterrupt):
                told.append(f"{interrupt.way} at call {interrupt.at}")
            resume = True
            if rng.random() < 0.7:
                name = rng.choice(HARMLESS)
                told.append(getattr(self, name)() or name)
        self.fit_in_calls_of(0.05, self.subject, callbacks=callbacks(), **options, resume=resume)
        return ", ".join(told)

    def fit_in_calls_of(self, seconds, trainer, **options):
        """Call `fit`, whose compiled calls take about so long: the shorter they are, the more often callbacks come."""
        usual, fastbp._base.pace.CALL_SECONDS = fastbp._base.pace.CALL_SECONDS, seconds
        try:
            trainer.fit(self.x, self.y, **options)
        finally:
            fastbp._base.pace.CALL_SECONDS = usual

    def act(self):
        """Draw what a callback does to the training, and how often."""
        rng = self.rng
        every, rows = int(rng.integers(1, 8)), int(rng.integers(self.fewest, len(self.x) + 1))
        lower = float(rng.uniform(0.9, 1))

        def step(trainer):
            trainer.step(self.x[:rows], self.y[:rows])

        def rate(trainer):
            trainer.optimizer.lr *= lower

        def shrink(trainer):
            trainer.model.load_state_dict(scaled(trainer.model, lower))

        return every, (step, rate, shrink)[rng.integers(3)]

    def look(self):
        """Draw what a callback does that must change nothing."""
        rng, path = self.rng, self.folder / next(self.names)

        def evaluate(trainer):
            trainer.evaluate(self.x, self.y)

        def predict(trainer):
            trainer.model.predict(self.x[: int(rng.integers(1, len(self.x) + 1))])

        def save(trainer):
            trainer.save_checkpoint(path)
            trainer.model.save(path)

        def full_disk(trainer):
            self.full_disk(trainer)

        def threads(trainer):
            self.thread_count()

        def wrong(trainer):
            self.bad_input(trainer)

        def fork(trainer):
            _in_child(lambda: trainer.model.predict(self.x))

        looks = (evaluate, predict, save, full_disk, threads, wrong, fork)
        weights = np.array([3, 3, 2, 1, 2, 2, 0.3])
        return looks[rng.choice(len(looks), p=weights / weights.sum())]

    # What must change nothing, between two acts or two halves of a run.

    def checkpoint(self):
        path = self.folder / next(self.names)
        self.subject.save_checkpoint(path)
        self.subject = fastbp.Trainer.load_checkpoint(path)

    def copied(self):
        self.subject = (
            pickle.loads(pickle.dumps(self.subject)) if self.rng.random() < 0.5 else copy.deepcopy(self.subject)
        )

    def saved(self):
        path = self.folder / next(self.names)
        self.subject.model.save(path)
        self.subject.model.load_state_dict(fastbp.load(path).state_dict())

    def thread_count(self):
        fastbp.set_num_threads(int(self.rng.integers(1, workers.most_threads() + 1)))

    def full_disk(self, trainer=None):
        """Fail to write a checkpoint and a model over older ones, which stay."""
        trainer = trainer or self.subject
        for write in (trainer.save_checkpoint, trainer.model.save):
            path = self.folder / next(self.names)
            write(path)
            before = path.read_bytes()
            with _largest_file(int(self.rng.integers(0, len(before)))):
                try:
                    write(path)
                except OSError as problem:
                    right = str(path) in str(problem)
                else:
                    right = False
            if not right or path.read_bytes() != before or list(self.folder.glob(".*")):
                raise AssertionError(f"a full disk: {os.listdir(self.folder)}")

    def bad_input(self, trainer=None):
        """Be refused, whatever is wrong."""
        trainer, n = trainer or self.subject, len(self.x)
        wrongs = (
            lambda: trainer.step(self.x[:, :0], self.y),
            lambda: trainer.step(self.x[:0], self.y[:0]),
            lambda: trainer.step(self.x, self.y[: n - 1]),
            lambda: (
                trainer.step(self.x, np.full(n, 10**9)) if self.y.ndim == 1 else trainer.step(self.x, self.y[:, :0])
            ),
            lambda: trainer.model.load_state_dict({}),
            lambda: trainer.model.load_state_dict({k: v * np.nan for k, v in trainer.model.state_dict().items()}),
        )
        try:
            wrongs[self.rng.integers(len(wrongs))]()
        except (TypeError, ValueError, KeyError):
            return
        raise AssertionError("something wrong was taken")

    def fork(self):
        """Train on in a child, in the middle of a run too, to the bits that a copy comes to here."""
        subject, other, x, y = self.subject, copy.deepcopy(self.subject), self.x, self.y
        expected = (other.step(x, y), self.state(other))
        _in_child(lambda: (subject.step(x, y), self.state(subject)) == expected)

    def thread(self):
        """Let another thread train a network of its own, and predict with the subject's, from now on."""
        if len(self.others) < 2:
            own, model, x, y, stop = copy.deepcopy(self.twin), self.subject.model, self.x, self.y, self.stop

            def work():
                while not stop.wait(0.001):
                    own.step(x, y)
                    model.predict(x)

            self.others.append(threading.Thread(target=work))
            self.others[-1].start()


HARMLESS = ("checkpoint", "copied", "saved", "thread_count", "full_disk", "bad_input", "fork", "thread")
ACT_NAMES = ("step", "other_rate", "other_parameters", "fit", "fit", *HARMLESS)


@contextmanager
def _largest_file(size):
    """Let no file of this process grow past `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def _in_child(right):
    """Fork; the child has to find `right()` true, in time."""
    pid = os.fork()
    if pid == 0:
        code = 97
        try:
            signal.alarm(CHILD_SECONDS)
            code = 0 if np.all(right() is not False) else 99
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise AssertionError("other bits in a child" if code == 99 else f"a child ended with {code}")
