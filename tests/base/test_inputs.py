"""No input is copied or converted whole: rows of any elements and layout are read a batch at a time, to the bit."""

import gc
import re
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp._base import check
from fastbp._base.inputs import Input
from fastbp.data.scaled import Scaled

rng = np.random.default_rng(0)
ROWS = 90
NUMBERS = rng.integers(0, 128, (ROWS, 7))
LABELS, TARGETS = rng.integers(0, 3, ROWS), rng.standard_normal((ROWS, 3))
WEIGHT = rng.uniform(0, 2, ROWS)
KINDS = [
    "bool",
    "int8",
    "uint8",
    ">i2",
    "uint16",
    "int32",
    ">u4",
    "int64",
    "uint64",
    "float16",
    ">f4",
    "float32",
    ">f8",
]
KINDS += ["float64", "fortran", "reversed", "every 2nd", "read-only", "misaligned"]


def of_kind(kind, x=NUMBERS):
    """Return numbers of another kind, and the same as a plain float64 array."""
    layouts = {
        "fortran": lambda: np.asfortranarray(x.astype(np.float64)),
        "reversed": lambda: x[::-1, ::-1].astype(np.float32)[::-1, ::-1],
        "every 2nd": lambda: np.repeat(np.repeat(x, 2, 0), 2, 1).astype(np.int16)[::2, ::2],
        "misaligned": lambda: np.ndarray(x.shape, np.float32, b"\0" + x.astype(np.float32).tobytes(), 1),
        "read-only": lambda: x.astype(np.float32),
    }
    odd = layouts.get(kind, lambda: x.astype(kind))()
    if kind == "read-only":
        odd.flags.writeable = False
    return odd, np.array(odd, np.float64)


@pytest.fixture(autouse=True)
def _nothing_is_few(monkeypatch):
    monkeypatch.setattr(check, "FEW_NUMBERS", 0)


def trained(loss, x, y, dtype="float32", **more):
    """Whatever step, fit, its validation, evaluate and predict give."""
    trainer = fastbp.Trainer(fastbp.mlp([7, 5, 3], dtype=dtype, rng=0), loss, fastbp.Adam(1e-2))
    first = trainer.step(x, y, **more)
    history = trainer.fit(x, y, epochs=2, batch_size=16, rng=0, validation_data=(x, y), progress=False, **more)
    figures = trainer.evaluate(x, y)
    outputs = [trainer.model.predict(x), trainer.model.predict(x, batch_size=16)]
    return [first, *history["loss"], *history["val_loss"], *figures.values(), *outputs, trainer.model._params]


def assert_same(found, exact):
    for ours, theirs in zip(found, exact, strict=True):
        assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_numbers_changes_no_bit(kind):
    x, plain = of_kind(kind)
    before = x.tobytes()
    given = check.inputs(x, 7, np.dtype(np.float32), "test")
    assert isinstance(given, Input) == (kind not in ("float32", "read-only"))
    assert_same(
        trained("softmax_cross_entropy", x, LABELS), trained("softmax_cross_entropy", np.float32(plain), LABELS)
    )
    assert x.tobytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_are_read_a_batch_at_a_time_too(dtype):
    x, plain = of_kind("uint8")
    for y in (TARGETS, np.asfortranarray(TARGETS.astype(np.float16)), np.int8(9 * TARGETS)):
        exact = trained("mse", plain.astype(dtype), np.ascontiguousarray(y, dtype), dtype, sample_weight=WEIGHT)
        assert_same(trained("mse", x, y, dtype, sample_weight=WEIGHT), exact)
        assert_same(trained("mse", plain.astype(dtype), y, dtype, sample_weight=WEIGHT), exact)
    one_hot = np.eye(3)[LABELS]
    exact = trained("softmax_cross_entropy", plain.astype(dtype), one_hot.astype(dtype), dtype)
    assert_same(trained("softmax_cross_entropy", x, np.asfortranarray(one_hot), dtype), exact)


def test_rows_with_an_ignored_label_count_for_nothing_whatever_they_hold():
    x = np.asfortranarray(NUMBERS, np.float64)
    labels = LABELS.copy()
    labels[[3, 50]] = -100
    x[[3, 50]] = np.nan
    plain = x.astype(np.float32)
    ways = [trained("softmax_cross_entropy", each, labels)[:-3] for each in (x, plain)]
    assert np.isfinite(ways[0]).all()
    assert_same(*ways)


def test_a_loss_of_the_users_own_is_given_each_batch():
    def squares(outputs, targets):
        d = outputs - targets
        return float((d**2).mean()), 2 * d / d.size

    x, plain = of_kind("float16")
    assert_same(trained(squares, x, np.float32(TARGETS)), trained(squares, np.float32(plain), np.float32(TARGETS)))


def test_a_resumed_run_may_read_other_numbers_of_the_same_value(tmp_path):
    x, plain = of_kind(">i2")

    class Save(fastbp.Callback):
        def on_epoch_end(self, trainer, epoch, figures):
            if epoch == 1:
                trainer.save_checkpoint(tmp_path / "run")

    def make():
        return fastbp.Trainer(fastbp.mlp([7, 5, 3], rng=0))

    whole = make()
    whole.fit(np.float32(plain), LABELS, epochs=3, rng=0, batch_size=16, callbacks=[Save()], progress=False)
    resumed = fastbp.Trainer.load_checkpoint(tmp_path / "run")
    resumed.fit(x, LABELS, epochs=3, batch_size=16, resume=True, callbacks=[Save()], progress=False)
    assert_array_equal(resumed.model._params, whole.model._params)


def test_threads_change_no_bit():
    x = rng.integers(0, 256, (600, 300), np.uint8)
    y, found = rng.integers(0, 10, 600), []
    before = fastbp.get_num_threads()
    try:
        for threads in (1, 2):
            fastbp.set_num_threads(threads)
            trainer = fastbp.Trainer(fastbp.mlp([300, 200, 10], rng=0), optimizer=fastbp.SGD(1e-4))
            trainer.fit(Scaled(x, 255), y, epochs=2, rng=0, progress=False)
            found.append(trainer.model.predict(x))
    finally:
        fastbp.set_num_threads(before)
    assert_same(found[:1], found[1:])


def test_a_number_that_is_not_finite_is_found_in_its_row():
    x = np.asfortranarray(NUMBERS, np.float64)
    x[17, 2] = np.inf
    trainer = fastbp.Trainer(fastbp.mlp([7, 3], rng=0))
    with pytest.raises(fastbp.NotFiniteError, match=r"from row 17\. Not finite: x in row 17\.") as raised:
        trainer.fit(x, LABELS, shuffle=False, progress=False)
    assert_array_equal(raised.value.rows, [17])


def test_parameters_may_be_an_input():
    """As if they had been copied before the call."""

    def run(call, copied):
        model = fastbp.mlp([6, 6, 6], rng=0)
        x = model[1].weight  # the transposed view
        x = x.copy(order="F") if copied else x
        call(fastbp.Trainer(model, "mse", fastbp.SGD(0.1)), x)
        return [model._params]

    def fit(trainer, x):
        trainer.fit(x, x, epochs=2, batch_size=2, rng=0, progress=False)

    def step(trainer, x):
        trainer.step(x, x)

    for call in (fit, step):
        assert_same(run(call, copied=False), run(call, copied=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["uint8", "int64", "float64", ">f4"])
def test_scaled_rows_are_those_of_the_scaler(dtype, kind):
    x, _ = of_kind(kind)
    for how in ("scale", "standardize"):
        scaler = fastbp.Scaler.fit(x, how)
        plain = scaler.transform(x)
        if dtype == "float64":
            plain = (x - scaler.shift) / scaler.scale
        found = trained("softmax_cross_entropy", Scaled(x, scaler.scale, scaler.shift), LABELS, dtype)
        assert_same(found, trained("softmax_cross_entropy", plain, LABELS, dtype))


def test_scaled_rows_go_wherever_rows_do():
    model = fastbp.mlp([7, 5, 3], rng=0)
    scaled, plain = Scaled(NUMBERS, 2), np.float32(NUMBERS / 2)
    assert_array_equal(model.forward(scaled), model.forward(plain))
    assert_array_equal(model[0].forward(scaled), model[0].forward(plain))
    assert_array_equal(fastbp.Trainer(model).forward(scaled), model.predict(plain))
    assert (len(scaled), scaled.shape) == (ROWS, (ROWS, 7))
    assert repr(scaled) == f"Scaled(({ROWS}, 7) of int64)"


def test_scaled_refuses_what_it_cannot_scale():
    for arguments, message in [
        ((NUMBERS[0], 2), r"x of shape \(rows, features\), got \(7,\)"),
        ((NUMBERS.astype(str), 2), "real numbers"),
        ((np.ma.masked_array(NUMBERS, False), 2), "without a mask"),
        ((Scaled(NUMBERS, 2), 2), "real numbers"),
        ((NUMBERS, 0), "scale greater than 0, got 0"),
        ((NUMBERS, -1), "scale greater than 0, got -1"),
        ((NUMBERS, np.nan), "scale to be finite, got nan"),
        ((NUMBERS, [1, 2]), r"scale to be a number or of shape \(7,\), got \(2,\)"),
        ((NUMBERS, 1, np.inf), "shift to be finite, got inf"),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"Scaled expects.*{message}"):
            Scaled(*arguments)
    with pytest.raises(ValueError, match=r"x of shape \(batch, 6\), got \(90, 7\)"):
        fastbp.mlp([6, 3], rng=0).predict(Scaled(NUMBERS, 2))


# Class labels of any type


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", ">i2", "uint64", "float16", "float32", ">f8", "longdouble"])
@pytest.mark.parametrize("column", [False, True])
def test_labels_may_be_whole_numbers_of_any_type(kind, column):
    labels = (LABELS % 2).astype(kind)
    labels = labels[:, np.newaxis] if column else labels
    x, exact = np.float32(NUMBERS), LABELS % 2
    assert_same(trained("softmax_cross_entropy", x, labels), trained("softmax_cross_entropy", x, exact))
    logits = x[:, :3]
    assert_same(fastbp.softmax_cross_entropy(logits, labels), fastbp.softmax_cross_entropy(logits, exact))


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf, -np.inf, 3.0, 1e300, -1.0])
def test_a_label_that_is_no_class_is_refused_with_its_row(wrong):
    labels = LABELS.astype(np.float64)
    labels[11] = wrong
    trainer = fastbp.Trainer(fastbp.mlp([7, 3], rng=0))
    before = trainer.model._params.copy()
    for y in (labels, labels[:, np.newaxis]):
        for call in (trainer.step, lambda *given: trainer.fit(*given, progress=False), trainer.evaluate):
            with pytest.raises(ValueError, match=re.escape(f"got {wrong} in row 11")):
                call(np.float32(NUMBERS), y)
    assert_array_equal(trainer.model._params, before)
    assert trainer.steps == 0


# Memory

MAPPED = """
import sys, threading, time
import numpy as np, fastbp
from fastbp._base.memory import zeros

def anonymous():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) >> 10

rows, features = 1 << 16, 1 << 10
x = np.memmap(sys.argv[1], sys.argv[2], "r", shape=(rows, features))
y = np.zeros(rows, np.int8)
trainer = fastbp.Trainer(fastbp.mlp([features, 8, 2], rng=0), optimizer=fastbp.SGD(0.1))
trainer.fit(x[:2000], y[:2000], batch_size=1000, progress=False)
trainer.evaluate(x[:2000], y[:2000])
before, most, over = anonymous(), 0, False

def watch():
    global most
    while not over:
        most = max(most, anonymous())
        time.sleep(0.001)

watching = threading.Thread(target=watch)
watching.start()
trainer.fit(x, y, batch_size=1000, progress=False)
trainer.evaluate(x, y)
over = True
watching.join()
print(most - before)
"""


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_pass_over_a_memory_map_takes_no_memory_of_its_size(kind, tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate((1 << 26) * np.dtype(kind).itemsize)
    done = subprocess.run([sys.executable, "-c", MAPPED, path, kind], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40  # MB; the map has 256 as float32


def test_nothing_keeps_what_was_read():
    class Numbers(np.ndarray):
        pass

    x = np.asfortranarray(NUMBERS).view(Numbers)
    trainer = fastbp.Trainer(fastbp.mlp([7, 3], rng=0))
    trainer.fit(x, LABELS, progress=False)
    trainer.step(x, LABELS)
    trainer.model.predict(x)
    del x
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) in (Numbers, Input)]
