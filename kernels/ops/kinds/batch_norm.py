"""Batch normalization: ``Y = (X - mean) / sqrt(var + eps) * w + b``, mean and variance of each column of the batch."""

from typing import Any

import numpy as np

from ...registry import Number, Public
from ...run.chunks import COUPLED_ROWS
from ..registry import Buffer, compiled, kind

# Rows of a block whose sums are made together. The bits of a sum depend on it, so no machine has a say in it.
BLOCK_ROWS = COUPLED_ROWS
# What is saved of each column: its mean, 1 / sqrt(var + eps), that times w, and, for the buffers, its unbiased
# variance; on the way back the sums of dZ and of dZ * N, and what they make of each row's gradient: a number, and one
# that is multiplied by X - mean. Two sums of each block stand behind them.
MEAN, RSTD, SCALE, UNBIASED, SUM, PROJECTION, APART, ALONG, SAVED_OF_COLUMNS = range(9)
# The buffers in their order
RUNNING_MEAN, RUNNING_VAR, BATCHES = range(3)
# The attribute that stands for a momentum of None
CUMULATIVE = -1.0


def blocks_of(rows):
    """Return into how many blocks so many rows are cut; the last has what is left. Kernels compile this."""
    return (rows + BLOCK_ROWS - 1) // BLOCK_ROWS


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    (x,), (eps, _) = inputs, attributes
    return _normal(x, x.mean(axis=0), x.var(axis=0), eps, w, b)


def prediction_twin(inputs: Any, w: Any, b: Any, attributes: Any, buffers: Any) -> Any:
    (x,), (eps, _) = inputs, attributes
    return _normal(x, buffers[RUNNING_MEAN], buffers[RUNNING_VAR], eps, w, b)


def _normal(x: Any, mean: Any, variance: Any, eps: float, w: Any, b: Any) -> Any:
    return (x - mean) / np.sqrt(variance + eps) * (w if np.size(w) else 1.0) + b


NUMBERS = (
    Number("eps", 1e-5, "Added to the variance."),
    Number(
        "momentum",
        0.1,
        "What the statistics of a batch count for in the running ones; None: as much as those of any before.",
        most=1.0,
        none=lambda dtype: CUMULATIVE,
    ),
)
BUFFERS = (
    Buffer("running_mean", "Mean of each feature, which predictions take."),
    Buffer("running_var", "Variance of each feature, likewise; that of a sample.", initial=1.0, least=0.0),
    Buffer("num_batches_tracked", "How many batches they are made of.", least=0.0, counts=True),
)


def effort(in_features: int, out_features: int) -> int:
    return 24 * out_features


# In a prediction each feature is scaled and shifted by numbers that do not depend on the batch.
PREDICTED = kind(
    "predicted_batch_norm",
    13,
    functions=compiled("..batch_norm", __package__, "batch_norm_prediction", "batch_norm_prediction_gradient"),
    effort=effort,
    twin=prediction_twin,
    depth=lambda in_features: 1,
    numbers=NUMBERS,
    bias=True,
    affine=True,
    buffers=BUFFERS,
)

BATCH_NORM = kind(
    "batch_norm",
    12,
    functions=compiled(
        "..batch_norm",
        __package__,
        "batch_norm_forward",
        "batch_norm_input_gradient",
        "batch_norm_weight_gradient",
        "batch_norm_track",
        "batch_norm_sums",
        "batch_norm_join",
        "batch_norm_sums_back",
        "batch_norm_join_back",
    ),
    effort=effort,
    twin=twin,
    depth=lambda in_features: 1,
    exchanged=2,
    saved_of_columns=lambda rows: SAVED_OF_COLUMNS + 2 * blocks_of(rows),
    numbers=NUMBERS,
    bias=True,
    affine=True,
    buffers=BUFFERS,
    couples_rows=True,
    prediction=PREDICTED,
    public=Public(
        "BatchNorm",
        "Batch normalization: ``y = (x - mean) / sqrt(var + eps) * weight + bias``, mean and variance of each feature",
        more="In training they are those of the batch, whatever its rows count for in the loss, so a batch needs two "
        "rows; the variance is that of a population. `predict` and `evaluate` take running ones, which move with each "
        "backward pass: with a step that a `Trainer` makes, and by hand with `backward`. So a step that is not made "
        "leaves them, and a row's prediction does not depend on the rows beside it.",
        features="num_features",
        torch="BatchNorm1d",
    ),
)
