"""The error that ends `Trainer.fit` where numbers are no longer finite, and how it says which they are."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NotFiniteError", "nan_after", "not_finite_before"]

Array = NDArray[Any]
MOST_ROWS = 5  # that a message lists


class NotFiniteError(FloatingPointError):
    """Raised by `Trainer.fit` before the update of the first step whose loss is infinite or NaN.

    The message says which rows that came from, and whether inputs, targets or parameters were not finite. That step is
    not made: parameters, optimizer and ``Trainer.steps`` are as after the one before. Where an update makes a parameter
    NaN, the next step's loss is, or the end of the epoch shows it.

    Attributes
    ----------
    epoch, step : int
        Of the run, and of that epoch; both are counted from 1.
    rows : ndarray of int64
        The rows of x and y whose loss is not finite.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> x, y = np.zeros((8, 2)), np.zeros(8, int)
    >>> x[6, 1] = np.nan
    >>> trainer = fastbp.Trainer(fastbp.mlp([2, 3], rng=0))
    >>> try:
    ...     trainer.fit(x, y, batch_size=3, shuffle=False, progress=False)
    ... except fastbp.NotFiniteError as error:
    ...     error.epoch, error.step, error.rows, trainer.steps
    (1, 3, array([6]), 2)
    """

    epoch: int
    step: int
    rows: NDArray[np.int64]


def not_finite_before(
    epoch: int,
    step: int,
    loss: float,
    rows: NDArray[np.int64],
    of_rows: Mapping[str, tuple[NDArray[np.int64], Array]],
    of_all: Mapping[str, Array],
    kept: Iterable[str],
) -> NotFiniteError:
    """Make the error about a step that is not made.

    Parameters
    ----------
    epoch, step, rows
        See `NotFiniteError`.
    loss
        Of the step.
    of_rows
        What rows have, by name: which rows led to those losses, and the numbers of each, (rows, ...).
    of_all
        What all rows share, by name: parameters and the like.
    kept
        Sentences about what there is to go back to.
    """
    causes = []
    for name, (at, array) in of_rows.items():
        wrong = ~np.isfinite(array).reshape(len(at), math.prod(array.shape[1:])).all(axis=1)
        if wrong.any():
            causes.append(f"{name} in {_listed(at[wrong])}")
    causes += [name for name, array in of_all.items() if not np.isfinite(array).all()]
    where = f", from {_listed(rows)}" if rows.size else ""
    why = f"Not finite: {', '.join(causes)}."
    if not causes:
        why = f"Finite: {', '.join(of_rows)} and parameters. The outputs grew too large; a smaller lr may help."
    text = f"fit ended before the update of step {step} in epoch {epoch}, whose loss is {loss}{where}. {why}"
    return _error(text, epoch, step, rows, kept)


def nan_after(epoch: int, step: int, params: Mapping[str, Array], kept: Iterable[str]) -> NotFiniteError:
    """Make the error about the last step of an epoch, after which parameters are NaN."""
    wrong = [name for name, array in params.items() if np.isnan(array).any()]
    text = f"fit ended after step {step} in epoch {epoch}, whose update made parameters NaN: {', '.join(wrong)}."
    return _error(text, epoch, step, np.empty(0, np.int64), kept)


def _error(text: str, epoch: int, step: int, rows: NDArray[np.int64], kept: Iterable[str]) -> NotFiniteError:
    error = NotFiniteError(" ".join([text, *kept]))
    error.epoch, error.step, error.rows = epoch, step, rows
    return error


def _listed(rows: NDArray[np.int64]) -> str:
    shown = ", ".join(map(str, rows[:MOST_ROWS]))
    more = f" and {rows.size - MOST_ROWS} more" if rows.size > MOST_ROWS else ""
    return f"row{'s' if rows.size > 1 else ''} {shown}{more}"
