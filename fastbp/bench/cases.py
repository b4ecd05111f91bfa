"""What is measured, as data."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.data.datasets import load_digits

LR, ADAM_LR = 0.01, 1e-3
FLOAT, LABEL = 4, 8  # bytes
# Nominal, for the picture alone: subtract the maximum, exp, sum, divide.
CROSS_ENTROPY_FLOPS = 4

KINDS = {
    "step": "A training step",
    "layers": "A training step with normalization and dropout",
    "loop": "A step of a training loop",
    "optimizer": "Adam in place of SGD",
    "cross_entropy": "Softmax cross-entropy, value and gradient",
    "dense": "A dense layer, forward",
    "predict": "Prediction of one row",
    "epoch": "An epoch of training",
}
TRAINING = ("step", "layers", "loop", "optimizer", "epoch")


class Run(NamedTuple):
    """A library ready to do a case: ``repeat(n)`` does it n times and returns when that is done.

    A call holds `units` of what is timed: steps of a loop, say.
    """

    repeat: Callable[[int], None]
    units: float = 1


def repeated(call: Callable[[], Any]) -> Run:
    """Return the run of a call that ends when its work ends."""

    def repeat(n: int) -> None:
        for _ in range(n):
            call()

    return Run(repeat)


@dataclass(frozen=True)
class Case:
    """Some work, in float32.

    Attributes
    ----------
    kind : str
        One of `KINDS`. A step is forward, loss, backward and update on one batch in memory, called from Python as a
        user calls it; so it is with layers. In a loop a library may make many steps in a call.
    sizes : tuple of int
        Of the layers, the input's first; of cross_entropy the number of classes alone.
    batch : int
        Rows.
    activation, output_activation : str
        Of the hidden layers, and of the last one.
    optimizer, loss : str
        "sgd" (rate 0.01) or "adam" (0.001); "cross_entropy" with class labels or "mse".
    norm, dropout : str, float
        Of layers: before and after the activation of each hidden layer, as `fastbp.mlp` has them; "" for none.
    rows : int
        Of the data of an epoch.
    data : str
        "random", or "digits": the UCI optical digits, for an epoch.
    """

    kind: str
    sizes: tuple[int, ...]
    batch: int
    activation: str = "relu"
    output_activation: str = "identity"
    optimizer: str = "sgd"
    loss: str = "cross_entropy"
    norm: str = ""
    dropout: float = 0.0
    rows: int = 0
    data: str = "random"

    @property
    def name(self) -> str:
        """Say in a few words what it is."""
        if self.kind == "cross_entropy":
            return f"{self.batch}x{self.sizes[0]}"
        if self.kind == "dense":
            return "x".join(map(str, (self.batch, *self.sizes)))
        words = ["-".join(map(str, self.sizes))]
        words += [self.activation] if self.activation != "relu" else []
        words += [self.norm] if self.norm else []
        words += [f"dropout {self.dropout:g}"] if self.dropout else []
        words += [self.loss] if self.loss != "cross_entropy" else []
        words += [self.optimizer] if self.kind in TRAINING and self.optimizer != "sgd" else []
        return f"{' '.join(words)}, {self.batch}"

    @property
    def label(self) -> str:
        """Tell it from all other cases."""
        return f"{self.kind} {self.name}"

    @property
    def parameters(self) -> int:
        """Return the number of weights and biases, those of the dense layers."""
        return sum(a * b + b for a, b in pairwise(self.sizes))

    @property
    def work(self) -> int:
        """Return the floating-point operations, those of the products; the input needs no gradient."""
        if self.kind == "cross_entropy":
            return CROSS_ENTROPY_FLOPS * self.batch * self.sizes[0]
        forward = sum(a * b for a, b in pairwise(self.sizes))
        rows = self.rows or self.batch
        return 2 * rows * (3 * forward - self.sizes[0] * self.sizes[1] if self.kind in TRAINING else forward)

    @property
    def bytes(self) -> int:
        """Return what has to be moved once at least.

        Training reads and writes parameters and optimizer state and reads the batch; prediction reads parameters and
        batch and writes the outputs; cross-entropy reads the logits and writes their gradient.
        """
        if self.kind == "cross_entropy":
            return 2 * FLOAT * self.batch * self.sizes[0]
        if self.kind not in TRAINING:
            return FLOAT * (self.parameters + self.batch * (self.sizes[0] + self.sizes[-1]))
        arrays = 3 if self.optimizer == "adam" else 1
        target = LABEL if self.loss == "cross_entropy" else FLOAT * self.sizes[-1]
        rows = self.rows or self.batch
        steps = -(-rows // self.batch)
        return steps * 2 * FLOAT * arrays * self.parameters + rows * (FLOAT * self.sizes[0] + target)

    def inputs(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return x and y, the same for every library: rows, and labels or targets."""
        if self.data == "digits":
            pixels, digits = load_digits()
            return (pixels / 16).astype(np.float32), digits
        rng = np.random.default_rng(0)
        rows = self.rows or self.batch
        x = rng.standard_normal((rows, self.sizes[0]), np.float32)
        if self.loss == "mse":
            return x, rng.standard_normal((rows, self.sizes[-1]), np.float32)
        return x, rng.integers(0, self.sizes[-1], rows)

    def weights(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return first parameters for libraries that have none of their own, each weight as (in, out)."""
        rng = np.random.default_rng(1)
        return [
            (rng.standard_normal((a, b), np.float32) * np.float32(2 / a) ** 0.5, np.zeros(b, np.float32))
            for a, b in pairwise(self.sizes)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return its attributes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, attributes: dict[str, Any]) -> "Case":
        """Make it again from its attributes."""
        return cls(**{**attributes, "sizes": tuple(attributes["sizes"])})


# What `fastbp bench` takes where no sizes are given
USUAL = [(10, 46, 46, 10), (17, 64, 64, 6), (784, 128, 10), (784, 512, 512, 10)]

# Narrow networks, a control policy, MNIST's shape, and a wide one.
STEPS = [
    Case("step", (10, 46, 46, 10), 128),
    Case("step", (17, 64, 64, 6), 64, activation="tanh"),
    Case("step", (17, 64, 64, 6), 64),
    Case("step", (784, 128, 10), 32),
    Case("step", (784, 128, 10), 128),
    Case("step", (784, 512, 512, 10), 256),
    Case("step", (1024, 4096, 4096, 1000), 512),
]
LAYERS = [
    *(Case("layers", (784, 512, 512, 10), 256, norm=norm) for norm in ("rms_norm", "layer_norm", "batch_norm")),
    Case("layers", (784, 512, 512, 10), 256, dropout=0.2),
    Case("layers", (784, 512, 512, 10), 256, norm="batch_norm", dropout=0.2),
    Case("layers", (17, 64, 64, 6), 64, norm="layer_norm", dropout=0.1),
]
PEERS = [
    *STEPS,
    *LAYERS,
    Case("loop", (4, 32, 16, 4), 10_000, activation="tanh", loss="mse", optimizer="adam"),
    Case("optimizer", (784, 128, 10), 128, optimizer="adam"),
    Case("optimizer", (784, 512, 512, 10), 256, optimizer="adam"),
    Case("optimizer", (1024, 4096, 4096, 1000), 512, optimizer="adam"),
    Case("cross_entropy", (10,), 128),
    Case("cross_entropy", (1000,), 1024),
    Case("cross_entropy", (4096,), 4096),
    Case("cross_entropy", (50_257,), 512),
    Case("dense", (1024, 1024), 1024, output_activation="relu"),
    Case("dense", (784, 256), 128, output_activation="relu"),
    Case("dense", (128, 128), 128, output_activation="relu"),
    Case("predict", (784, 128, 10), 1),
    Case("epoch", (64, 100, 10), 128, optimizer="adam", rows=1797, data="digits"),
]
