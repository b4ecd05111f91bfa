"""L-BFGS on all rows at once (Liu and Nocedal, 1989): few, expensive steps to a minimum, for small data.

SciPy has one, which `fastbp.sklearn` takes, as scikit-learn does. This one needs no SciPy, has the same bits for any
number of threads, and makes no more passes over the data: two loops over the last steps make a direction, and a search
along it ends where the weak Wolfe conditions hold (Lewis and Overton, 2013).
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.inputs import Readable
from fastbp._base.sparse import StoredRows
from fastbp.nn.loss import Loss
from fastbp.nn.member_outputs import each_member
from fastbp.nn.sequential import Sequential
from fastbp.train.frozen import frozen_parts
from fastbp.train.given import samples_of
from fastbp.train.history import History
from fastbp.train.trainer import Trainer

__all__ = ["fit_lbfgs"]

Vector = NDArray[np.float64]
LEAST_FALL, LEAST_BEND = 1e-4, 0.9  # of the Wolfe conditions
MOST_TRIES = 30  # of a search along a direction
PHASES = ("forward_batch", "backward_batch")  # entries that are called


class Point(NamedTuple):
    """Parameters, the loss there, and its gradient; and what running statistics are after that pass."""

    at: Vector
    value: float
    gradient: Vector
    buffers: NDArray[Any]


def fit_lbfgs(
    model: Sequential,
    x: ArrayLike | Readable,
    y: ArrayLike,
    loss: str | Loss | Callable[..., Any] = "softmax_cross_entropy",
    *,
    sample_weight: ArrayLike | None = None,
    weight_decay: float = 0.0,
    max_steps: int = 200,
    tol: float = 1e-4,
    memory: int = 10,
) -> History:
    """Train a model by L-BFGS: each step takes all rows, and goes as far as the loss falls well.

    On some thousand rows it reaches a minimum that Adam takes far longer to come near, most of all in float64; where
    there are more, or where a minimum of the training loss is not what is wanted, take a `Trainer`. The outputs of all
    layers for all rows are in memory at once.

    A `BatchNorm` predicts with running statistics, which lag behind the parameters where there are few steps: give it
    ``momentum=1.0``, and they are those of all rows at the last one.

    Parameters
    ----------
    model : Sequential
        Ends with the best parameters, and the running statistics of the steps to them, after an exception too. Layers
        that are not ``trainable`` stay as they are.
    x, y, sample_weight
        As in `Trainer.step`.
    loss : str, loss object or callable
        As for a `Trainer`.
    weight_decay : float, default 0.0
        Adds ``weight_decay / 2 * |W|**2`` of all parameters to the loss, which is PyTorch's meaning.
    max_steps : int, default 200
    tol : float, default 1e-4
        Ends where no derivative is larger. It also ends where rounding leaves nothing to gain.
    memory : int, default 10
        How many steps the curvature is known from.

    Returns
    -------
    History
        "loss", with the decay, at first and after each step.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, the model has Dropout, or the loss is not finite at first.

    Examples
    --------
    >>> import fastbp
    >>> x, y = fastbp.load_digits()
    >>> model = fastbp.mlp([64, 10], dtype="float64", rng=0)
    >>> history = fastbp.fit_lbfgs(model, x / 16, y, weight_decay=1e-3)
    >>> round(history["loss"][-1], 3), history.epochs
    (0.264, 53)
    """
    trainer = Trainer(model, loss, "sgd")
    if model._drawing:
        raise ValueError(f"fit_lbfgs expects a loss without chance, got a model with {', '.join(model._drawing)}")
    decay = check.number(weight_decay, "fit_lbfgs", "weight_decay")
    most, tol = check.integer(max_steps, "fit_lbfgs", "max_steps"), check.number(tol, "fit_lbfgs", "tol")
    steps: deque[tuple[Vector, Vector]] = deque(maxlen=check.integer(memory, "fit_lbfgs", "memory"))
    samples = samples_of(trainer, x, y, sample_weight, PHASES)
    rows = x if isinstance(samples.x, StoredRows) else samples.x[:]  # converted once

    def loss_at(at: Vector, after: Point) -> Point:
        model._params[...], model._buffers[...] = at, after.buffers
        return _point_of(trainer, rows, y, sample_weight, decay, at)

    start = model._params.astype(np.float64)
    best = Point(start, np.nan, start, model._buffers.copy())
    history, unit = History(), float(np.finfo(model.dtype).eps)
    try:
        first = loss_at(start, best)
        if not np.isfinite(first.value):
            raise ValueError(f"fit_lbfgs expects a finite loss to begin with, got {first.value}")
        best = first
        history.append({"loss": best.value})
        while history.epochs <= most and np.abs(best.gradient).max() > tol:
            direction = _direction(best.gradient, steps)
            step = 1.0 if steps else min(1.0, 1.0 / float(np.abs(best.gradient).sum()))
            found = _search(loss_at, best, direction, step)
            if found is None:
                break
            steps.append((found.at - best.at, found.gradient - best.gradient))
            gain, best = best.value - found.value, found
            history.append({"loss": best.value})
            if gain <= unit * max(abs(best.value), 1.0):
                break
    finally:
        model._params[...], model._buffers[...] = best.at, best.buffers
    return history


def _point_of(trainer: Trainer, x: Any, y: Any, sample_weight: Any, decay: float, at: Vector) -> Point:
    """Return the loss of all rows and its gradient, where the model's parameters are `at`."""
    model = trainer.model
    out = trainer.forward(x)
    value, dout = trainer.loss.evaluate(*each_member(trainer.loss, out, y, sample_weight, model.members))
    trainer.backward(dout.reshape(out.shape))
    weights, gradient = at.copy(), model._grads.astype(np.float64)
    for part in frozen_parts(model):
        weights[part] = gradient[part] = 0.0
    total = float(value) + decay / 2 * _dot(weights, weights)
    return Point(at, total, gradient + decay * weights, model._buffers.copy())


def _direction(gradient: Vector, steps: deque[tuple[Vector, Vector]]) -> Vector:
    """Return minus the gradient times the inverse of the curvature that the steps have seen."""
    d, shares = -gradient, []
    for s, g in reversed(steps):
        share = _dot(s, d) / _dot(s, g)
        shares.append(share)
        d = d - share * g
    if steps:
        s, g = steps[-1]
        d = d * (_dot(s, g) / _dot(g, g))
    for (s, g), share in zip(steps, reversed(shares), strict=True):
        d = d + (share - _dot(g, d) / _dot(s, g)) * s
    return d


def _search(loss_at: Callable[[Vector, Point], Point], start: Point, direction: Vector, step: float) -> Point | None:
    """Return a point along a direction where the loss has fallen, and its slope has become flatter; None without one.

    Between a step that is too short and one that is too long, the next one is in the middle.
    """
    slope, short, long = _dot(start.gradient, direction), 0.0, np.inf
    for _ in range(MOST_TRIES):
        point = loss_at(start.at + step * direction, start)
        if not point.value <= start.value + LEAST_FALL * step * slope:  # NaN is too long as well
            long = step
        elif _dot(point.gradient, direction) < LEAST_BEND * slope:
            short = step
        else:
            return point
        step = (short + long) / 2 if long < np.inf else 2 * short
    return None


def _dot(a: Vector, b: Vector) -> float:
    """Return the sum of the products, added up in a fixed order: BLAS shares it out to threads."""
    return float((a * b).sum())
