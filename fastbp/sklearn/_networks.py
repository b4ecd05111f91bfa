"""A fastbp model for `coefs_` and `intercepts_`: they hold views of its parameters, or arrays of the user's own."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fastbp._base import check
from fastbp._base.docs import listed
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn.dense import Dense
from fastbp.nn.sequential import Sequential

Array = NDArray[Any]
# scikit-learn's names of the activations, with fastbp's
NAMES = {kind.sklearn or name: name for name, kind in ACTIVATIONS.items()}
LISTED = listed(f'"{name}"' for name in NAMES)  # for docstrings


def weights_of(model: Sequential) -> list[Array]:
    """Return the weights of each layer, (in, out): live views."""
    return [layer._w for layer in model.layers]


def biases_of(model: Sequential) -> list[Array]:
    """Return the bias of each layer: live views."""
    return [layer._b for layer in model.layers]


def parameters_of(model: Sequential) -> list[Array]:
    """Return weights, then biases, as scikit-learn's optimizers take them: live views."""
    return weights_of(model) + biases_of(model)


def split(flat: Array, model: Sequential) -> list[Array]:
    """Return views of an array like the model's flat parameters, in the order of `parameters_of`."""
    weights, biases, start = [], [], 0
    for layer in model.layers:
        middle, end = start + layer._w.size, start + layer._params.size
        weights.append(flat[start:middle].reshape(layer._w.shape))
        biases.append(flat[middle:end])
        start = end
    return weights + biases


def model_of(model: Sequential | None, coefs: Sequence[Any], intercepts: Sequence[Any], activation: str) -> Sequential:
    """Return a model with the parameters that these arrays hold now; it gives the last layer's z.

    model : returned if it will do. Its own views are there already; any other array is copied into it.
    """
    if model is not None and _is_of(model, coefs, intercepts, activation):
        return model
    weights, biases = _checked(coefs, intercepts)
    arrays = weights + biases
    dtype = np.dtype(np.float32 if all(a.dtype == np.float32 for a in arrays) else np.float64)
    if model is None or not _can_hold(model, arrays, activation, dtype):
        last = len(weights) - 1
        kinds = [NAMES.get(activation, activation)] * last + ["identity"]
        layers = [
            Dense(w.shape[0], w.shape[1], kind, init="zeros", dtype=dtype)
            for w, kind in zip(weights, kinds, strict=True)
        ]
        model = Sequential(*layers)
    for view, array in zip(parameters_of(model), arrays, strict=True):
        if not _is_view(array, view):
            view[...] = array
    return model


def updated(held: Any, views: list[Array]) -> list[Any]:
    """Return what `coefs_` or `intercepts_` holds, with the numbers of these views of a model.

    They are written into the user's arrays where NumPy's ``array += update`` would do so; others give way to the view.
    """
    arrays: list[Any] = held if isinstance(held, list) else list(held)
    for i, view in enumerate(views):
        array = arrays[i]
        if array is view or _is_view(array, view):
            continue
        if (
            isinstance(array, np.ndarray)
            and array.flags.writeable
            and array.shape == view.shape
            and np.can_cast(view.dtype, array.dtype, "same_kind")
        ):
            array[...] = view
        else:
            arrays[i] = view
    return arrays


def check_apart(coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
    """Refuse to train arrays that share memory: each gets a gradient of its own."""
    named = [(f"coefs_[{i}]", c) for i, c in enumerate(coefs)]
    named += [(f"intercepts_[{i}]", b) for i, b in enumerate(intercepts)]
    arrays = [(name, a) for name, a in named if isinstance(a, np.ndarray)]
    for (name, a), (other, b) in combinations(arrays, 2):
        if np.shares_memory(a, b):
            raise ValueError(f"MLP expects {name} and {other} to share no memory")


def _has(model: Sequential, activation: str) -> bool:
    return len(model.layers) == 1 or model.layers[0].activation == NAMES.get(activation, activation)


def _is_of(model: Sequential, coefs: Sequence[Any], intercepts: Sequence[Any], activation: str) -> bool:
    """Whether these are the very views of the model's parameters: the usual case, and quick to see."""
    layers = model.layers
    return (
        len(layers) == len(coefs) == len(intercepts)
        and all(c is layer._w and b is layer._b for layer, c, b in zip(layers, coefs, intercepts, strict=True))
        and _has(model, activation)
    )


def _is_view(array: Any, view: Array) -> bool:
    """Whether an array is where this view is, element by element."""
    return (
        isinstance(array, np.ndarray)
        and (array.dtype, array.shape, array.strides) == (view.dtype, view.shape, view.strides)
        and array.__array_interface__["data"][0] == view.__array_interface__["data"][0]
    )


def _can_hold(model: Sequential, arrays: list[Array], activation: str, dtype: np.dtype[Any]) -> bool:
    """Whether the model has such layers, and copying one array into it changes no other."""
    views = parameters_of(model)
    return (
        model.dtype == dtype
        and _has(model, activation)
        and [a.shape for a in arrays] == [v.shape for v in views]
        and all(_is_view(a, v) or not check.overlaps(a, model._params) for a, v in zip(arrays, views, strict=True))
    )


def _checked(coefs: Sequence[Any], intercepts: Sequence[Any]) -> tuple[list[Array], list[Array]]:
    """Return weights (in, out) and biases (out,) of a chain of layers."""
    if len(coefs) != len(intercepts):
        raise ValueError(f"MLP expects as many intercepts_ as coefs_, got {len(intercepts)} and {len(coefs)}")
    weights: list[Array] = []
    biases: list[Array] = []
    for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        w, b = _real(coef, f"coefs_[{i}]"), np.atleast_1d(_real(intercept, f"intercepts_[{i}]"))
        if w.ndim != 2 or (i > 0 and len(w) != len(biases[-1])):
            rows = len(biases[-1]) if i > 0 else "features"
            raise ValueError(f"MLP expects coefs_[{i}] of shape ({rows}, outputs), got {w.shape}")
        if b.shape not in ((w.shape[1],), (1,)):
            raise ValueError(f"MLP expects intercepts_[{i}] of shape ({w.shape[1]},), got {b.shape}")
        weights.append(w)
        biases.append(np.broadcast_to(b, w.shape[1:]))
    return weights, biases


def _real(value: Any, name: str) -> Array:
    array: Array = value.toarray() if sparse.issparse(value) else np.asarray(value)
    if not np.can_cast(array.dtype, np.float64, "same_kind"):
        raise TypeError(f"MLP expects {name} to hold real numbers, got dtype {array.dtype}")
    return array


def weight_blocks(model: Sequential) -> NDArray[np.int64]:
    """Return for each layer where its weights begin in the flat parameters, and how many they are."""
    sizes = [layer._params.size for layer in model.layers]
    return np.array([(sum(sizes[:i]), layer._w.size) for i, layer in enumerate(model.layers)], np.int64)


def sum_of_squares(model: Sequential) -> float:
    """Return the sum of the squares of all weights, biases left out."""
    return sum(float(np.einsum("ij,ij->", layer._w, layer._w)) for layer in model.layers)
