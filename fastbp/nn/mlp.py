"""A chain of dense layers from its sizes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbp._base import check
from fastbp._base.docs import listed, with_lists
from fastbp._base.schedule import Schedule, checked_number
from fastbp.initializers import Initializer
from fastbp.nn.activation_layers import Activation
from fastbp.nn.dense import Dense, usual_init
from fastbp.nn.layer import LAYERS, Layer
from fastbp.nn.own_activations import OwnActivation
from fastbp.nn.sequential import Sequential

__all__ = ["NORMS", "mlp", "mlp_layers"]

# What may stand between a hidden layer's product and its activation
NORMS: dict[str, Any] = {
    "batch_norm": LAYERS["BatchNorm"], "layer_norm": LAYERS["LayerNorm"], "rms_norm": LAYERS["RMSNorm"],
}  # fmt: skip
_dropout: Any = LAYERS["Dropout"]


@with_lists(norms=listed(NORMS))
def mlp(
    sizes: Sequence[int],
    activation: str | OwnActivation = "relu",
    *,
    output_activation: str | OwnActivation = "identity",
    bias: bool = True,
    init: str | Initializer | None = None,
    norm: str | None = None,
    dropout: float | Schedule = 0.0,
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
    norm : str, optional
        A layer before the activation of each hidden layer: {norms}. The activation is then an `Activation`.
    dropout : float or schedule, default 0.0
        p of a `Dropout` after each hidden layer; no layer where it is 0.
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
    >>> [type(layer).__name__ for layer in fastbp.mlp([4, 8, 3], norm="layer_norm", dropout=0.2, rng=0)]
    ['Dense', 'LayerNorm', 'Activation', 'Dropout', 'Dense']
    """
    return Sequential(
        *mlp_layers(
            sizes,
            activation,
            output_activation=output_activation,
            bias=bias,
            init=init,
            norm=norm,
            dropout=dropout,
            dtype=dtype,
            rng=rng,
        )
    )


def mlp_layers(
    sizes: Sequence[int],
    activation: str | OwnActivation,
    *,
    output_activation: str | OwnActivation = "identity",
    bias: bool = True,
    init: str | Initializer | None,
    norm: str | None,
    dropout: float | Schedule,
    dtype: DTypeLike,
    rng: int | np.random.Generator | None,
) -> list[Layer]:
    """Return the layers of `mlp`, which belong to no model yet."""
    if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__getitem__") or len(sizes) < 2:
        raise ValueError(f"mlp expects at least two sizes, of the input and of the output, got {sizes!r}")
    if norm is not None:
        check.choice(norm, NORMS, "mlp", "norm")
    p = checked_number(dropout, "mlp", "dropout", 0.0, 1.0)
    options: dict[str, Any] = {"bias": bias, "dtype": dtype, "rng": check.generator(rng, "mlp")}
    layers: list[Layer] = []
    *hidden, last = pairwise(sizes)
    for pair in hidden:
        if norm is None:
            layers.append(Dense(*pair, activation, init=init, **options))
        else:
            own = usual_init(activation) if init is None else init
            layers += [Dense(*pair, init=own, **options), NORMS[norm](pair[1], dtype=dtype), Activation(activation)]
        if p:
            layers.append(_dropout(p))
    return [*layers, Dense(*last, output_activation, init=init, **options)]
