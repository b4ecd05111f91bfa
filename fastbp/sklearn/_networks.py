"""A fastbp model behind `coefs_` and `intercepts_`, which are views of its parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.kernels.activations import CODES
from fastbp.layers import Dense
from fastbp.sequential import Sequential

Array = NDArray[Any]
# scikit-learn's name for the sigmoid
NAMES = {"logistic": "sigmoid"}
ACTIVATIONS = frozenset(CODES) - {"sigmoid"} | {"logistic"}


def network_of(coefs: Sequence[Array], intercepts: Sequence[Array], activation: str) -> Sequential:
    """Return a model with these parameters, a copy of them; its output is the last layer's before any activation."""
    dtype = np.float32 if all(c.dtype == np.float32 for c in (*coefs, *intercepts)) else np.float64
    last = len(coefs) - 1
    layers = [
        Dense(
            c.shape[0],
            c.shape[1],
            "identity" if i == last else NAMES.get(activation, activation),
            init="zeros",
            dtype=dtype,
        )
        for i, c in enumerate(coefs)
    ]
    model = Sequential(*layers)
    for layer, coef, intercept in zip(model.layers, coefs, intercepts, strict=True):
        layer._w[...], layer._b[...] = coef, intercept
    return model


def weights_of(model: Sequential) -> list[Array]:
    """Return the weights of each layer, (in, out): live views."""
    return [layer._w for layer in model.layers]


def biases_of(model: Sequential) -> list[Array]:
    """Return the bias of each layer: live views."""
    return [layer._b for layer in model.layers]


def is_of(model: Sequential, coefs: Sequence[Array], intercepts: Sequence[Array], activation: str) -> bool:
    """Whether these are still the views of the model's parameters: its user may put other arrays in their place."""
    layers = model.layers
    return (
        len(layers) == len(coefs) == len(intercepts)
        and all(c is layer._w and b is layer._b for layer, c, b in zip(layers, coefs, intercepts, strict=True))
        and (len(layers) == 1 or layers[0].activation == NAMES.get(activation, activation))
    )


def weight_blocks(model: Sequential) -> NDArray[np.int64]:
    """Return for each layer where its weights begin in the flat parameters, and how many they are."""
    sizes = [layer._params.size for layer in model.layers]
    return np.array([(sum(sizes[:i]), layer._w.size) for i, layer in enumerate(model.layers)], np.int64)


def sum_of_squares(model: Sequential) -> float:
    """Return the sum of the squares of all weights, biases left out."""
    return sum(float(np.einsum("ij,ij->", layer._w, layer._w)) for layer in model.layers)
