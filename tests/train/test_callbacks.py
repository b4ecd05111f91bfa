"""A trainer in the hands of its own callbacks: `fit` is the steps by hand with the same done between them."""

import copy
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastbp

ROWS, FEATURES, CLASSES = 61, 6, 4


def problem(seed):
    """Return random data, and what makes a random trainer for it, the same each time."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    y = rng.integers(0, CLASSES, ROWS)
    y[rng.random(ROWS) < 0.1] = -100
    dtype = rng.choice(["float32", "float64"])
    sizes = [FEATURES, *rng.integers(1, 20, rng.integers(0, 3)).tolist(), CLASSES]
    optimizers = [
        lambda: fastbp.SGD(0.05, momentum=0.9),
        lambda: fastbp.Adam(0.01, betas=[0.9, 0.99]),
        lambda: fastbp.AdamW(0.01, betas=(0.8, 0.99)),
        lambda: fastbp.RMSprop(0.003),
    ]
    optimizer, weighted = optimizers[rng.integers(len(optimizers))], rng.random() < 0.5
    of_weights = rng.choice(["float32", "float64"])  # those of the trainer's dtype are read where they stand

    def make():
        weight = np.ones(CLASSES, of_weights) if weighted else None
        loss = fastbp.CrossEntropyLoss(weight=weight, label_smoothing=0.1 if seed % 3 == 0 else 0.0)
        return fastbp.Trainer(fastbp.mlp(sizes, "tanh", dtype=dtype, rng=seed), loss, optimizer())

    return x, y, make


def some_rows(rng, trainer):
    rows = int(rng.integers(1, 90))
    x = rng.standard_normal((rows, FEATURES)).astype(trainer.model.dtype)
    if rng.random() < 0.4:
        return x, rng.dirichlet(np.ones(CLASSES), rows).astype(trainer.model.dtype)
    return x, rng.integers(0, CLASSES, rows)


def single_steps(trainer, rng, path):
    for _ in range(rng.integers(1, 4)):
        trainer.step(*some_rows(rng, trainer))


def other_forms_of_steps(trainer, rng, path):
    x, y = some_rows(rng, trainer)
    trainer.step(x.tolist(), y.tolist())
    trainer.step(x.astype(np.float64)[::-1], y[::-1], rng.random(len(x)))


def a_wrong_step(trainer, rng, path):
    x, y = some_rows(rng, trainer)
    with pytest.raises(ValueError, match="targets"):
        trainer.step(x, np.full(len(x), CLASSES))
    with pytest.raises(ValueError, match="x of shape"):
        trainer.step(x[:, 1:], y)


def looks(trainer, rng, path):
    x, y = some_rows(rng, trainer)
    trainer.evaluate(x, y)
    trainer.model.predict(x)
    trainer.model.backward(trainer.model.forward(x))
    for twin in (copy.deepcopy(trainer), pickle.loads(pickle.dumps(trainer))):
        assert twin.steps == trainer.steps
        twin.step(x, y)


def files(trainer, rng, path):
    trainer.model.save(path / "m")
    trainer.save_checkpoint(path / "c")
    twin = fastbp.Trainer.load_checkpoint(path / "c")
    assert twin.steps == trainer.steps
    assert twin.optimizer.lr == trainer.optimizer.lr
    fastbp.load(path / "m").predict(some_rows(rng, trainer)[0])


def other_parameters(trainer, rng, path):
    state = trainer.model.state_dict()
    trainer.model.load_state_dict({name: array * trainer.model.dtype.type(0.9) for name, array in state.items()})


def other_numbers(trainer, rng, path):
    trainer.optimizer.lr = float(rng.uniform(1e-3, 2e-2))
    if isinstance(getattr(trainer.optimizer, "betas", None), list):
        trainer.optimizer.betas[0] = float(rng.uniform(0.5, 0.95))


def another_optimizer(trainer, rng, path):
    trainer.optimizer = copy.deepcopy(trainer.optimizer)
    trainer.optimizer.weight_decay = float(rng.uniform(0, 0.1))


def other_threads(trainer, rng, path):
    fastbp.set_num_threads(int(rng.integers(1, MOST + 1)))


def other_class_weights(trainer, rng, path):
    if trainer.loss.weight is not None:
        trainer.loss.weight[:] = rng.uniform(0.5, 2, CLASSES)


def another_trainer(trainer, rng, path):
    twin = fastbp.Trainer(trainer.model, trainer.loss, fastbp.SGD(0.01))
    twin.step(*some_rows(rng, trainer))
    twin.fit(*some_rows(rng, trainer), batch_size=7, rng=3, progress=False)


MOST = fastbp.get_num_threads()
ACTIONS = [
    single_steps, other_forms_of_steps, a_wrong_step, looks, files, other_parameters, other_numbers, another_optimizer,
    other_threads, other_class_weights, another_trainer,
]  # fmt: skip


class Acts(fastbp.Callback):
    """Does something random after every so many steps; `fit` of the same trainer is refused."""

    def __init__(self, seed, every, path):
        self.rng, self.every, self.path, self.seen = np.random.default_rng(seed), every, path, []

    def act(self, trainer):
        for i in self.rng.integers(0, len(ACTIONS), self.rng.integers(1, 4)):
            ACTIONS[i](trainer, self.rng, self.path)
        self.seen.append(trainer.steps)

    def on_steps_end(self, trainer):
        before = trainer.model._params.tobytes(), trainer.steps
        with pytest.raises(RuntimeError, match="fit of this Trainer is running"):
            trainer.fit(np.zeros((3, FEATURES)), [0, 1, 2], progress=False)
        assert (trainer.model._params.tobytes(), trainer.steps) == before
        self.act(trainer)

    def on_epoch_end(self, trainer, epoch, figures):
        self.act(trainer)

    def state_dict(self):
        return {"generator": self.rng.bit_generator.state}


def by_hand(trainer, x, y, epochs, batch, rng, acts):
    """Make the steps of `fit` with `step`, and between them what the callback does; return the losses of epochs."""
    made, losses = 0, []
    for epoch in range(epochs):
        order, values, divisors = rng.permutation(ROWS), [], []
        for start in range(0, ROWS, batch):
            rows = order[start : start + batch]
            weight = np.ones(CLASSES) if trainer.loss.weight is None else trainer.loss.weight
            weight = weight.astype(trainer.model.dtype)
            values.append(trainer.step(x[rows], y[rows]))
            divisors.append(weight[y[rows][y[rows] >= 0]].astype(np.float64).sum())
            made += 1
            if made % acts.every == 0:
                acts.act(trainer)
        values, divisors = np.array(values), np.array(divisors)
        counted = divisors > 0
        losses.append((values * divisors)[counted].sum() / divisors.sum())
        acts.on_epoch_end(trainer, epoch + 1, {})
    return losses


@pytest.fixture(autouse=True)
def threads():
    yield
    fastbp.set_num_threads(MOST)


@pytest.mark.parametrize("seed", range(12))
def test_fit_with_callbacks_that_use_the_trainer_is_the_steps_by_hand(seed, tmp_path, monkeypatch):
    if seed % 2:
        monkeypatch.setattr("fastbp._base.pace.CALL_SECONDS", 0.0)  # a call a step
    if seed % 4 < 2:
        monkeypatch.setattr("fastbp._base.threads.SERIAL_WORK", 0)  # on all threads
    rng = np.random.default_rng(seed)
    x, y, make = problem(seed)
    batch, epochs, every = int(rng.integers(1, 20)), int(rng.integers(1, 4)), int(rng.integers(1, 12))
    fitted, stepped = make(), make()
    there, here = Acts(seed, every, tmp_path), Acts(seed, every, tmp_path)
    history = fitted.fit(x, y, epochs=epochs, batch_size=batch, rng=seed, callbacks=[there], progress=False)
    fastbp.set_num_threads(MOST)
    losses = by_hand(stepped, x, y, epochs, batch, np.random.default_rng(seed), here)
    assert there.seen == here.seen
    assert fitted.steps == stepped.steps
    for name in ("_state", "_hyper"):
        assert getattr(fitted, name).tobytes() == getattr(stepped, name).tobytes()
    assert fitted.model._params.tobytes() == stepped.model._params.tobytes()
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-12)


class Rates(fastbp.Callback):
    """Sets the optimizer's numbers by what it has counted; some do by the steps of the run."""

    def __init__(self, every, part):
        self.every, self.part, self.count, self.seen = every, part, 0, []

    def on_fit_begin(self, trainer):
        self.count = 0

    def on_steps_end(self, trainer):
        self.count += 1
        self.seen.append(trainer.steps)
        trainer.optimizer.lr = trainer.optimizer.lr * self.part + 1e-3 / self.count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Other(Rates):
    pass


class Stop(fastbp.Callback):
    """Ends a run at a step, before or after the others are told."""

    def __init__(self, step):
        self.step, self.every = step, 1

    def on_steps_end(self, trainer):
        if trainer.steps == self.step:
            raise InterruptedError


class Looks(fastbp.Callback):
    """Comes by the clock."""

    def __init__(self):
        self.times = 0

    def on_steps_end(self, trainer):
        self.times += 1


def run_of(seed, batch):
    rng = np.random.default_rng(1000 + seed)
    x, y, make = problem(seed)
    asked = {"epochs": int(rng.integers(1, 5)), "batch_size": batch, "rng": seed, "progress": False}
    everies = rng.integers(1, 9, 2).tolist()
    return x, y, make, asked, lambda: [Rates(everies[0], 0.9), Other(everies[1], 0.8)]


def digest_of(trainer):
    return [trainer.steps, trainer.optimizer.lr, trainer.model._params.tobytes().hex(), list(trainer.history["loss"])]


def resumed_elsewhere(folder, seeds):
    """Go on with runs from their checkpoints; a process of its own calls this."""
    found = []
    for seed in seeds:
        x, y, _, asked, callbacks = run_of(seed, 2 + seed)
        trainer = fastbp.Trainer.load_checkpoint(f"{folder}/{seed}")
        trainer.fit(x, y, callbacks=[*callbacks(), Looks()], resume=True, **asked)
        found.append(digest_of(trainer))
    return found


def test_after_exact_multiples_numbers_change_and_a_run_resumed_elsewhere_has_the_same_bits(tmp_path):
    expected, seeds = [], range(10)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        x, y, make, asked, callbacks = run_of(seed, 2 + seed)
        straight, told = make(), callbacks()
        straight.fit(x, y, callbacks=told, **asked)
        expected.append(digest_of(straight))
        for one in told:
            assert one.seen == list(range(one.every, straight.steps + 1, one.every))
        trainer = make()
        stop, before = Stop(int(rng.integers(1, straight.steps + 1))), callbacks()
        before.insert(int(rng.integers(0, 3)), stop)
        with pytest.raises(InterruptedError):
            trainer.fit(x, y, callbacks=before, **asked)
        assert trainer.steps == stop.step
        trainer.save_checkpoint(tmp_path / str(seed))
        here = callbacks()
        trainer.fit(x, y, callbacks=[Looks(), *here], resume=True, **asked)
        assert digest_of(trainer) == expected[-1]
        for one, first in zip(here, [c for c in before if c is not stop], strict=True):
            assert first.seen + one.seen == list(range(one.every, straight.steps + 1, one.every))
    code = f"from tests.train.test_callbacks import *; print(resumed_elsewhere({str(tmp_path)!r}, {seeds!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)


def test_numbers_set_by_the_clock_count_from_the_next_call(monkeypatch):
    monkeypatch.setattr("fastbp._base.pace.CALL_SECONDS", 0.0)
    x, y, make = problem(1)

    class Slower(fastbp.Callback):
        def on_steps_end(self, trainer):
            trainer.optimizer.lr = 0.01 / trainer.steps

    fitted, stepped = make(), make()
    fitted.fit(x, y, batch_size=7, shuffle=False, callbacks=[Slower()], progress=False)
    for start in range(0, ROWS, 7):
        stepped.step(x[start : start + 7], y[start : start + 7])
        Slower().on_steps_end(stepped)
    assert fitted.model._params.tobytes() == stepped.model._params.tobytes()


def test_ctrl_c_at_any_moment_calls_them_at_every_multiple(monkeypatch):
    monkeypatch.setattr("fastbp._base.pace.CALL_SECONDS", 0.0)
    x, y = np.eye(4), [0, 1, 2, 0]

    class Rate(fastbp.Callback):
        every = 3

        def on_steps_end(self, trainer):
            trainer.optimizer.lr = 0.01 / (1 + trainer.steps)

    asked = {"epochs": 400, "batch_size": 3, "rng": 0, "progress": False, "resume": True}
    straight, trainer = (fastbp.Trainer(fastbp.mlp([4, 3], rng=0)) for _ in range(2))
    straight.fit(x, y, callbacks=[Rate()], **asked)
    rng, interrupts, ended = np.random.default_rng(0), 0, False
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        while not ended:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 2e-3))
                trainer.fit(x, y, callbacks=[Rate()], **asked)
                signal.setitimer(signal.ITIMER_REAL, 0)
                ended = True
            except KeyboardInterrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 10
    assert trainer.steps == straight.steps == 800
    assert trainer.model._params.tobytes() == straight.model._params.tobytes()


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError)])
def test_every_is_looked_at_before_the_first_step(every, error):
    x, y, make = problem(0)
    trainer, looks = make(), Looks()
    looks.every = every
    with pytest.raises(error, match="Looks expects every"):
        trainer.fit(x, y, callbacks=[looks], progress=False)
    assert trainer.steps == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
@pytest.mark.filterwarnings("error")
def test_every_may_be_an_integer_of_numpy(dtype):
    x, y, make = problem(0)
    trainer, looks, steps = make(), Looks(), []
    looks.every, looks.on_steps_end = np.dtype(dtype).type(100), lambda trainer: steps.append(trainer.steps)
    trainer.fit(x, y, epochs=6, batch_size=1, callbacks=[looks], progress=False)
    assert steps == [100, 200, 300]


def test_labels_changed_by_a_callback_are_looked_at(monkeypatch):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, y, make = problem(seed)
        trainer, when, row = make(), int(rng.integers(1, 20)), int(rng.integers(ROWS))

        class Spoil(fastbp.Callback):
            every = when

            def on_steps_end(self, trainer, y=y, row=row, rng=rng):
                y[row] = rng.choice([CLASSES, -1, 10**9, -(2**60)])

        with pytest.raises(ValueError, match=f"row {row} is"):
            trainer.fit(x, y, epochs=9, batch_size=3, rng=0, callbacks=[Spoil()], progress=False)
        assert trainer.steps >= when
        assert np.isfinite(trainer.model._params).all()
