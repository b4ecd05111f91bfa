"""Training steps and runs."""

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp.kernels import entries, reference
from fastbp.kernels import optimizers as updates
from fastbp.train import optimizers as made

OPTIMIZERS = {
    "sgd": (fastbp.SGD(0.05), "SGD", {"lr": 0.05}),
    "sgd decay": (fastbp.SGD(0.05, weight_decay=0.01), "SGD", {"lr": 0.05, "weight_decay": 0.01}),
    "momentum": (fastbp.SGD(0.02, momentum=0.9), "SGD", {"lr": 0.02, "momentum": 0.9}),
    "nesterov": (
        fastbp.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=1e-3),
        "SGD",
        {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    ),
    "adam": (fastbp.Adam(2e-3), "Adam", {"lr": 2e-3}),
    "adam decay": (
        fastbp.Adam(1e-3, betas=(0.8, 0.99), weight_decay=0.01),
        "Adam",
        {"lr": 1e-3, "betas": (0.8, 0.99), "weight_decay": 0.01},
    ),
    "adamw": (fastbp.AdamW(2e-3, weight_decay=0.1), "AdamW", {"lr": 2e-3, "weight_decay": 0.1}),
    "rmsprop": (
        fastbp.RMSprop(1e-3, alpha=0.95, weight_decay=1e-3),
        "RMSprop",
        {"lr": 1e-3, "alpha": 0.95, "weight_decay": 1e-3},
    ),
}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def digits():
    x, y = fastbp.load_digits()
    return x / 16, y


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_200_steps_follow_torch(torch, digits, name):
    """float32 from the same weights: losses within 1e-4 relative at every step."""
    optimizer, torch_name, options = OPTIMIZERS[name]
    x, y = digits
    model = fastbp.mlp([64, 40, 10], "tanh", rng=0)
    reference = torch.nn.Sequential(torch.nn.Linear(64, 40), torch.nn.Tanh(), torch.nn.Linear(40, 10))
    with torch.no_grad():
        for ours, theirs in zip(model.parameters().values(), reference.parameters(), strict=True):
            theirs.copy_(torch.from_numpy(np.array(ours)))
    torch_optimizer = getattr(torch.optim, torch_name)(reference.parameters(), **options)
    trainer = fastbp.Trainer(model, optimizer=optimizer)
    got, expected = [], []
    for step in range(200):
        rows = slice(64 * (step % 28), 64 * (step % 28) + 64)
        got.append(trainer.step(x[rows], y[rows]))
        torch_optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            reference(torch.from_numpy(x[rows].copy())), torch.from_numpy(y[rows].copy())
        )
        loss.backward()
        torch_optimizer.step()
        expected.append(loss.item())
    assert trainer.steps == 200
    assert got[-1] < 0.7 * got[0]
    assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", made.MADE)
def test_steps_of_an_optimizer_from_the_table_are_those_of_its_twin(digits, kind):
    optimizer = kind(**({"weight_decay": 0.1} if "weight_decay" in kind.__annotations__ else {}))
    rule = updates.BY_CODE[optimizer.code]
    x, y = digits
    trainer = fastbp.Trainer(fastbp.mlp([64, 20, 10], "tanh", dtype="float64", rng=0), optimizer=optimizer)
    params = trainer.model._params.copy()
    states = np.full((rule.states, params.size), optimizer.numbers()[updates.INITIAL])
    hyper = trainer._hyper.copy()
    hyper[: updates.FIRST_POWER] = optimizer.numbers()
    for step in range(30):
        rows = slice(50 * step, 50 * step + 50)
        trainer.step(x[rows], y[rows])
        reference.advance(hyper)
        rule.twin(params, trainer.model._grads, *states, updates.Hyper(*hyper))
        assert_allclose(trainer.model._params, params, rtol=1e-10, atol=1e-13)


def test_one_update_takes_all_layers_at_once(rng):
    model = fastbp.mlp([4, 5, 3], dtype="float64", rng=0)
    x, y = rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    before = model._params.copy()
    fastbp.Trainer(model, optimizer=fastbp.SGD(0.5)).step(x, y)
    assert_allclose(model._params, before - 0.5 * model._grads, rtol=1e-15, atol=1e-16)


def test_sample_weights_are_repetitions(rng):
    x, y = rng.standard_normal((5, 4)), rng.integers(0, 3, 5)
    counts = np.array([1, 2, 0, 3, 1])
    weighted, repeated = (fastbp.mlp([4, 6, 3], dtype="float64", rng=0) for _ in range(2))
    a = fastbp.Trainer(weighted).step(x, y, sample_weight=counts)
    b = fastbp.Trainer(repeated).step(np.repeat(x, counts, 0), np.repeat(y, counts))
    assert a == pytest.approx(b, rel=1e-14)
    assert_allclose(weighted._grads, repeated._grads, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", ["labels", "probabilities", "mse"])
def test_fit_is_the_steps_it_says(rng, loss):
    """Shuffled batches gathered in compiled code, the last one smaller, against steps on the same rows."""
    x = rng.standard_normal((50, 6)).astype(np.float32)
    y = rng.integers(0, 3, 50) if loss == "labels" else rng.dirichlet(np.ones(3), 50).astype(np.float32)
    w = rng.random(50).astype(np.float32)
    name = "mse" if loss == "mse" else "softmax_cross_entropy"
    fitted, stepped = (fastbp.Trainer(fastbp.mlp([6, 9, 3], rng=0), name, fastbp.SGD(0.1)) for _ in range(2))
    fitted.fit(x, y, epochs=3, batch_size=16, rng=4, sample_weight=w, progress=False)
    orders = np.random.default_rng(4)
    for _ in range(3):
        order = orders.permutation(50)
        for start in range(0, 50, 16):
            rows = order[start : start + 16]
            stepped.step(x[rows], y[rows], sample_weight=w[rows])
    assert fitted.steps == stepped.steps == 12
    assert_array_equal(fitted.model._params, stepped.model._params)


def test_fit_without_shuffling_keeps_the_order(rng):
    x, y = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    a, b = (fastbp.Trainer(fastbp.mlp([4, 3], rng=0)) for _ in range(2))
    a.fit(x, y, batch_size=10, shuffle=False, progress=False)
    b.step(x[:10], y[:10])
    b.step(x[10:], y[10:])
    assert_array_equal(a.model._params, b.model._params)


@pytest.mark.parametrize("shuffle", [True, False])
def test_drop_last_leaves_out_the_rows_after_the_last_whole_batch(rng, shuffle):
    x, y = rng.standard_normal((50, 6)), rng.integers(0, 3, 50)
    lr = fastbp.schedules.linear(0.1)
    fitted, stepped = (
        fastbp.Trainer(fastbp.mlp([6, 9, 3], rng=0), optimizer=fastbp.SGD(lr), total_steps=total)
        for total in (None, 9)
    )  # fmt: skip
    history = fitted.fit(
        x, y, epochs=3, batch_size=16, shuffle=shuffle, rng=4, drop_last=True, validation_data=(x, y), progress=False
    )
    orders, losses = np.random.default_rng(4), []
    for _ in range(3):
        order = orders.permutation(50) if shuffle else np.arange(50)
        losses.append(np.mean([stepped.step(x[rows], y[rows]) for rows in order[:48].reshape(3, 16)]))
    assert fitted.steps == stepped.steps == 9
    assert_array_equal(fitted.model._params, stepped.model._params)
    assert_allclose(history["loss"], losses, rtol=1e-6)


def test_drop_last_lets_batch_norm_have_a_row_too_many(rng):
    x, y = rng.standard_normal((9, 4)), rng.integers(0, 3, 9)
    trainer = fastbp.Trainer(fastbp.mlp([4, 5, 3], norm="batch_norm", rng=0))
    with pytest.raises(ValueError, match="9 rows in batches of 4 end with one of 1"):
        trainer.fit(x, y, batch_size=4, progress=False)
    trainer.fit(x, y, batch_size=4, drop_last=True, progress=False)
    assert trainer.steps == 2


def test_same_seed_same_bits(digits):
    runs = []
    for _ in range(2):
        model = fastbp.mlp([64, 32, 10], rng=0)
        fastbp.Trainer(model).fit(*digits, epochs=2, rng=1, progress=False)
        runs.append(model._params)
    assert_array_equal(*runs)


def test_history_and_evaluate(digits):
    x, y = digits
    trainer = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0))
    history = trainer.fit(x, y, epochs=3, rng=0, validation_data=(x[:500], y[:500]), progress=False)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epochs == 3
    figures = trainer.evaluate(x[:500], y[:500])
    assert figures == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}
    z = trainer.model.predict(x[:500])
    assert figures["accuracy"] == (z.argmax(1) == y[:500]).mean()
    assert figures["loss"] == fastbp.softmax_cross_entropy(z, y[:500])[0]
    trainer.fit(x, y, epochs=2, rng=0, progress=False)
    assert trainer.history.epochs == 5


@pytest.mark.parametrize("targets", ["labels", "one_hot", "numbers"])
def test_weights_of_validation_rows_are_repetitions(rng, targets):
    x, y = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)
    counts = rng.integers(0, 4, 40)
    loss = fastbp.CrossEntropyLoss(weight=[1.0, 0.5, 3.0], label_smoothing=0.1)
    if targets == "labels":
        y[::7] = -100
    else:
        y = np.eye(3)[y]
        loss = loss if targets == "one_hot" else "mse"
    trainer = fastbp.Trainer(fastbp.mlp([4, 5, 3], dtype="float64", rng=0), loss, Frozen())
    expected = trainer.evaluate(np.repeat(x, counts, axis=0), np.repeat(y, counts, axis=0))
    figures = trainer.evaluate(x, y, counts)
    assert figures == pytest.approx(expected, rel=1e-12)
    assert figures.keys() == {"loss"} | ({"accuracy"} if targets != "numbers" else set())
    assert figures != pytest.approx(trainer.evaluate(x, y), rel=1e-3)
    history = trainer.fit(x, y, validation_data=(x, y, counts), progress=False)
    assert {name: history[f"val_{name}"][-1] for name in figures} == figures
    whole = trainer.fit(x, y, sample_weight=counts, batch_size=40, progress=False)["loss"][-1]
    assert whole == pytest.approx(figures["loss"], rel=1e-12)


def test_validation_rows_that_count_for_nothing_have_no_figures(rng):
    x, y = rng.standard_normal((6, 4)), np.arange(6) % 3
    trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
    assert np.isnan(list(trainer.evaluate(x, y, np.zeros(6)).values())).all()
    one = trainer.evaluate(x, y, np.arange(6) == 2)
    assert one == pytest.approx(trainer.evaluate(x[2:3], y[2:3]))


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ((0,), TypeError, r"to be \(x, y\), \(x, y, sample_weight\) or Blocks, got tuple of 1"),
        ((0, 1, 2, 3), TypeError, "got tuple of 4"),
        (5, TypeError, "got int"),
        ((np.zeros((2, 4)), [0, 1], [1.0]), ValueError, r"sample_weight of shape \(2,\), got \(1,\)"),
        ((np.zeros((2, 4)), [0, 1], [1.0, -1.0]), ValueError, "sample_weight to be finite and not negative"),
    ],
)
def test_wrong_validation_data_is_refused_before_the_first_step(given, error, match):
    trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
    with pytest.raises(error, match=match):
        trainer.fit(np.zeros((2, 4)), [0, 1], validation_data=given, progress=False)
    assert trainer.steps == 0


def test_history_of_a_full_batch_is_the_loss_before_the_update(digits):
    x, y = digits
    trainer = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0))
    before = trainer.evaluate(x, y)
    history = trainer.fit(x, y, batch_size=len(x), shuffle=False, progress=False)
    assert history["loss"] == [pytest.approx(before["loss"], rel=1e-6)]
    assert history["accuracy"] == [before["accuracy"]]


class Frozen(fastbp.SGD):
    """Leaves the parameters as they are, to compare figures."""

    def __init__(self):
        super().__init__(lr=0.0)


def test_rows_that_count_for_nothing_move_nothing(rng):
    x, y = rng.standard_normal((8, 4)), np.arange(8) % 3
    trainer = fastbp.Trainer(fastbp.mlp([4, 5, 3], rng=0), optimizer=fastbp.SGD(0.1))
    before = trainer.model._params.copy()
    assert np.isnan(trainer.step(x, y, sample_weight=np.zeros(8)))
    assert np.isnan(trainer.step(x, np.full(8, -100)))
    assert_array_equal(trainer.model._params, before)
    history = trainer.fit(
        x, y, sample_weight=[0, 0, 1, 1, 1, 1, 1, 1], batch_size=2, shuffle=False, progress=False
    )  # the first batch counts for nothing
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(trainer.model._params).all()


def test_figures_of_an_epoch_do_not_depend_on_the_batch_size(rng):
    x, y = rng.standard_normal((8, 4)).astype(np.float32), np.arange(8) % 3
    y[[1, 5, 6]] = -100
    loss = fastbp.CrossEntropyLoss(weight=[1.0, 2.0, 5.0])
    trainer = fastbp.Trainer(fastbp.mlp([4, 5, 3], rng=0), loss, Frozen())
    expected = trainer.evaluate(x, y)
    for batch_size in (1, 3, 8):
        history = trainer.fit(x, y, batch_size=batch_size, rng=0, progress=False)
        assert history["loss"][0] == pytest.approx(expected["loss"], rel=1e-6)
        assert history["accuracy"][0] == expected["accuracy"]
    weighted = [
        trainer.fit(x, y, batch_size=size, sample_weight=[100, *[1] * 7], rng=0, progress=False)["loss"][0]
        for size in (1, 8)
    ]
    assert weighted[0] == pytest.approx(weighted[1], rel=1e-6)


def test_of_equal_logits_the_first_is_the_answer(rng):
    x, y = rng.standard_normal((8, 4)), np.arange(8) % 3
    trainer = fastbp.Trainer(fastbp.mlp([4, 3], init="zeros"), optimizer=Frozen())
    accuracy = trainer.evaluate(x, y)["accuracy"]
    assert accuracy == 3 / 8
    assert trainer.fit(x, y, progress=False)["accuracy"] == [accuracy]


def test_model_and_loss_of_a_trainer_stay():
    trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
    for name, value in (("model", fastbp.mlp([4, 30], rng=0)), ("loss", fastbp.MSELoss())):
        with pytest.raises(AttributeError):
            setattr(trainer, name, value)


def test_history_goes_to_csv(tmp_path):
    history = fastbp.History()
    history.append({"loss": 0.5})
    history.append({"loss": 0.25, "val_loss": 0.3})
    history.to_csv(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text() == "epoch,loss,val_loss\n1,0.5,nan\n2,0.25,0.3\n"


def test_regression_by_one_output_takes_a_column_or_a_row(rng):
    x, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    a, b = (fastbp.Trainer(fastbp.mlp([4, 8, 1], rng=0), "mse") for _ in range(2))
    assert a.step(x, y) == b.step(x, y[:, None])
    assert list(a.evaluate(x, y)) == ["loss"]


@pytest.mark.jit
def test_one_artefact_serves_every_architecture(rng):
    counts = []
    for sizes, activation in [
        ([3, 2], "relu"),
        ([5, 40, 2], "tanh"),
        ([64, 30, 20, 10], "gelu"),
        ([7, 100, 3, 100, 2], "silu"),
        ([200, 1, 2], "elu"),
    ]:
        trainer = fastbp.Trainer(fastbp.mlp(sizes, activation, rng=0))
        x = rng.standard_normal((9, sizes[0])).astype(np.float32)
        trainer.step(x, rng.integers(0, 2, 9))
        trainer.fit(x, rng.integers(0, 2, 9), epochs=1, rng=0, progress=False)
        trainer.model.predict(x)
        counts.append([len(f.signatures) for f in (entries.train_steps, entries.predict)])
    assert counts[0] == counts[-1]
    assert all(count == counts[0] for count in counts)


def test_bits_do_not_depend_on_the_threads(digits):
    """In processes of their own, with more threads than cores too."""
    script = textwrap.dedent("""
        import sys, hashlib, numpy as np, fastbp
        from fastbp._base import threads
        threads.SERIAL_WORK = 0  # also what would run on one thread
        x, y = fastbp.load_digits()
        x = np.tile(x / 16, (2, 1)); y = np.tile(y, 2)
        digest = hashlib.sha256()
        for n in map(int, sys.argv[1:]):
            fastbp.set_num_threads(n)
            digest = hashlib.sha256()
            cases = ([64, 100, 10], "relu", 128), ([64, 33, 17, 10], "gelu", 1500), ([64, 10], "tanh", 37)
            for sizes, act, batch in cases:
                model = fastbp.mlp(sizes, act, rng=0)
                fastbp.Trainer(model).fit(x, y, epochs=2, batch_size=batch, rng=0, progress=False)
                digest.update(model._params); digest.update(model._grads); digest.update(model.predict(x))
            print(digest.hexdigest())
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, "1", "2", "3", "7", "16"],
        env=os.environ | {"NUMBA_NUM_THREADS": "16"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.split()) == 5
    assert len(set(done.stdout.split())) == 1


def test_after_a_fork_the_child_trains_rightly(digits):
    x, y = digits
    model = fastbp.mlp([64, 300, 10], rng=0)
    trainer = fastbp.Trainer(model)
    trainer.step(np.tile(x, (4, 1)), np.tile(y, 4))  # enough work for a parallel region
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads: that is the case tested
        pid = os.fork()
    if pid == 0:
        trainer.step(np.tile(x, (4, 1)), np.tile(y, 4))
        os.write(write, model.predict(x[:20]).tobytes())
        os._exit(0)
    deadline = time.monotonic() + 60
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    trainer.step(np.tile(x, (4, 1)), np.tile(y, 4))
    expected = model.predict(x[:20])
    assert os.read(read, 1 << 16) == expected.tobytes()
    os.close(read)
    os.close(write)


def test_ctrl_c_leaves_the_model_at_a_step_and_the_history(digits):
    x, y = digits
    trainer = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0))
    trainer.fit(x, y, epochs=1, rng=0, progress=False)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=10**6, rng=0, progress=False)
    epochs, steps = trainer.history.epochs, trainer.steps
    assert epochs > 1
    assert steps >= epochs * 15
    trainer.fit(x, y, epochs=1, rng=0, progress=False)
    assert trainer.history.epochs == epochs + 1


INTERRUPTED = """
import sys, time, numpy as np, fastbp
x, y = fastbp.load_digits()
x, y = np.tile(x / 16, (100, 1)), np.tile(y, 100)
steps_an_epoch = -(-len(x) // 64)
class Tell(fastbp.Callback):
    # A call has begun to be as long as it gets
    due = float("inf")
    def on_epoch_end(self, trainer, epoch, figures):
        if epoch == 1:
            self.due = time.monotonic() + 0.5
    def on_steps_end(self, trainer):
        if time.monotonic() > self.due:
            self.due = float("inf")
            print("now", flush=True)
def run(trainer, epochs, *callbacks, resume=False):
    return trainer.fit(x, y, epochs=epochs, batch_size=64, rng=0, progress=False, callbacks=callbacks, resume=resume)
trainer, straight = (fastbp.Trainer(fastbp.mlp([64, 2000, 10], rng=0)) for _ in range(2))
try:
    run(trainer, 10**6, Tell())
except KeyboardInterrupt:
    stopped = time.monotonic()
steps, epochs = trainer.steps, trainer.history.epochs
assert 1 <= epochs <= steps / steps_an_epoch <= epochs + 1
run(trainer, epochs + 1, resume=True)
run(straight, epochs + 1)
assert trainer.steps == straight.steps == steps_an_epoch * (epochs + 1)
assert (trainer.model._params == straight.model._params).all()
assert dict(trainer.history) == dict(straight.history)
print(stopped)
"""


def test_ctrl_c_is_answered_within_200_ms_and_a_second_fit_goes_on():
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "now\n"
        sent = time.monotonic()
        run.send_signal(signal.SIGINT)
        stopped, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    assert 0 < float(stopped) - sent < 0.2


class Remember(fastbp.Callback):
    """Remembers the epochs, and changes the rate by their number."""

    def __init__(self):
        self.epochs = []

    def on_fit_begin(self, trainer):
        self.epochs = []

    def on_epoch_end(self, trainer, epoch, figures):
        trainer.optimizer.lr = 0.01 / epoch
        if epoch not in self.epochs:
            self.epochs = [*self.epochs, epoch]

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


def test_ctrl_c_at_any_moment_loses_nothing(monkeypatch):
    """Between any two instructions: with steps and epochs this short, most of them come outside of compiled code."""
    monkeypatch.setattr("fastbp._base.pace.CALL_SECONDS", 0.0)
    x, y = np.eye(4), [0, 1, 2, 0]
    asked = {"epochs": 600, "batch_size": 3, "rng": 0, "progress": False, "validation_data": (x, y), "resume": True}
    straight, trainer = (fastbp.Trainer(fastbp.mlp([4, 3], rng=0)) for _ in range(2))
    straight.fit(x, y, callbacks=[Remember()], **asked)
    remember, interrupts, rng = Remember(), 0, np.random.default_rng(0)
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        while True:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 3e-3))
                trainer.fit(x, y, callbacks=[remember], **asked)
                signal.setitimer(signal.ITIMER_REAL, 0)
                break
            except KeyboardInterrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 20
    assert trainer.steps == straight.steps == 1200
    assert remember.epochs == list(range(1, 601))
    assert_array_equal(trainer.model._params, straight.model._params)
    assert dict(trainer.history) == dict(straight.history)


class TestCallbacks:
    def test_see_every_epoch_and_may_stop(self, digits):
        seen = []

        class Third(fastbp.Callback):
            def on_fit_begin(self, trainer):
                seen.append("begin")

            def on_epoch_end(self, trainer, epoch, figures):
                seen.append(epoch)
                assert figures["loss"] == trainer.history["loss"][-1]
                return epoch == 3

            def on_fit_end(self, trainer):
                seen.append("end")

        trainer = fastbp.Trainer(fastbp.mlp([64, 8, 10], rng=0))
        history = trainer.fit(*digits, epochs=10, rng=0, callbacks=[Third()], progress=False)
        assert seen == ["begin", 1, 2, 3, "end"]
        assert history.epochs == 3

    def test_may_change_the_learning_rate(self, digits):
        class Freeze(fastbp.Callback):
            def on_epoch_end(self, trainer, epoch, figures):
                trainer.optimizer.lr = 0.0

        trainer = fastbp.Trainer(fastbp.mlp([64, 8, 10], rng=0), optimizer=fastbp.SGD(0.1))
        losses = trainer.fit(*digits, epochs=3, batch_size=10**6, callbacks=[Freeze()], progress=False)["loss"]
        assert losses[0] > losses[1]
        assert losses[1] == pytest.approx(losses[2], rel=1e-6)

    def test_early_stopping_brings_the_best_back(self, digits):
        x, y = digits
        stop = fastbp.EarlyStopping(patience=2)
        trainer = fastbp.Trainer(fastbp.mlp([64, 64, 10], rng=0), optimizer=fastbp.Adam(0.03))
        history = trainer.fit(
            x[:300], y[:300], epochs=100, rng=0, validation_data=(x[300:], y[300:]), callbacks=[stop], progress=False
        )
        best = int(np.argmin(history["val_loss"]))
        assert history.epochs == best + 3 < 100
        assert trainer.evaluate(x[300:], y[300:])["loss"] == history["val_loss"][best]

    def test_a_figure_to_monitor_is_looked_for_before_the_first_epoch(self, digits):
        x, y = digits
        trainer = fastbp.Trainer(fastbp.mlp([64, 8, 10], rng=0))
        with pytest.raises(KeyError, match="EarlyStopping expects the figure 'val_loss'; this run has loss, accuracy"):
            trainer.fit(x, y, callbacks=[fastbp.EarlyStopping()], progress=False)
        smooth = np.full((len(y), 10), 0.1)  # probabilities have no accuracy
        other, stop = (x, smooth), fastbp.EarlyStopping("val_accuracy")
        with pytest.raises(KeyError, match="'val_accuracy'; this run has loss, accuracy, val_loss"):
            trainer.fit(x, y, validation_data=other, callbacks=[stop], progress=False)
        assert trainer.steps == 0

    def test_a_figure_of_a_subclass_s_evaluate_may_be_monitored(self, digits):
        class WithMore(fastbp.Trainer):
            def evaluate(self, x, y):
                return super().evaluate(x, y) | {"more": -float(self.steps)}

        x, y = digits
        trainer, asked = WithMore(fastbp.mlp([64, 8, 10], rng=0)), {"validation_data": digits, "progress": False}
        history = trainer.fit(x, y, epochs=3, callbacks=[fastbp.EarlyStopping("val_more")], **asked)
        assert history["val_more"] == sorted(history["val_more"], reverse=True)
        with pytest.raises(KeyError, match="val_mere"):
            trainer.fit(x, y, callbacks=[fastbp.EarlyStopping("val_mere")], **asked)

    def test_see_the_ends_of_compiled_calls(self, digits):
        steps = []

        class Look(fastbp.Callback):
            def on_steps_end(self, trainer):
                steps.append(trainer.steps)

        trainer = fastbp.Trainer(fastbp.mlp([64, 8, 10], rng=0))
        trainer.fit(*digits, epochs=2, callbacks=[Look()], progress=False)
        assert steps == sorted(set(steps))
        assert {1, 15, 30} <= set(steps)


class TestErrors:
    @pytest.mark.parametrize(
        ("x", "y", "options", "error", "message"),
        [
            (np.zeros((0, 4)), [], {}, ValueError, "at least one row"),
            (np.zeros((2, 5)), [0, 1], {}, ValueError, r"Trainer expects x of shape \(batch, 4\), got \(2, 5\)"),
            (np.zeros((2, 4)), [0, 3], {}, ValueError, "targets in 0..2.*got 3 in row 1"),
            (np.zeros((2, 4)), [0, 1, 2], {}, ValueError, r"targets of shape \(2,\), got \(3,\)"),
            (
                np.zeros((2, 4)),
                [0, 1],
                {"sample_weight": [1]},
                ValueError,
                r"sample_weight of shape \(2,\), got \(1,\)",
            ),
            (
                np.zeros((2, 4)),
                [0, 1],
                {"sample_weight": [1, np.nan]},
                ValueError,
                "sample_weight to be finite.*nan at 1",
            ),
        ],
    )
    def test_nothing_is_changed(self, x, y, options, error, message):
        trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
        before = trainer.model._params.copy()
        for call in (trainer.step, lambda *a, **k: trainer.fit(*a, **k, progress=False)):
            with pytest.raises(error, match=message):
                call(x, y, **options)
        assert trainer.steps == 0
        assert_array_equal(trainer.model._params, before)

    def test_fit_checks_its_options_first(self):
        trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0))
        x, y = np.zeros((2, 4)), [0, 1]
        for options, error, message in [
            ({"epochs": 0}, ValueError, "epochs of at least 1, got 0"),
            ({"batch_size": 2.5}, TypeError, "batch_size to be an int"),
            ({"rng": "x"}, TypeError, "rng to be"),
            ({"validation_data": (x, [0, 5])}, ValueError, "got 5 in row 1"),
            ({"validation_data": (x,)}, TypeError, r"validation_data to be \(x, y\), .*got tuple of 1"),
            ({"callbacks": [print]}, TypeError, "Callback objects"),
            ({"callbacks": fastbp.EarlyStopping()}, TypeError, "callbacks to be a list"),
            ({"progress": "yes"}, TypeError, "progress to be a bool, got 'yes'"),
            ({"drop_last": "yes"}, TypeError, "drop_last to be"),
            ({"drop_last": True, "batch_size": 3}, ValueError, "drop_last a whole batch of 3 rows, got 2 rows"),
        ]:
            with pytest.raises(error, match=message):
                trainer.fit(x, y, **{"progress": False, **options})
        assert trainer.steps == 0

    def test_construction(self):
        model = fastbp.mlp([4, 3], rng=0)
        for arguments, error, message in [
            (("model",), TypeError, "model to be a Sequential, got str"),
            ((model, "hinges"), ValueError, "loss to be one of softmax_cross_entropy, mse.*'hinges'"),
            ((model, fastbp.MSELoss(reduction="none")), ValueError, "reduction 'mean' or 'sum'"),
            ((model, "gaussian_nll"), ValueError, "2 outputs for each target column, got out_features 3"),
            ((model, "mse", "adamm"), ValueError, "optimizer to be one of sgd, .*adagrad; got 'adamm'"),
            ((model, "mse", 3), TypeError, "optimizer to be an optimizer, got int"),
        ]:
            with pytest.raises(error, match=message):
                fastbp.Trainer(*arguments)

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: fastbp.SGD(-1), ValueError, "SGD expects lr at least 0, got -1"),
            (lambda: fastbp.SGD(float("nan")), ValueError, "lr at least 0, got nan"),
            (lambda: fastbp.SGD("0.1"), TypeError, "lr to be a number"),
            (lambda: fastbp.SGD(nesterov=True), ValueError, "momentum greater than 0"),
            (lambda: fastbp.Adam(betas=(0.9, 1.0)), ValueError, r"betas\[1\] in \[0, 1\), got 1.0"),
            (lambda: fastbp.Adam(betas=0.9), TypeError, "betas to be two numbers"),
            (lambda: fastbp.AdamW(eps=-1e-8), ValueError, "AdamW expects eps at least 0"),
            (lambda: fastbp.RMSprop(alpha=2), ValueError, r"alpha in \[0, 1\)"),
        ],
    )
    def test_optimizers(self, make, error, message):
        with pytest.raises(error, match=message):
            make()

    def test_an_optimizer_spoilt_later_is_refused(self):
        trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0), optimizer=fastbp.SGD(0.1))
        trainer.optimizer.lr = -1
        with pytest.raises(ValueError, match="lr at least 0"):
            trainer.step(np.zeros((2, 4)), [0, 1])
        trainer.optimizer = fastbp.Adam()
        with pytest.raises(ValueError, match="make a new Trainer"):
            trainer.step(np.zeros((2, 4)), [0, 1])
        trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0), optimizer=fastbp.Adam(1e-3, weight_decay=0.01))
        trainer.step(np.zeros((2, 4)), [0, 1])
        trainer.optimizer = fastbp.AdamW(1e-3)  # the same numbers
        with pytest.raises(ValueError, match="make a new Trainer"):
            trainer.step(np.zeros((2, 4)), [0, 1])


def test_steps_allocate_next_to_nothing(digits):
    x, y = digits
    trainer = fastbp.Trainer(fastbp.mlp([64, 100, 10], rng=0))
    x = np.ascontiguousarray(x, np.float32)
    for _ in range(12):  # a compiled function is loaded, or compiled, by its first call; by then each has been called
        trainer.step(x, y)
    tracemalloc.start()
    for _ in range(10):
        trainer.step(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024


class TestEps:
    """Squares below the normal numbers count as 0: no eps makes a step divide by it."""

    KINDS = (fastbp.Adam, fastbp.AdamW, fastbp.RMSprop)

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_0_is_refused(self, kind):
        for eps in (0.0, 0, -0.0):
            with pytest.raises(ValueError, match=f"{kind.__name__} expects eps greater than 0, got"):
                kind(eps=eps)
        trainer = fastbp.Trainer(fastbp.mlp([1, 1], rng=0), "mse", kind())
        before = trainer.model._params.copy()
        trainer.optimizer.eps = 0
        with pytest.raises(ValueError, match="eps greater than 0"):
            trainer.step([[1.0]], [1.0])
        assert_array_equal(trainer.model._params, before)

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_any_other_size_keeps_steps_within_some_learning_rates(self, kind):
        """The largest quotient of the moments is some 30 or, after flushing, 32 times that of rounding."""
        rng = np.random.default_rng(0)
        for _ in range(60):
            dtype = rng.choice(["float32", "float64"])
            range_of_tens = np.log10(float(np.finfo(dtype).tiny))
            x = [[10.0 ** rng.uniform(range_of_tens, 0)]]
            model = fastbp.mlp([1, 1], dtype=dtype, rng=0)
            model[0].weight = [[0.0]]
            trainer = fastbp.Trainer(model, "mse", kind(1e-3, eps=10.0 ** rng.uniform(-300, -1)))
            for _ in range(5):
                trainer.step(x, [[1.0]])
            assert np.isfinite(model._params).all()
            assert np.abs(model[0].weight).max() < 5 * 1e-3 * 40

    @pytest.mark.parametrize("kind", KINDS)
    def test_where_squares_are_normal_numbers_is_torch_s(self, torch, kind):
        rng = np.random.default_rng(1)
        for _ in range(10):
            size, eps = 10.0 ** rng.uniform(-16, 0), 10.0 ** rng.uniform(-30, -8)
            model = fastbp.mlp([1, 1], bias=False, rng=0)
            weight = torch.from_numpy(model[0].weight.copy()).requires_grad_()
            theirs = getattr(torch.optim, kind.__name__)([weight], 0.1, eps=eps)
            trainer = fastbp.Trainer(model, "mse", kind(0.1, eps=eps))
            for _ in range(3):
                trainer.step(np.float32([[size]]), np.float32([[1.0]]))
                theirs.zero_grad()
                ((weight * np.float32(size) - 1) ** 2).sum().backward()
                theirs.step()
            assert_allclose(model[0].weight, weight.detach().numpy(), rtol=1e-4)


COLUMNS = ["bool", "float32", "float64", "int8", "uint64", "Int64", "Float32", "boolean"]


class TestFrames:
    """Data frames of pandas."""

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.sampled_from(
                ["bool", "float32", "float64", "int8", "uint64", "Int64", "Float32", "boolean", "Sparse[i8]"]
            ),
            min_size=1,
        ),
        st.integers(1, 9),
        st.integers(0, 2**32),
    )
    def test_of_any_numeric_columns_are_arrays(self, pandas, kinds, rows, seed):
        numbers = np.random.default_rng(seed).integers(0, 2, (rows, len(kinds)))
        frame = pandas.DataFrame({f"c{i}": numbers[:, i] for i in range(len(kinds))})
        frame = frame.astype({f"c{i}": kind for i, kind in enumerate(kinds)})
        model = fastbp.mlp([len(kinds), 3], rng=0)
        assert_array_equal(model.predict(frame), model.predict(numbers))
        y = numbers[:, 0]
        trainers = [fastbp.Trainer(fastbp.mlp([len(kinds), 3], rng=0)) for _ in range(2)]
        for trainer, x in zip(trainers, (frame, numbers), strict=True):
            trainer.fit(x, y, validation_data=(x, y), rng=0, progress=False)
            trainer.step(x, y)
            trainer.evaluate(x, y)
        assert_array_equal(trainers[0].model._params, trainers[1].model._params)
        assert_array_equal(
            fastbp.Scaler.fit(frame, "standardize").transform(frame),
            fastbp.Scaler.fit(numbers, "standardize").transform(numbers),
        )

    @pytest.mark.parametrize("column", [["1.5", "2"], [None, 1], np.array(["2020", "2021"], "M8[Y]"), [1j, 2]])
    def test_with_other_columns_are_refused_by_name(self, pandas, column):
        frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [True, False], "odd": column})
        if frame["odd"].dtype.kind == "f":
            frame["odd"] = frame["odd"].astype(object)
        with pytest.raises(TypeError, match=r"x of real numbers up to 64 bits, got dtype .* in column 'odd'"):
            fastbp.mlp([3, 2]).predict(frame)

    def test_missing_numbers_are_nan(self, pandas):
        frame = pandas.DataFrame({"a": pandas.array([1, None], "Int64"), "b": [True, False]})
        model = fastbp.mlp([2, 2], rng=0)
        assert_array_equal(np.isnan(model.predict(frame)).all(axis=1), [False, True])

    def test_dummies_are_targets(self, pandas):
        labels = pandas.Series(["a", "b", "c", "b"])
        trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0))
        assert "accuracy" in trainer.fit(np.ones((4, 2)), pandas.get_dummies(labels), progress=False)

    def test_a_history_has_a_row_an_epoch(self, pandas, digits):
        history = fastbp.Trainer(fastbp.mlp([64, 10], rng=0)).fit(*digits, epochs=3, rng=0, progress=False)
        frame = pandas.DataFrame(history)
        assert list(frame.columns) == ["loss", "accuracy"]
        assert_array_equal(frame.to_numpy(), np.array([history["loss"], history["accuracy"]]).T)


@pytest.fixture(scope="module")
def pandas(library):
    return library("pandas")


def test_a_history_is_a_dictionary_that_grows_by_append_alone():
    history = fastbp.History({"loss": [0.5]})
    for change in (
        lambda: history.__setitem__("loss", [1.0]),
        lambda: history.update(loss=[]),
        lambda: history.pop("loss"),
        lambda: history.setdefault("more", []),
        lambda: history.clear(),
        lambda: history.__ior__({"more": []}),
        lambda: history.__delitem__("loss"),
    ):
        with pytest.raises(TypeError, match="History grows by append alone"):
            change()
    history.append({"loss": 0.25, "more": 1.0})
    assert isinstance(history, dict)
    assert json.loads(json.dumps({"history": history}))["history"]["loss"] == [0.5, 0.25]
    for twin in (copy.copy(history), copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert repr(twin) == repr(history)
        twin.append({"loss": 0.1})
        assert (history.epochs, twin.epochs, len(history["loss"])) == (2, 3, 2)
    with pytest.raises(ValueError, match="could not convert"):
        history.append({"loss": 0.1, "more": "none", "new": 2.0})
    assert {name: len(column) for name, column in history.items()} == {"loss": history.epochs, "more": history.epochs}
    empty = fastbp.History()
    empty.append({})
    assert pickle.loads(pickle.dumps(empty)).epochs == empty.epochs == 1


@pytest.mark.parametrize("outputs", [3, 1000])
def test_what_a_trainer_and_a_data_set_say_of_themselves_is_short(outputs):
    loss = fastbp.CrossEntropyLoss(weight=np.ones(outputs))
    trainer = fastbp.Trainer(fastbp.mlp([784, 30, outputs]), loss, fastbp.SGD(0.1))
    trainer.step(np.zeros((2, 784)), [0, 1])
    sgd = "SGD(lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)"
    assert repr(trainer) == f"Trainer(784-30-{outputs}, CrossEntropyLoss, {sgd}, 1 steps)"
    digits = fastbp.load_dataset("digits")
    assert repr(digits) == "Dataset('digits', classification, 1437 + 360 rows of 64 features, 10 classes)"


@pytest.mark.jit
def test_without_numba_s_compiler_the_first_call_says_what_to_unset():
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    for call in ("mlp([2, 2]).predict([[0, 0]])", "get_num_threads()", "warmup()"):
        done = subprocess.run(
            [sys.executable, "-c", f"import fastbp\nfastbp.{call}"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(
            "ImportError: fastbp is compiled by Numba, and NUMBA_DISABLE_JIT"
        )
