"""Temperature scaling: one number that probabilities are brought to the truth with (Guo et al., 2017)."""

import numpy as np
from numpy.typing import NDArray

from fastbp.tables.recipes.recipe import Array

MOST = 100.0  # times that logits are made larger or smaller
HALVINGS = 50


def temperature(z: Array, y: NDArray[np.int64], weight: Array | None = None, members: int = 1) -> float:
    """Return the T for which softmax(z / T) of rows that were not trained on has the smallest cross-entropy.

    A label of n rows counts as one that is drawn of all with the probability 1 / (n + 1): so T stays above 0 where the
    largest logit is right in every row.

    Parameters
    ----------
    z : array (rows, members * classes)
        Logits, of members one after another: their probabilities are averaged.
    y : array of int (rows,)
        Classes.
    weight : array (rows,), optional
        How much each row counts.
    """
    each = z.reshape(len(z), members, z.shape[1] // members).astype(np.float64)
    doubt = 1.0 / (len(z) + 1)
    true = np.full((len(z), each.shape[2]), doubt / each.shape[2])
    true[np.arange(len(z)), y] += 1 - doubt

    def slope(log_beta: float) -> float:
        """Return the derivative of the cross-entropy by beta = 1 / T; of one member it grows with beta."""
        logarithms = each * np.exp(log_beta)
        logarithms -= np.logaddexp.reduce(logarithms, axis=2, keepdims=True)
        gaps = each - (np.exp(logarithms) * each).sum(axis=2, keepdims=True)
        shares = np.exp(logarithms - np.logaddexp.reduce(logarithms, axis=1, keepdims=True))  # of members in a class
        return -float(np.average((true * (shares * gaps).sum(axis=1)).sum(axis=1), weights=weight))

    low, high = -np.log(MOST), np.log(MOST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))
