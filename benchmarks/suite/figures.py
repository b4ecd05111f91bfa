"""Figures that survive a noisy machine: fastbp and what it is compared with take turns in one process."""

from itertools import pairwise
from statistics import median

import numpy as np
from asv_runner.benchmarks.mark import SkipNotImplemented

from . import _formulas
from ._clock import Tracked, in_turns, ratio
from ._peak import fma_peak
from ._work import THREADS, labels, numbers, offered, operations, read_sizes, trainer, use_threads

RATE = 0.01


def dense(shape, activation="relu"):
    """Return a layer, its input, and the floating-point operations of its product."""
    batch, inputs, outputs = read_sizes(shape)
    layer, x = offered("Dense")(inputs, outputs, activation=activation, rng=0), numbers(batch, inputs)
    return layer, x, 2 * batch * inputs * outputs


class OfThePeak(Tracked):
    """Floating-point operations of the products, as a part of what the CPU can do at most."""

    params = (["128x784x256", "1024x1024x1024", "784-128-10, 128", "784-512-512-10, 256"], THREADS)
    param_names = ("layer or step", "threads")

    def track_percent_of_peak(self, case, threads):
        use_threads(threads)
        if "x" in case:
            layer, x, work = dense(case)

            def call():
                layer.forward(x)
        else:
            network, batch = case.split(", ")
            sizes, rows = read_sizes(network), int(batch)
            it, x, y = trainer(sizes), numbers(rows, sizes[0]), labels(rows, sizes[-1])
            work = operations(sizes, rows)

            def call():
                it.step(x, y)

        peak, most = fma_peak(threads)
        return 100 * median(work / a * b / most for a, b in zip(*in_turns(call, peak), strict=True))

    track_percent_of_peak.unit = "% of the FMA peak"


class OverNumPy(Tracked):
    """fastbp's time as a multiple of NumPy's, each on one thread: kernel by kernel, by name."""

    unit = "times NumPy's time"

    def setup(self, *params):
        use_threads(1)

    def track_dense_forward(self):
        layer, x, _ = dense("128x784x256")
        weight, bias = np.array(layer.weight), np.array(layer.bias)
        return ratio(lambda: layer.forward(x), lambda: _formulas.dense_relu(x, weight, bias))

    def track_dense_backward(self):
        layer, x, _ = dense("128x784x256")
        a, weight = np.array(layer.forward(x)), np.array(layer.weight)
        da = numbers(*a.shape)
        return ratio(lambda: layer.backward(da), lambda: _formulas.dense_relu_backward(x, weight, a, da))

    def track_activation(self, activation):
        """Of a layer with four inputs, so that the activation is most of it."""
        layer, x, _ = dense("128x4x256", activation)
        weight, bias, g = np.array(layer.weight), np.array(layer.bias), _formulas.VALUES[activation]
        return ratio(lambda: layer.forward(x), lambda: g(x @ weight.T + bias))

    track_activation.params = (list(_formulas.VALUES),)
    track_activation.param_names = ("activation",)

    def track_cross_entropy(self, shape):
        rows, classes = read_sizes(shape)
        logits, target = numbers(rows, classes), labels(rows, classes)
        out, loss = np.empty_like(logits), offered("softmax_cross_entropy")
        return ratio(lambda: loss(logits, target, out=out), lambda: _formulas.softmax_cross_entropy(logits, target))

    track_cross_entropy.params = (["4096x10", "1024x1000"],)
    track_cross_entropy.param_names = ("rows x classes",)

    def track_adam(self):
        """A step on one row, of which the update is most; NumPy's update alone."""
        it, x, y = trainer((784, 512, 512, 10), optimizer=offered("Adam")(1e-3)), numbers(1, 784), labels(1, 10)
        size = sum(a * b + b for a, b in pairwise((784, 512, 512, 10)))
        parameters, gradient = numbers(size), numbers(size) / 100
        moments = np.zeros(size, np.float32), np.zeros(size, np.float32)
        return ratio(lambda: it.step(x, y), lambda: _formulas.adam(parameters, gradient, *moments, 10))

    def track_step(self):
        it, x, y = trainer((784, 128, 10)), numbers(128, 784), labels(128, 10)
        rng = np.random.default_rng(2)
        parameters = [
            [rng.standard_normal((b, a), np.float32) * np.float32(0.05), np.zeros(b, np.float32)]
            for a, b in ((784, 128), (128, 10))
        ]
        return ratio(lambda: it.step(x, y), lambda: _formulas.step(parameters, "relu", x, y, RATE))


class OverPyTorch(Tracked):
    """fastbp's time as a multiple of eager PyTorch's, each on as many threads."""

    unit = "times PyTorch's time"
    params = (["10-46-46-10, 128", "784-128-10, 128"], THREADS)
    param_names = ("network, batch", "threads")

    def track_step(self, case, threads):
        try:
            import torch
        except ImportError:
            raise SkipNotImplemented("torch is not installed") from None
        use_threads(threads)
        torch.set_num_threads(threads)
        network, batch = case.split(", ")
        sizes, rows = read_sizes(network), int(batch)
        it, x, y = trainer(sizes), numbers(rows, sizes[0]), labels(rows, sizes[-1])

        layers = [torch.nn.Linear(sizes[0], sizes[1])]
        for a, b in pairwise(sizes[1:]):
            layers += [torch.nn.ReLU(), torch.nn.Linear(a, b)]
        model, xt, yt = torch.nn.Sequential(*layers), torch.from_numpy(x), torch.from_numpy(y)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, fused=True)

        def rival():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(xt), yt).backward()
            optimizer.step()

        return ratio(lambda: it.step(x, y), rival)


class Exactness(Tracked):
    """How far gradients in float32 are from those of the same network in NumPy's float64."""

    unit = "of the largest"
    params = (list(_formulas.ACTIVATIONS),)
    param_names = ("activation",)
    SIZES, BATCH = (784, 64, 32, 10), 96

    def track_gradient_error(self, activation):
        x, y = numbers(self.BATCH, self.SIZES[0]), labels(self.BATCH, self.SIZES[-1])
        names = [activation] * (len(self.SIZES) - 2) + ["identity"]
        layers = [
            offered("Dense")(a, b, activation=name, rng=i)
            for i, ((a, b), name) in enumerate(zip(pairwise(self.SIZES), names, strict=True))
        ]
        a = x
        for layer in layers:
            a = layer.forward(a)
        _, da = offered("softmax_cross_entropy")(a, y)
        for layer in reversed(layers):
            da = layer.backward(da)
        exact = [(layer.weight.astype(float), layer.bias.astype(float)) for layer in layers]
        _, truth = _formulas.gradients(exact, activation, x.astype(float), y)
        return max(
            abs(got - right).max() / abs(right).max()
            for layer, pair in zip(layers, truth, strict=True)
            for got, right in zip((layer.weight_grad, layer.bias_grad), pair, strict=True)
        )
