"""First weights and biases from the training rows, as RealMLP's TD has them."""

import numpy as np

from fastbp.nn.dense import Dense
from fastbp.nn.layer import LAYERS
from fastbp.nn.sequential import Sequential
from fastbp.tables.recipes.recipe import Array

MOST_ROWS = 1 << 14  # that are looked at
CORNERS = 5  # rows that a bias is made of


def begin_from_data(network: Sequential, x: Array, dropout: float, seed: int) -> None:
    """Set weights and biases of the dense layers, one layer after the other.

    Each output of a layer has standard deviation 1 over the rows ("std"). Its bias is such that it is 0 at a point that
    is drawn between five of the rows ("he+5"): minus a mean of the outputs of five rows with weights that are uniform
    on the simplex. What the layer is given has passed through the layers before it, `dropout` among them.

    Parameters
    ----------
    network : Sequential
    x : array (rows, features)
        Of the training; of more than `MOST_ROWS` so many are drawn.
    dropout : float
        Probability with which a number is dropped.
    seed : int
    """
    rng = np.random.default_rng([seed, 1])  # beside the stream that the weights were drawn from
    if len(x) > MOST_ROWS:
        x = x[np.sort(rng.choice(len(x), MOST_ROWS, replace=False))]
    for i, layer in enumerate(network):
        if isinstance(layer, Dense):
            layer.weight = rng.standard_normal(layer.weight.shape)
            layer.bias = np.zeros(layer.out_features)
            z = network[i : i + 1].predict(x)
            spread = z.std(axis=0, dtype=np.float64)
            spread[spread == 0] = 1.0
            layer.weight = layer.weight / spread[:, np.newaxis]
            layer.bias = _minus_between_rows(z / spread, rng)
        if isinstance(layer, LAYERS["Dropout"]):
            x = np.where(rng.random(x.shape) < dropout, 0.0, x / (1 - dropout)).astype(x.dtype)
        else:
            x = network[i : i + 1].predict(x)


def _minus_between_rows(z: Array, rng: np.random.Generator) -> Array:
    """Return minus a mean of some rows, of others for each column; their weights are uniform on the simplex."""
    rows, columns = z.shape
    corners = rng.integers(rows, size=(CORNERS, columns))
    weight = rng.standard_exponential((CORNERS, columns))
    weight /= weight.sum(axis=0)
    return np.asarray(-(np.take_along_axis(z, corners, axis=0) * weight).sum(axis=0))
