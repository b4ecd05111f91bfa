"""The table of losses: one entry for each, made by its own file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..registry import add

MEAN, SUM, NONE = range(3)
# Places in `options`, float64. VARIANCE_EPS bounds a variance from below; CONSTANT is added to each term of
# gaussian_nll.
REDUCTION, IGNORE_INDEX, LABEL_SMOOTHING, VARIANCE_EPS, CONSTANT, OPTIONS_SIZE = range(6)


@dataclass(frozen=True)
class Loss:
    """A loss of rows: ``sum_i scale_i * loss_i``.

    name : what it is called in tests and errors
    code : what the kernels call it; the table is in this order
    twin : (z, targets or labels, class_weight, options) to each row's loss and gradient, in NumPy
    outputs_per_term : how many outputs there are for each term of the mean; None where a row is one term
    formula : (lanes, z, t, scale) to the terms and their gradients times scale, as vector instructions; None where
        `compiled` puts a row together from several passes
    """

    name: str
    code: int
    twin: Callable[..., Any]
    outputs_per_term: int | None = None
    formula: Callable[..., Any] | None = None

    def terms(self, outputs: int) -> int:
        """Return how many terms of the mean a row of outputs has."""
        return outputs // self.outputs_per_term if self.outputs_per_term else 1


LOSSES: dict[str, Loss] = {}


def loss(name: str, code: int, *rest: Any, **named: Any) -> Loss:
    """Register a loss; see `Loss` for the arguments."""
    return add(LOSSES, Loss(name, code, *rest, **named))
