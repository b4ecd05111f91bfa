"""Buffers: state of a layer that is no parameter, such as running statistics.

A model has those of all layers in one flat array, 8 bytes for each feature and buffer, apart from parameters and the
optimizer's state. Training writes them where a step is made. Whoever keeps a model's parameters keeps its `tensors`:
files, copies, checkpoints and the best weights of a run have the buffers with them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp.kernels.ops.kinds import KINDS
from fastbp.kernels.ops.registry import Buffer

Array = NDArray[Any]


def views(buffers: Sequence[Buffer], cells: Array, dtype: np.dtype[Any]) -> dict[str, Array]:
    """Return a layer's buffers by name: live views of its part of the flat array."""
    features = len(cells) // len(buffers)
    parts = cells.reshape(len(buffers), features)
    return {
        buffer.name: part[:1].reshape(()) if buffer.counts else part.view(dtype)[:features]
        for buffer, part in zip(buffers, parts, strict=True)
    }


def shapes(buffers: Sequence[Buffer], features: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's buffers by name."""
    return {buffer.name: () if buffer.counts else (features,) for buffer in buffers}


def checked(name: str, value: ArrayLike, current: Array, who: str) -> Array:
    """Return a value for a buffer of this name, "1.running_var", say; an error if it is none."""
    array = check.exact_shape(np.asarray(value), current.shape, who, name)
    if array.dtype.kind == "f":
        check.no_nan(array, who, name)
    own = name.rpartition(".")[2]
    least = max(
        (buffer.least for kind in KINDS.values() for buffer in kind.buffers if buffer.name == own), default=-np.inf
    )
    if array.min() < least:
        raise ValueError(f"{who} expects {name} of at least {least:g}, got {array.min()}")
    return array
