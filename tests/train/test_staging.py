"""Rows whose numbers stand far apart are gathered for many steps at a time: no bit and no error tells."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp._base import check, inputs
from fastbp.train import staging

rng = np.random.default_rng(0)
ROWS, FEATURES, BATCH = 211, 40, 16
X, Y = rng.standard_normal((ROWS, FEATURES)), rng.integers(0, 3, ROWS)
TARGETS, WEIGHT = rng.standard_normal((ROWS, 3)), rng.uniform(0, 2, ROWS)
FAR = np.asfortranarray(X)


@pytest.fixture(autouse=True)
def blocks(monkeypatch):
    """Let a block hold the rows of some batches; return how many rows each has that is made."""
    made, taken = [], staging.taken

    def noted(samples, rows):
        made.append(len(rows))
        return taken(samples, rows)

    monkeypatch.setattr(check, "FEW_NUMBERS", 0)
    monkeypatch.setattr(staging, "taken", noted)
    for module in (staging, inputs):
        monkeypatch.setattr(module, "STAGED_BYTES", 4 * BATCH * (FEATURES * 4 + 20))
    return made


def trainer(loss="softmax_cross_entropy"):
    return fastbp.Trainer(fastbp.mlp([FEATURES, 8, 3], rng=0), loss, fastbp.Adam(1e-2))


def squares(outputs, targets):
    d = outputs - targets
    return float((d**2).mean()), 2 * d / d.size


class Every(fastbp.Callback):
    """Notes the steps, and raises an error at one of them."""

    every = 3

    def __init__(self, at=None):
        self.at, self.seen = at, []

    def on_steps_end(self, trainer):
        self.seen.append(trainer.steps)
        if trainer.steps == self.at:
            raise ArithmeticError


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f8", "mapped"])
def test_no_bit_tells_that_rows_were_gathered(dtype, blocks, tmp_path):
    if dtype == "mapped":
        np.asfortranarray(X, np.float32).ravel("K").tofile(tmp_path / "map")
        far = np.memmap(tmp_path / "map", np.float32, "r", shape=(ROWS, FEATURES), order="F")
    else:
        far = np.asfortranarray(X, dtype)
    near = np.ascontiguousarray(far, np.float32)
    weighted = {"sample_weight": WEIGHT}
    for loss, y, more in (
        ("softmax_cross_entropy", Y, {}),
        (fastbp.CrossEntropyLoss(weight=[1, 2, 3]), Y, weighted),
        ("mse", TARGETS.astype(np.float32), weighted),
        ("mse", np.asfortranarray(TARGETS), weighted),
        (squares, TARGETS.astype(np.float32), {}),
        ("softmax_cross_entropy", np.asfortranarray(np.eye(3)[Y]), {}),
    ):
        found = []
        for x in (near, far):
            one, callback = trainer(loss), Every()
            history = one.fit(
                x, y, epochs=2, batch_size=BATCH, rng=1, callbacks=[callback], progress=False, **more
            )  # fmt: skip
            found.append([dict(history), callback.seen, one.model._params.tobytes()])
        assert found[0] == found[1]
    assert {64, ROWS - 192} <= set(blocks)


def test_what_a_block_holds_is_copied_once_in_a_fit(monkeypatch, blocks):
    monkeypatch.setattr(inputs, "STAGED_BYTES", FAR.nbytes)
    trainer().fit(FAR, Y, epochs=3, batch_size=BATCH, progress=False)
    assert not blocks


def test_far_targets_of_a_sparse_matrix_are_gathered_with_its_rows(monkeypatch, blocks):
    x = pytest.importorskip("scipy.sparse").csr_array(X * (rng.random(X.shape) < 0.1))
    for module in (staging, inputs):
        monkeypatch.setattr(module, "STAGED_BYTES", 1000)
    y, models = np.asfortranarray(TARGETS), [trainer("mse") for _ in range(2)]
    for one, targets in zip(models, (y, np.ascontiguousarray(y, np.float32)), strict=True):
        one.fit(x, targets, batch_size=BATCH, rng=1, progress=False)
    assert blocks
    assert_array_equal(*(one.model._params for one in models))


@pytest.mark.parametrize("at", [1, 6, 21])
def test_a_run_goes_on_from_any_step(at, tmp_path):
    whole, cut = trainer(), trainer()
    whole.fit(X.astype(np.float32), Y, epochs=3, batch_size=BATCH, rng=1, callbacks=[Every()], progress=False)
    stopping = Every(at)
    stopping.every = at
    with pytest.raises(ArithmeticError):
        cut.fit(FAR, Y, epochs=3, batch_size=BATCH, rng=1, callbacks=[stopping], progress=False)
    cut.save_checkpoint(tmp_path / "run")
    for one in (cut, fastbp.Trainer.load_checkpoint(tmp_path / "run")):
        one.fit(FAR, Y, epochs=3, batch_size=BATCH, resume=True, callbacks=[Every()], progress=False)
        assert_array_equal(one.model._params, whole.model._params)


def test_an_interrupt_while_rows_are_gathered_costs_no_step(monkeypatch):
    whole, cut, taken = trainer(), trainer(), staging.taken
    whole.fit(FAR, Y, epochs=2, batch_size=BATCH, rng=1, progress=False)
    calls = []

    def interrupted(samples, rows):
        calls.append(len(rows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return taken(samples, rows)

    monkeypatch.setattr(staging, "taken", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(FAR, Y, epochs=2, batch_size=BATCH, rng=1, progress=False)
    assert cut.steps == 8
    cut.fit(FAR, Y, epochs=2, batch_size=BATCH, resume=True, progress=False)
    assert_array_equal(cut.model._params, whole.model._params)


def test_errors_name_the_row_as_it_was_given():
    class Change(fastbp.Callback):
        def on_epoch_end(self, trainer, epoch, figures):
            y[150] = 7

    y, x = Y.copy(), FAR.copy("F")
    with pytest.raises(ValueError, match="targets as they were: row 150 is 7 now"):
        trainer().fit(x, y, epochs=2, batch_size=BATCH, rng=1, callbacks=[Change()], progress=False)
    x[77, 3] = np.nan
    with pytest.raises(fastbp.NotFiniteError) as caught:
        trainer().fit(x, Y, batch_size=BATCH, rng=1, progress=False)
    assert caught.value.rows == [77]


def test_memory_is_that_of_a_block(monkeypatch):
    x, y = np.zeros((20000, FEATURES), np.float32, order="F"), np.zeros(20000, np.int64)
    one = trainer()
    for module in (staging, inputs):
        monkeypatch.setattr(module, "STAGED_BYTES", x.nbytes // 8)
    one.fit(x[:1000], y[:1000], progress=False)
    tracemalloc.start()
    try:
        one.fit(x, y, progress=False)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 8 + 40 * len(x)  # a block, and orders
    finally:
        tracemalloc.stop()
