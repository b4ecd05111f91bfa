"""Temperature scaling: one number that probabilities are brought to the truth with (Guo et al., 2017)."""

import numpy as np
from numpy.typing import NDArray

from fastbp.tables.model import class_probabilities
from fastbp.tables.recipes.recipe import Array

MOST = 100.0  # times that logits are made larger or smaller
HALVINGS = 50


def temperature(z: Array, y: NDArray[np.int64], weight: Array | None = None) -> float:
    """Return the T for which softmax(z / T) of rows that were not trained on has the smallest cross-entropy.

    A label of n rows counts as one that is drawn of all with the probability 1 / (n + 1): so T stays above 0 where the
    largest logit is right in every row.

    Parameters
    ----------
    z : array (rows, classes)
        Logits.
    y : array of int (rows,)
        Classes.
    weight : array (rows,), optional
        How much each row counts.
    """
    z = z.astype(np.float64)
    doubt = 1.0 / (len(z) + 1)
    said = (1 - doubt) * z[np.arange(len(z)), y] + doubt * z.mean(axis=1)

    def slope(log_beta: float) -> float:
        """Return the derivative of the cross-entropy by beta = 1 / T, which grows with beta."""
        p = class_probabilities(z * np.exp(log_beta))
        return float(np.average((p * z).sum(axis=1) - said, weights=weight))

    low, high = -np.log(MOST), np.log(MOST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))
