"""Losses: value and gradient of each row in one visit, while the row is in the first-level cache; a file a loss.

A loss is ``sum_i scale_i * loss_i``: `scales` turns reduction, sample weights, class weights and ignored rows into the
scales, so the gradient of a row can be written finished. One task owns a range of rows; the rows' losses are
added up in float64, whoever computed them.

The machine code is in `compiled`, and what Python calls in `entries`.
"""

from ..registry import load_folder
from .registry import (
    BY_CODE,
    CONSTANT,
    DONE,
    IGNORE_INDEX,
    LABEL_SMOOTHING,
    LOSSES,
    MEAN,
    MEAN_OF_ROWS,
    NARROW,
    NONE,
    OPTIONS_SIZE,
    OWN,
    REDUCTION,
    SUM,
    UNUSABLE,
    VARIANCE_EPS,
    Loss,
    own_loss,
)

__all__ = [
    "BCE_LOGITS", "BY_CODE", "CONSTANT", "DONE", "GAUSSIAN_NLL", "IGNORE_INDEX", "LABEL_SMOOTHING", "LOSSES", "MEAN",
    "MEAN_OF_ROWS", "MSE", "NARROW", "NONE", "OPTIONS_SIZE", "OWN", "REDUCTION", "SOFTMAX_LABELS", "SOFTMAX_ONE_HOT",
    "SOFTMAX_PROBABILITIES", "SUM", "UNUSABLE", "VARIANCE_EPS", "Loss", "own_loss",
]  # fmt: skip

_OTHERS = ["by_hand", "compiled", "entries", "functions", "labels", "narrow", "own", "planes", "scales", "softmax"]
load_folder(__name__, __path__, LOSSES, leave=_OTHERS)

# Loss codes. SOFTMAX_LABELS takes class indices; the others take targets of their own shape. SOFTMAX_ONE_HOT is
# SOFTMAX_PROBABILITIES of rows with a single 1, the class, so that hits count.
SOFTMAX_LABELS, SOFTMAX_PROBABILITIES, SOFTMAX_ONE_HOT, MSE, BCE_LOGITS, GAUSSIAN_NLL = (
    LOSSES[name].code
    for name in ("softmax_labels", "softmax_probabilities", "softmax_one_hot", "mse", "bce_logits", "gaussian_nll")
)
