"""A chain of dense layers from its sizes."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike

from fastbp._base import check
from fastbp.initializers import Initializer
from fastbp.nn.dense import Dense
from fastbp.nn.own_activations import OwnActivation
from fastbp.nn.sequential import Sequential

__all__ = ["mlp"]


def mlp(
    sizes: Sequence[int],
    activation: str | OwnActivation = "relu",
    *,
    output_activation: str | OwnActivation = "identity",
    bias: bool = True,
    init: str | Initializer | None = None,
    dtype: DTypeLike = "float32",
    rng: int | np.random.Generator | None = None,
) -> Sequential:
    """Make a chain of dense layers from its sizes.

    Parameters
    ----------
    sizes : sequence of int
        Features of the input, of each hidden layer, of the output.
    activation : str or OwnActivation, default "relu"
        Of the hidden layers; see `Dense`.
    output_activation : str or OwnActivation, default "identity"
        Of the last layer; losses of logits want "identity".
    bias, init, dtype
        As in `Dense`.
    rng : int or numpy.random.Generator, optional
        Seed of the initial weights; one stream for all layers.

    Returns
    -------
    Sequential

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.mlp([4, 8, 3], rng=0)
    Sequential(Dense(4, 8, activation='relu'), Dense(8, 3, activation='identity'))
    """
    if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__getitem__") or len(sizes) < 2:
        raise ValueError(f"mlp expects at least two sizes, of the input and of the output, got {sizes!r}")
    generator = check.generator(rng, "mlp")
    last = len(sizes) - 2
    return Sequential(
        *(
            Dense(
                *pair,
                output_activation if i == last else activation,
                bias=bias,
                init=init,
                dtype=dtype,
                rng=generator,
            )
            for i, pair in enumerate(pairwise(sizes))
        )
    )
