"""Recipes: what RealMLP's networks, first values and steps are, and which epoch's parameters a fit ends with."""

from dataclasses import replace

import numpy as np
import pytest

import fastbp
from fastbp.data.split import Answered
from fastbp.tables.limits import Limits
from fastbp.tables.recipes import realmlp
from fastbp.tables.recipes.calibration import temperature
from fastbp.tables.recipes.fitting import Watched, fit
from fastbp.tables.recipes.names import DEFAULT, PRESETS
from fastbp.tables.recipes.recipe import Layout

ROWS, NUMBERS, CLASSES = 300, 5, 3


class Twin:
    """RealMLP's TD-S as the paper has it: a layer is ``x W / sqrt(fan_in) + b``, and Adam trains W."""

    def __init__(self, network, classes, lr, eps):
        dense = [layer for layer in network if isinstance(layer, fastbp.Dense)]
        scale = next(layer for layer in network if type(layer).__name__ == "Scale")
        self.roots = [np.sqrt(layer.in_features) for layer in dense]
        self.params = [scale.weight.copy()]
        for layer, root in zip(dense, self.roots, strict=True):
            self.params += [layer.weight.T * root, layer.bias.copy()]
        # eps of each: that of fastbp stands beside gradients of W / sqrt(fan_in)
        self.eps = [eps, *(e for root in self.roots for e in (eps / root, eps))]
        self.factors = [6.0] + [1.0, 0.1] * len(dense)
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.params]
        self.classes, self.lr, self.steps = classes, lr, 0

    def gradients(self, x, y):
        scale, weights, biases = self.params[0], self.params[1::2], self.params[2::2]
        inputs, slopes, a = [], [], x * scale
        for i, (w, b, root) in enumerate(zip(weights, biases, self.roots, strict=True)):
            inputs.append(a)
            a = a @ w / root + b
            if i < len(weights) - 1:
                a, slope = (selu if self.classes else mish)(a)
                slopes.append(slope)
        if self.classes:
            p = np.exp(a - a.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            d = (p - 0.9 * np.eye(self.classes)[y] - 0.1 / self.classes) / len(x)
        else:
            d = 2 * (a - y) / a.size
        found = []
        for i in reversed(range(len(weights))):
            found += [d.sum(axis=0), inputs[i].T @ d / self.roots[i]]
            d = d @ weights[i].T / self.roots[i]
            if i:
                d = d * slopes[i - 1]
        return [(d * x).sum(axis=0), *reversed(found)]

    def step(self, x, y, progress):
        self.steps += 1
        lr = self.lr * (0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * progress)))
        parts = zip(self.params, self.moments, self.gradients(x, y), self.factors, self.eps, strict=True)
        for p, (m, v), g, factor, eps in parts:
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.95) * (g * g - v)
            bias = 1 - 0.9**self.steps, 1 - 0.95**self.steps
            p -= factor * lr * (m / bias[0]) / (np.sqrt(v / bias[1]) + eps)


def selu(z):
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    below = alpha * np.exp(np.minimum(z, 0))
    return scale * np.where(z > 0, z, below - alpha), scale * np.where(z > 0, 1.0, below)


def mish(z):
    t = np.tanh(np.logaddexp(0, z))
    return z * t, t + z * (1 - t * t) / (1 + np.exp(-z))


def data(task, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, NUMBERS))
    if task == "classification":
        return x, np.digitize(x[:, 0] + x[:, 1] ** 2, [0.3, 1.2])
    return x, (x[:, :1] * x[:, 1:2] + x[:, 2:3]) / 2


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_steps_of_td_s_are_those_of_the_paper(task):
    recipe = replace(realmlp.TD_S[task], hidden=(24, 16, 8))
    classes = CLASSES if task == "classification" else 0
    x, y = data(task)
    network = recipe.make_network(Layout(NUMBERS, NUMBERS), classes or 1, "float64", 0)
    optimizer = recipe.make_optimizer(network)
    steps = 50
    trainer = fastbp.Trainer(network, recipe.make_loss(classes), optimizer, total_steps=steps)
    twin = Twin(network, classes, recipe.lr, optimizer.eps)
    rng = np.random.default_rng(1)
    for step in range(steps):
        rows = rng.permutation(ROWS)[:64]
        trainer.step(x[rows], y[rows])
        twin.step(x[rows], y[rows], step / steps)
    dense = [layer for layer in network if isinstance(layer, fastbp.Dense)]
    np.testing.assert_allclose(network[0].weight, twin.params[0], rtol=1e-7)
    for layer, w, b, root in zip(dense, twin.params[1::2], twin.params[2::2], twin.roots, strict=True):
        np.testing.assert_allclose(layer.weight, w.T / root, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(layer.bias, b, rtol=1e-7, atol=1e-9)


def test_weights_of_td_s_have_variance_1_before_they_are_divided_and_the_last_layer_is_0():
    network = realmlp.TD_S["regression"].make_network(Layout(40, 40), 2, "float32", 0)
    *hidden, last = [layer for layer in network if isinstance(layer, fastbp.Dense)]
    assert not last.weight.any()
    assert not last.bias.any()
    for layer in hidden:
        drawn = layer.weight * np.sqrt(layer.in_features)
        assert abs(drawn.std() - 1) < 5 / np.sqrt(2 * drawn.size)
        assert abs(layer.bias.std() - 1) < 5 / np.sqrt(2 * layer.bias.size)


def test_outputs_of_td_begin_with_standard_deviation_1_and_cross_0_between_rows():
    recipe = replace(realmlp.TD["classification"], dropout=0.0, hidden=(32, 32))
    x = np.random.default_rng(0).normal(3, 5, (400, 6)).astype(np.float32)
    x[:, 5] = np.arange(400) % 12
    layout = Layout(6, 5, (12,))
    network = recipe.make_network(layout, 3, "float32", 0)
    recipe.begin(network, x, 0)
    for i, layer in enumerate(network):
        if isinstance(layer, fastbp.Dense):
            z = network[: i + 1].predict(x)
            np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-3)
            assert (z.min(axis=0) < 0).all()
            assert (z.max(axis=0) > 0).all()


def test_constant_outputs_have_no_spread_to_divide_by():
    recipe = realmlp.TD["regression"]
    network = recipe.make_network(Layout(2, 2), 1, "float32", 0)
    recipe.begin(network, np.zeros((5, 2), np.float32), 0)
    assert np.isfinite(network._params).all()


def test_decay_of_td_has_the_factor_of_the_rate_twice():
    recipe = realmlp.TD["regression"]
    network = recipe.make_network(Layout(3, 3), 1, "float64", 0)
    before = {name: value.copy() for name, value in network.parameters().items()}
    # Without gradients there is nothing but decay; the first step of the schedule has the rate 0.
    trainer = fastbp.Trainer(network, "mse", recipe.make_optimizer(network), total_steps=32)
    rates = fastbp.schedules.coslog4(recipe.lr).values(32)
    trainer.forward(np.zeros((2, 3)))
    trainer.backward(np.zeros((2, 1)))
    trainer.update()
    trainer.update()
    lost = rates[1] * recipe.weight_decay
    expected = {"Scale": 36, "Periodic": 0.01, "ParametricActivation": 0.01, "Dense": 1}
    for i, layer in enumerate(network):
        kind = type(layer).__name__
        for name, value in network.parameters().items():
            if name.startswith(f"{i}."):
                times = 0 if kind == "Dense" and name.endswith("bias") else expected[kind]
                np.testing.assert_allclose(value, before[name] * (1 - times * lost), rtol=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_each_preset_trains_and_takes_other_numbers(preset, task):
    recipe = replace(PRESETS[preset][task], epochs=2, hidden=(8,), batch_size=32)
    recipe.check("test")
    x, y = data(task)
    classes = CLASSES if task == "classification" else 0
    network = recipe.make_network(Layout(NUMBERS, NUMBERS), classes or 1, "float32", 0)
    recipe.begin(network, x.astype(np.float32), 0)
    history = fit(recipe.make_trainer(network, recipe.make_loss(classes)), recipe, Answered(x, y), None, 0)
    assert history.epochs == 2
    assert np.isfinite(history["loss"]).all()


def test_default_is_a_preset():
    assert DEFAULT in PRESETS


class Figures(fastbp.Callback):
    """Adds a figure of its own to each epoch."""

    adds = ("own",)

    def __init__(self, values):
        self.values, self.kept = values, []

    def on_epoch_end(self, trainer, epoch, figures):
        figures["own"] = self.values[epoch - 1]
        self.kept.append(trainer.model._params.copy())


@pytest.mark.parametrize(("values", "best"), [([0.5, 0.9, 0.7, 0.9, 0.8], 4), ([0.9, 0.5, 0.5], 1), ([0.5] * 3, 3)])
def test_last_of_the_best_epochs_comes_back(values, best):
    recipe = replace(realmlp.TD_S["classification"], hidden=(4,), epochs=len(values))
    x, y = data("classification")
    network = recipe.make_network(Layout(NUMBERS, NUMBERS), CLASSES, "float32", 0)
    trainer = recipe.make_trainer(network, recipe.make_loss(CLASSES))
    figures, callback = Figures(values), Watched("own", "max").callback(recipe)
    fit(trainer, recipe, Answered(x, y), None, 0, callbacks=[figures, callback])
    assert callback.best_epoch == best
    np.testing.assert_array_equal(network._params, figures.kept[best - 1])


def test_patience_stops_after_epochs_without_a_better_one():
    recipe = replace(realmlp.TD_S["classification"], hidden=(4,), epochs=9, patience=2)
    x, y = data("classification")
    network = recipe.make_network(Layout(NUMBERS, NUMBERS), CLASSES, "float32", 0)
    trainer = recipe.make_trainer(network, recipe.make_loss(CLASSES))
    figures = Figures([0.5, 0.5, 0.4, 0.3, *[0.9] * 5])
    callback = Watched("own", "max").callback(recipe)
    history = fit(trainer, recipe, Answered(x, y), None, 0, callbacks=[figures, callback])
    assert history.epochs == 4


def test_clamped_error_is_of_outputs_in_the_range():
    limits = Limits.of([[0.0, 1.0], [2.0, 3.0]])
    y, z = np.array([[1.0, 2.0], [0.5, 1.0]]), np.array([[5.0, 2.0], [-1.0, 0.0]])
    (metric,) = Watched.of(0, limits).metrics
    assert metric(y, z) == pytest.approx((1.0 / 2 + 0.25 / 2) / 2)
    assert metric(y, z, np.array([1.0, 0.0])) == pytest.approx(0.5)


@pytest.mark.parametrize("times", [0.2, 1.0, 7.0])
def test_temperature_undoes_what_logits_were_multiplied_by(times):
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (20_000, 3))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    y = (rng.random((len(z), 1)) > p.cumsum(axis=1)).sum(axis=1)
    assert temperature(z * times, y) == pytest.approx(times, rel=0.05)
    weight = np.zeros(len(z))
    weight[:15_000] = 1
    assert temperature(z * times, y, weight) == pytest.approx(temperature(z[:15_000] * times, y[:15_000]), rel=1e-3)


def test_temperature_of_rows_that_are_all_right_is_above_0():
    z = np.eye(3)[[0, 1, 2, 0]]
    assert temperature(z, np.array([0, 1, 2, 0])) > 0.1
