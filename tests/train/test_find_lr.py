"""The learning rate range test."""

import math
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import schedules


@pytest.fixture(scope="module")
def data():
    x, y = fastbp.load_digits()
    return (x / 16).astype(np.float32), y


def test_it_is_steps_at_those_rates(data):
    x, y = data
    model = fastbp.mlp([64, 16, 10], rng=0)
    found = fastbp.find_lr(model, x, y, lowest=1e-4, highest=1e-1, steps=7, batch_size=500, rng=3)
    np.testing.assert_allclose(found.rates, 1e-4 * 1000 ** (np.arange(7) / 6), rtol=1e-12)
    rng, trainer = np.random.default_rng(3), fastbp.Trainer(model)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(2)])
    for i, rate in enumerate(found.rates.tolist()):
        trainer.optimizer.lr = rate
        rows = order[i * 500 : (i + 1) * 500]
        assert trainer.step(x[rows], y[rows]) == found.losses[i]


@pytest.mark.parametrize("which", ["plain", "scheduled", "function loss", "after a run"])
def test_everything_is_as_it_was(data, which):
    x, y = data

    def loss(z, t):
        return float((z**2).mean()), 2 * z / z.size

    layers = fastbp.Dense(64, 16, "relu", rng=0), fastbp.Dropout(schedules.linear(0.5)), fastbp.Dense(16, 10, rng=1)
    layers = layers if which == "scheduled" else (layers[0], layers[2])
    model = fastbp.Sequential(*layers)
    lr = schedules.cosine(0.01) if which == "scheduled" else 0.01
    trainer = fastbp.Trainer(model, loss if which == "function loss" else "softmax_cross_entropy", fastbp.Adam(lr))
    if which == "after a run":
        trainer.fit(x, y, epochs=2, progress=False)
    names = "_hyper", "_state", "_steps", "_last_run", "history", "_settings", "_total_steps"
    before = {name: pickle.dumps(getattr(trainer, name)) for name in names}
    params, grads = model._params.copy(), model._grads.copy()
    found = fastbp.find_lr(trainer, x, y, steps=40, rng=0)
    fastbp.find_lr(model, x, y, steps=3)
    assert {name: pickle.dumps(getattr(trainer, name)) for name in names} == before
    np.testing.assert_array_equal(model._params, params)
    np.testing.assert_array_equal(model._grads, grads)
    assert trainer.optimizer == fastbp.Adam(lr)
    assert len(found.rates) == len(found.losses) == len(found.smoothed)


def test_a_rate_in_the_steep_part_is_suggested_and_a_diverging_test_ends(data):
    x, y = data
    found = fastbp.find_lr(
        fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0), optimizer=fastbp.SGD()), x, y, highest=1e4, steps=200, rng=0
    )
    assert 1e-3 < found.suggestion < 10
    assert len(found.rates) < 200
    again = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0), optimizer=fastbp.SGD(found.suggestion))
    assert again.fit(x, y, epochs=5, rng=0, progress=False)["accuracy"][-1] > 0.9


def test_losses_that_never_fall_suggest_nothing():
    def one(z, target):
        return 1.0, np.zeros_like(z)

    found = fastbp.find_lr(fastbp.Trainer(fastbp.mlp([2, 1], rng=0), one), np.ones((8, 2)), np.ones((8, 1)), steps=5)
    assert math.isnan(found.suggestion)


def test_what_cannot_be_is_refused(data):
    x, y = data
    model = fastbp.mlp([64, 10], rng=0)
    for options, error, message in (
        ({"lowest": 0.0}, ValueError, "lowest greater than 0 and less than highest, got 0.0 and 10.0"),
        ({"lowest": 1.0, "highest": 0.1}, ValueError, "lowest greater than 0 and less than highest"),
        ({"steps": 1}, ValueError, "find_lr expects steps of at least 2, got 1"),
        ({"rng": "a"}, TypeError, "find_lr expects rng"),
    ):
        with pytest.raises(error, match=message):
            fastbp.find_lr(model, x, y, **options)
    with pytest.raises(TypeError, match="find_lr expects trainer to be a Trainer or a Sequential, got str"):
        fastbp.find_lr("model", x, y)
    with pytest.raises(ValueError, match="find_lr expects a loss that is finite in the first step"):
        fastbp.find_lr(model, np.full((4, 64), np.nan), [0, 1, 2, 3])


def test_the_picture(data, tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found = fastbp.find_lr(fastbp.mlp([64, 32, 10], rng=0), *data, rng=0)
    figure, ax = pyplot.subplots()
    assert found.plot(ax) is ax
    assert ax.get_xscale() == "log"
    lines = [line.get_ydata() for line in ax.get_lines()]
    np.testing.assert_array_equal(lines[0], found.losses)
    np.testing.assert_array_equal(lines[1], found.smoothed)
    own = found.plot()
    figure.savefig(tmp_path / "lr.png")
    pyplot.close(figure)
    pyplot.close(own.figure)
