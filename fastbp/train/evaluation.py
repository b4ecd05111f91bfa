"""What a model reaches on rows: the loss, the accuracy where there is one, and metrics."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.nn.loss import Loss, Targets
from fastbp.nn.own_losses import takes_weight
from fastbp.nn.sequential import Sequential
from fastbp.train.metrics import METRICS, entry_of, metric_names
from fastbp.train.outputs import Classes, forms_of, judged, true_of
from fastbp.train.samples import Samples

Array = NDArray[Any]
MetricLike = str | Callable[..., float]


class Chosen(NamedTuple):
    """A metric that was asked for.

    name : of the figure
    function : of judged outputs and weights, see `metrics.Metric`; one of the user's of targets and outputs
    form : of the outputs; None for a function of the user's
    """

    name: str
    function: Callable[..., float]
    form: type | None


ACCURACY = Chosen("accuracy", METRICS["accuracy"].function, Classes)


def chosen_metrics(metrics: Iterable[MetricLike], loss: Loss, samples: Samples, outputs: int, who: str) -> list[Chosen]:
    """Return the metrics of samples, the accuracy of classes first; an error for one that there cannot be.

    `outputs` is how many there are, and `who` whose argument it is.
    """
    targets = samples.targets
    if isinstance(metrics, (str, bytes)) or not isinstance(metrics, Iterable):
        raise TypeError(f"{who} expects metrics to be a list of names and functions, got {metrics!r}")
    found = [ACCURACY] if targets.labelled else []
    for metric in metrics:
        if isinstance(metric, str):
            one = _named(metric, loss, targets, outputs, who)
        else:
            one = _function(metric, samples, who)
        if one.name not in [before.name for before in found]:
            found.append(one)
        elif one != ACCURACY:
            raise ValueError(f"{who} expects metrics of different names, got {one.name} again")
    return found


def _named(name: str, loss: Loss, targets: Targets, outputs: int, who: str) -> Chosen:
    entry, behind = entry_of(name)
    if entry is None:
        raise ValueError(f"{who} expects metrics to be functions or among {metric_names()}; got {name!r}")
    forms = [form for form in entry.takes if form in forms_of(loss, outputs)]
    if not forms:
        each = outputs // (loss.target_width(outputs) or outputs)
        says = loss._says + (f", {each} for each of the targets" if each > 1 else "")
        raise ValueError(f"{who} expects no {name} with the loss {loss._who}: its outputs are {says}")
    try:
        true_of(forms[0], targets, outputs)
    except ValueError as error:
        raise ValueError(f"{who} expects for {name} {error}") from None
    if entry.two_classes and outputs > 2:
        raise ValueError(f"{who} expects two classes for {name}, got {outputs}; take {name}_macro or {name}_micro")
    function = entry.function
    if entry.number is None:
        return Chosen(name, function, forms[0])
    number = _number(behind, entry.number, entry.default)
    largest = max(outputs, 2) if entry.number is int else 1
    if number is None or not 0 < number < largest:
        raise ValueError(f"{who} expects a number between 0 and {largest} behind {name.split('_')[0]}_, got {name!r}")
    return Chosen(name, lambda judged, weight: function(judged, weight, number), forms[0])


def _number(text: str, kind: type[int] | type[float], default: float | None) -> float | None:
    try:
        return kind(text) if text else default
    except ValueError:
        return None


def _function(metric: Any, samples: Samples, who: str) -> Chosen:
    name = getattr(metric, "__name__", "")
    if not callable(metric) or not name.isidentifier():
        raise TypeError(f"{who} expects metrics to be names, or functions with a name of their own, got {metric!r}")
    if name == "loss" or entry_of(name)[0]:
        raise ValueError(f"{who} expects functions of metrics not to be named {name}, which is another figure")
    if samples.weight.size and not takes_weight(metric):
        raise TypeError(
            f"{who} expects no sample_weight with the metric {name}, which takes targets and outputs alone: give it a "
            f"third parameter, {name}(targets, outputs, sample_weight)"
        )
    return Chosen(name, metric, None)


def figures_of(
    model: Sequential, loss: Loss, samples: Samples, y: Any, metrics: Iterable[MetricLike], who: str
) -> dict[str, float]:
    """Return the figures by name; `y` are the targets as they were given."""
    samples = samples._replace(targets=samples.targets.as_classes())
    chosen = chosen_metrics(metrics, loss, samples, model.out_features, who)
    z = model.predict(samples.x)
    value = loss.value(z, y, samples.weight if samples.weight.size else None)
    return {"loss": value} | scores(chosen, loss, samples, z)


def scores(chosen: Iterable[Chosen], loss: Loss, samples: Samples, z: Array) -> dict[str, float]:
    """Return what metrics say of outputs, without the rows of the ignored label; NaN where no row counts."""
    targets, weight = samples.targets, samples.weight
    if targets.labels.size:
        counted = targets.labels != loss.ignore_index  # type: ignore[attr-defined]  # losses of labels have it
        if np.count_nonzero(counted) < len(counted):
            z, targets = z[counted], targets._replace(labels=targets.labels[counted])
            weight = weight[counted] if weight.size else weight
    if not len(z) or (weight.size and not weight.any()):
        return {one.name: np.nan for one in chosen}
    weights = weight.astype(np.float64) if weight.size else np.ones(len(z))
    return {
        one.name: _of_function(one, targets, z, weight)
        if one.form is None
        else one.function(judged(one.form, true_of(one.form, targets, z.shape[1]), z), weights)
        for one in chosen
    }


def _of_function(metric: Chosen, targets: Targets, z: Array, weight: Array) -> float:
    y = targets.labels if targets.labels.size else targets.values[:]
    more = {"sample_weight": weight if weight.size else None} if takes_weight(metric.function) else {}
    value = metric.function(y, z, **more)
    if np.ndim(value) or np.asarray(value).dtype.kind not in "fiub":
        raise TypeError(f"the metric {metric.name} should return a number, got {value!r}")
    return float(value)
