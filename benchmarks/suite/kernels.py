"""One kernel at a time, in seconds a call."""

import numpy as np

from ._clock import Timed, loop
from ._work import THREADS, labels, numbers, offered, read_sizes, trainer, use_threads

ACTIVATIONS = [
    "identity", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh",
]  # fmt: skip


class Dense(Timed):
    """A layer with relu."""

    params = (["128x128x128", "128x784x256", "1024x1024x1024"], THREADS)
    param_names = ("batch x in x out", "threads")

    def layer(self, shape, threads):
        use_threads(threads)
        batch, inputs, outputs = read_sizes(shape)
        return offered("Dense")(inputs, outputs, activation="relu", rng=0), numbers(batch, inputs)


class Forward(Dense):
    """a = relu(x W + b), and the slope."""

    def prepare(self, shape, threads):
        layer, x = self.layer(shape, threads)
        return lambda: layer.forward(x), 1

    def time_dense(self, shape, threads):
        loop(self.call, self.calls)


class Backward(Dense):
    """dz, dW, db and dx."""

    def prepare(self, shape, threads):
        layer, x = self.layer(shape, threads)
        da = np.ones_like(layer.forward(x))
        return lambda: layer.backward(da), 1

    def time_dense(self, shape, threads):
        loop(self.call, self.calls)


class Activation(Timed):
    """A layer of four inputs, so that the activation is most of it; identity is what the rest costs."""

    BATCH, INPUTS, OUTPUTS = 128, 4, 256
    params = (ACTIVATIONS, THREADS)
    param_names = ("activation", "threads")

    def prepare(self, activation, threads):
        use_threads(threads)
        layer = offered("Dense")(self.INPUTS, self.OUTPUTS, activation=activation, rng=0)
        x = numbers(self.BATCH, self.INPUTS)
        return lambda: layer.forward(x), 1

    def time_with_slope(self, activation, threads):
        loop(self.call, self.calls)


class CrossEntropy(Timed):
    """Value and gradient."""

    params = (["4096x10", "1024x1000", "1024x4096", "128x50257"], THREADS)
    param_names = ("rows x classes", "threads")

    def prepare(self, shape, threads):
        use_threads(threads)
        rows, classes = read_sizes(shape)
        logits, target = numbers(rows, classes), labels(rows, classes)
        gradient, loss = np.empty_like(logits), offered("softmax_cross_entropy")
        return lambda: loss(logits, target, out=gradient), 1

    def time_value_and_gradient(self, shape, threads):
        loop(self.call, self.calls)


class Update(Timed):
    """A step on one row: of 784-512-512-10 the update is most of it."""

    params = (["SGD", "momentum", "Nesterov", "RMSprop", "Adam", "AdamW"], THREADS)
    param_names = ("optimizer", "threads")

    OPTIMIZERS = {  # noqa: RUF012  # a constant
        "SGD": lambda: offered("SGD")(0.01),
        "momentum": lambda: offered("SGD")(0.01, momentum=0.9),
        "Nesterov": lambda: offered("SGD")(0.01, momentum=0.9, nesterov=True),
        "RMSprop": lambda: offered("RMSprop")(1e-3),
        "Adam": lambda: offered("Adam")(1e-3),
        "AdamW": lambda: offered("AdamW")(1e-3),
    }

    def prepare(self, optimizer, threads):
        use_threads(threads)
        it = trainer((784, 512, 512, 10), optimizer=self.OPTIMIZERS[optimizer]())
        x, y = numbers(1, 784), labels(1, 10)
        return lambda: it.step(x, y), 1

    def time_step_on_one_row(self, optimizer, threads):
        loop(self.call, self.calls)
