"""Initial weights: functions ``f(rng, shape)`` with shape (out_features, in_features).

He et al. 2015 for the relu family, Glorot and Bengio 2010 for saturating activations, LeCun et al. 1998.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int]
Initializer = Callable[[np.random.Generator, Shape], NDArray[np.float64]]

__all__ = [
    "INITIALIZERS",
    "Initializer",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "zeros",
]


def _normal(rng: np.random.Generator, shape: Shape, variance: float) -> NDArray[np.float64]:
    return rng.normal(0.0, math.sqrt(variance), shape)


def _uniform(rng: np.random.Generator, shape: Shape, variance: float) -> NDArray[np.float64]:
    limit = math.sqrt(3.0 * variance)
    return rng.uniform(-limit, limit, shape)


def he_normal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return normal weights of variance 2 / in_features."""
    return _normal(rng, shape, 2.0 / shape[1])


def he_uniform(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return uniform weights of variance 2 / in_features."""
    return _uniform(rng, shape, 2.0 / shape[1])


def glorot_normal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return normal weights of variance 2 / (in_features + out_features)."""
    return _normal(rng, shape, 2.0 / sum(shape))


def glorot_uniform(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return uniform weights of variance 2 / (in_features + out_features)."""
    return _uniform(rng, shape, 2.0 / sum(shape))


def lecun_normal(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return normal weights of variance 1 / in_features."""
    return _normal(rng, shape, 1.0 / shape[1])


def lecun_uniform(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return uniform weights of variance 1 / in_features."""
    return _uniform(rng, shape, 1.0 / shape[1])


def zeros(rng: np.random.Generator, shape: Shape) -> NDArray[np.float64]:
    """Return zeros; a hidden layer that begins so never learns."""
    return np.zeros(shape)


INITIALIZERS: dict[str, Initializer] = {
    f.__name__: f for f in (he_normal, he_uniform, glorot_normal, glorot_uniform, lecun_normal, lecun_uniform, zeros)
}
