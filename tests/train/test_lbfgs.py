"""L-BFGS on all rows: it ends where SciPy's does, and leaves the best parameters in any case."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp._base.threads import available_threads


def problem(seed=0, rows=200):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 5))
    return x, (x[:, 0] * x[:, 1] > 0).astype(int) + (x[:, 2] > 1)


def test_a_convex_loss_ends_in_its_minimum_as_by_scipy():
    scipy = pytest.importorskip("scipy.optimize")
    x, y = problem()
    model, other = (fastbp.mlp([5, 3], dtype="float64", rng=0) for _ in range(2))
    trainer, calls = fastbp.Trainer(other, optimizer="sgd"), []

    def loss_of(at):
        other._params[...] = at
        calls.append(at)
        loss, dout = trainer.loss.evaluate(trainer.forward(x), y)
        trainer.backward(dout)
        return loss + 0.005 * (at**2).sum(), other._grads + 0.01 * at

    found = scipy.minimize(
        loss_of, other._params.copy(), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 0}
    )
    calls_of_scipy = len(calls)
    history = fastbp.fit_lbfgs(model, x, y, weight_decay=0.01, tol=1e-9)
    assert_allclose(history["loss"][-1], found.fun, rtol=1e-12)
    assert_allclose(model._params, found.x, atol=1e-6)
    assert history.epochs <= 2 * calls_of_scipy
    assert (np.diff(history["loss"]) <= 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_takes_fewer_passes_than_adam(dtype):
    x, y = problem()
    model, other = (fastbp.mlp([5, 16, 3], "tanh", dtype=dtype, rng=0) for _ in range(2))
    history = fastbp.fit_lbfgs(model, x, y, max_steps=100)
    adam = fastbp.Trainer(other, optimizer=fastbp.Adam(1e-2))
    losses = adam.fit(x, y, epochs=400, batch_size=200, shuffle=False, progress=False)["loss"]
    assert history["loss"][-1] < losses[-1]


def test_losses_and_weights_are_a_trainer_s():
    x, _ = problem()
    rng = np.random.default_rng(1)
    model = fastbp.mlp([5, 8, 2], "tanh", dtype="float64", rng=0)
    targets, weight = np.stack([x[:, 0], x[:, 1] ** 2], axis=1), rng.random(200)
    history = fastbp.fit_lbfgs(model, x, targets, "mse", sample_weight=weight, max_steps=20)
    assert_allclose(history["loss"][-1], fastbp.Trainer(model, "mse").evaluate(x, targets, weight)["loss"], 1e-12)


def test_what_is_frozen_stays_and_does_not_count():
    x, y = problem()
    model = fastbp.mlp([5, 8, 3], "tanh", dtype="float64", rng=0)
    model[0].trainable = False
    before = model[0].weight.copy()
    history = fastbp.fit_lbfgs(model, x, y, weight_decay=0.1)
    assert_array_equal(model[0].weight, before)
    decay = 0.05 * sum((p**2).sum() for name, p in model.parameters().items() if name.startswith("1."))
    assert_allclose(history["loss"][-1], fastbp.Trainer(model).evaluate(x, y)["loss"] + decay, rtol=1e-12)
    assert history["loss"][-1] < history["loss"][0]


def test_bits_do_not_depend_on_threads():
    x, y = problem(rows=3000)
    before, results = fastbp.get_num_threads(), []
    try:
        for threads in (1, min(3, available_threads())):
            fastbp.set_num_threads(threads)
            model = fastbp.mlp([5, 64, 3], rng=0)
            fastbp.fit_lbfgs(model, x, y, max_steps=10)
            results.append(model._params)
    finally:
        fastbp.set_num_threads(before)
    assert_array_equal(*results)


def test_an_exception_leaves_the_best_parameters():
    x, y = problem()
    losses = []

    def loss(outputs, targets):
        value = float(((outputs[:, 0] - targets) ** 2).mean())
        if len(losses) == 9:
            raise KeyboardInterrupt
        losses.append(value)
        return value, 2 * (outputs - targets[:, None]) / len(targets)

    model = fastbp.mlp([5, 8, 1], "tanh", dtype="float64", rng=0)
    with pytest.raises(KeyboardInterrupt):
        fastbp.fit_lbfgs(model, x, y.astype(float), loss)
    assert_allclose(((model.predict(x)[:, 0] - y) ** 2).mean(), min(losses), rtol=1e-12)


def test_running_statistics_are_of_the_steps_alone():
    x, y = problem()
    layers = fastbp.Dense(5, 8, "tanh", rng=0), fastbp.BatchNorm(8), fastbp.Dense(8, 3, rng=1)
    model, passes = fastbp.Sequential(*layers), []

    def loss(outputs, targets):
        passes.append(fastbp.softmax_cross_entropy(outputs, targets))
        return passes[-1]

    history = fastbp.fit_lbfgs(model, x, y, loss, max_steps=30)
    assert model.state_dict()["1.num_batches_tracked"] == history.epochs < len(passes)  # not of steps that went too far
    before = {name: value.copy() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="finite loss to begin with, got nan"):
        fastbp.fit_lbfgs(model, np.full_like(x, np.nan), y)
    for name, value in model.state_dict().items():
        assert_array_equal(value, before[name])


def test_what_it_cannot_do_is_refused():
    x, y = problem()
    with pytest.raises(ValueError, match="without chance, got a model with Dropout"):
        fastbp.fit_lbfgs(fastbp.Sequential(fastbp.Dense(5, 3), fastbp.Dropout(0.5), fastbp.Dense(3, 3)), x, y)
    model = fastbp.mlp([5, 3], rng=0)
    with pytest.raises(ValueError, match="finite loss to begin with, got nan"):
        fastbp.fit_lbfgs(model, np.full_like(x, np.nan), y)
    with pytest.raises(ValueError, match="max_steps"):
        fastbp.fit_lbfgs(model, x, y, max_steps=0)
    with pytest.raises(TypeError, match="Sequential"):
        fastbp.fit_lbfgs(None, x, y)


def test_running_statistics_lag_unless_they_are_those_of_the_last_step_alone():
    x, y = problem()
    apart = {}
    for momentum in (0.1, 1.0):
        norm = fastbp.BatchNorm(8, momentum=momentum, dtype="float64")
        hidden = fastbp.Dense(5, 8, dtype="float64", rng=0), norm, fastbp.Activation("tanh")
        model = fastbp.Sequential(*hidden, fastbp.Dense(8, 3, dtype="float64", rng=1))
        history = fastbp.fit_lbfgs(model, x, y, max_steps=10)
        apart[momentum] = abs(fastbp.Trainer(model, optimizer="sgd").evaluate(x, y)["loss"] / history["loss"][-1] - 1)
    assert apart[1.0] < 0.01 < 0.1 < apart[0.1]  # what is left: running variances are those of rows - 1
