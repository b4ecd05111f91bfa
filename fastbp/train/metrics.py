"""Metrics: figures of a network's outputs beside the loss, by scikit-learn's definitions. `METRICS` is their table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.train.outputs import Classes, Labels, Numbers

__all__ = ["METRICS", "Metric", "larger_is_better", "metric_names"]

Array = NDArray[Any]
Weight = NDArray[np.float64]
Judged = Any  # Classes, Labels or Numbers


@dataclass(frozen=True)
class Metric:
    """An entry of the table.

    function : (judged, weight) -> float, `weight` (rows,) float64, not all 0; with `number` a third argument
    takes : the forms of outputs that it judges
    larger : whether larger is better
    number : what the number behind the name is, as in ``top_5``: its type, for ``int("5")``
    default : that number where the name stands alone; None if it has to be there
    two_classes : whether there have to be two classes
    """

    function: Callable[..., float]
    takes: tuple[type, ...]
    larger: bool
    number: type[int] | type[float] | None = None
    default: float | None = None
    two_classes: bool = False


def _mean(values: Array, weight: Weight) -> float:
    return float(np.dot(weight, values) / np.add.reduce(weight))  # quicker than @ and sum() of a few rows


def accuracy(judged: Classes | Labels, weight: Weight) -> float:
    """Return the part of the rows whose class, or all of whose labels, are said."""
    hits = judged.true == judged.said()
    return _mean(hits if hits.ndim == 1 else hits.all(axis=1), weight)


def top(judged: Classes, weight: Weight, k: int) -> float:
    """Return the part of the rows whose class is among the k largest outputs; of equal ones the last is the largest."""
    z, true = judged.z, judged.true[:, None]
    own = np.take_along_axis(z, true, axis=1)
    ahead = (z > own) | ((z == own) & (np.arange(z.shape[1]) > true))
    return _mean(ahead.sum(axis=1) < k, weight) if not np.isnan(z).any() else np.nan


def log_loss(judged: Classes, weight: Weight) -> float:
    """Return the mean of ``-log p`` of the rows' classes, p the softmax of the outputs."""
    z = judged.z.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    own = np.take_along_axis(z, judged.true[:, None], axis=1)[:, 0]
    return _mean(np.log(np.exp(z).sum(axis=1)) - own, weight)


def auc(judged: Classes | Labels, weight: Weight) -> float:
    """Return the area under the ROC curve: of two classes the second's, else the mean of each against the rest."""
    if np.isnan(judged.z).any():
        return np.nan
    return float(np.mean([_area(true, score, weight) for true, score in judged.each_against_the_rest()]))


def _area(true: NDArray[np.bool_], score: Array, weight: Weight) -> float:
    """Return how likely a true row has the higher score than a false one; a draw counts half."""
    order = np.argsort(score)
    score, of_true, of_false = score[order], (weight * true)[order], (weight * ~true)[order]
    first = np.flatnonzero(np.append(True, score[1:] != score[:-1]))  # of rows with the same score
    of_true, of_false = np.add.reduceat(of_true, first), np.add.reduceat(of_false, first)
    won = of_true @ (np.cumsum(of_false) - of_false / 2)
    with np.errstate(invalid="ignore"):  # all rows are true, or none: NaN
        return float(won / (of_true.sum() * of_false.sum()))


def _precision(hit: Array, said: Array, true: Array) -> tuple[Array, Array]:
    return hit, said


def _recall(hit: Array, said: Array, true: Array) -> tuple[Array, Array]:
    return hit, true


def _f1(hit: Array, said: Array, true: Array) -> tuple[Array, Array]:
    return 2 * hit, said + true


def _binary(part: Array, whole: Array, present: NDArray[np.bool_]) -> float:
    return float(_ratio(part[-1:], whole[-1:])[0])


def _macro(part: Array, whole: Array, present: NDArray[np.bool_]) -> float:
    return float(_ratio(part, whole)[present].mean())


def _micro(part: Array, whole: Array, present: NDArray[np.bool_]) -> float:
    return float(_ratio(part.sum(keepdims=True), whole.sum(keepdims=True))[0])


def _ratio(part: Array, whole: Array) -> Array:
    """Return ``part / whole``, and 0 where that is 0 / 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)


def _of_counts(
    ratio: Callable[..., tuple[Array, Array]],
    average: Callable[..., float],
    judged: Classes | Labels,
    weight: Weight,
) -> float:
    """Return an average over the classes of a ratio of counts: of hits, of rows said to be of it, of rows that are."""
    counts = judged.counts(weight)
    return average(*ratio(*counts[:3]), counts.present)


def mae(judged: Numbers, weight: Weight) -> float:
    """Return the mean absolute error."""
    return _mean(abs(judged.true - judged.said).mean(axis=1), weight)


def mse(judged: Numbers, weight: Weight) -> float:
    """Return the mean squared error."""
    return _mean(((judged.true - judged.said) ** 2).mean(axis=1), weight)


def rmse(judged: Numbers, weight: Weight) -> float:
    """Return the root of the mean squared error, of several columns the mean of their roots."""
    columns = zip(judged.true.T, judged.said.T, strict=True)
    return float(np.mean([np.sqrt(_mean((true - said) ** 2, weight)) for true, said in columns]))


def r2(judged: Numbers, weight: Weight) -> float:
    """Return ``1 - sum (y - p)^2 / sum (y - mean y)^2``, of several columns the mean.

    A column that does not vary has 1 if it is met, else 0; a single row has NaN.
    """
    true, said = judged.true, judged.said
    if len(true) < 2:
        return np.nan
    spread = weight @ (true - (weight @ true) / weight.sum()) ** 2
    spread[(true == true[0]).all(axis=0)] = 0.0  # whatever rounding made of the mean
    wrong = weight @ (true - said) ** 2
    part = np.divide(wrong, spread, out=(wrong != 0).astype(float), where=spread != 0)
    return float((1 - part).mean())


def pinball(judged: Numbers, weight: Weight, quantile: float) -> float:
    """Return the mean of ``q (y - p)`` where y is larger, and of ``(1 - q) (p - y)`` elsewhere."""
    d = judged.true - judged.said
    return _mean(np.maximum(quantile * d, (quantile - 1) * d).mean(axis=1), weight)


_CLASSES, _LABELS, _NUMBERS = (Classes,), (Classes, Labels), (Numbers,)
METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, _LABELS, larger=True),
    "top": Metric(top, _CLASSES, larger=True, number=int),
    **{
        name + suffix: Metric(
            partial(_of_counts, ratio, average),
            _CLASSES if average is _binary else _LABELS,
            larger=True,
            two_classes=average is _binary,
        )
        for name, ratio in (("f1", _f1), ("precision", _precision), ("recall", _recall))
        for suffix, average in (("", _binary), ("_macro", _macro), ("_micro", _micro))
    },
    "auc": Metric(auc, _LABELS, larger=True),
    "log_loss": Metric(log_loss, _CLASSES, larger=False),
    "mae": Metric(mae, _NUMBERS, larger=False),
    "mse": Metric(mse, _NUMBERS, larger=False),
    "rmse": Metric(rmse, _NUMBERS, larger=False),
    "r2": Metric(r2, _NUMBERS, larger=True),
    "pinball": Metric(pinball, _NUMBERS, larger=False, number=float, default=0.5),
}


def metric_names() -> str:
    """Return the names of the table, for messages and docstrings."""
    behind = {int: "_<k>", float: "_<q>"}
    return ", ".join(name + (behind[entry.number] if entry.number else "") for name, entry in METRICS.items())


def entry_of(name: str) -> tuple[Metric | None, str]:
    """Return the entry of a name, and the number that stands behind it: of "top_5" that of "top", and "5"."""
    if name in METRICS:
        return METRICS[name], ""
    first, _, number = name.partition("_")
    entry = METRICS.get(first)
    return (entry, number) if entry and entry.number else (None, "")


def larger_is_better(figure: str) -> bool | None:
    """Whether larger is better of a figure of a history; None if that is not known."""
    name = figure.removeprefix("val_")
    entry, _ = entry_of(name)
    if entry:
        return entry.larger
    return False if name == "loss" else name.endswith("accuracy") or None
