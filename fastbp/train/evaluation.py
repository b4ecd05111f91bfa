"""What a model reaches on rows: the loss, the accuracy where there is one, and metrics."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base.docs import with_lists
from fastbp._base.inputs import Readable
from fastbp.data.blocks import Blocks
from fastbp.nn.loss import Loss, Targets
from fastbp.nn.member_outputs import averaged_for, each_member
from fastbp.nn.own_losses import takes_weight
from fastbp.nn.sequential import Sequential
from fastbp.train.averages import evaluated
from fastbp.train.given import samples_of
from fastbp.train.metrics import METRICS, entry_of, metric_names
from fastbp.train.outputs import Classes, forms_of, judged, true_of
from fastbp.train.samples import Samples
from fastbp.train.single_step import SingleStep
from fastbp.train.streamed import outputs_of

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


def listed(metrics: Iterable[MetricLike], who: str) -> list[MetricLike]:
    """Return a list of metrics, an argument of `who`; TypeError for what cannot be one."""
    if isinstance(metrics, (str, bytes)) or not isinstance(metrics, Iterable):
        raise TypeError(f"{who} expects metrics to be a list of names and functions, got {metrics!r}")
    return list(metrics)


def chosen_metrics(metrics: Iterable[MetricLike], loss: Loss, samples: Samples, outputs: int, who: str) -> list[Chosen]:
    """Return the metrics of samples, the accuracy of classes first; an error for one that there cannot be.

    `outputs` is how many there are, and `who` whose argument it is.
    """
    targets = samples.targets
    found = [ACCURACY] if targets.labelled else []
    for metric in listed(metrics, who):
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
            f"{who} expects no sample_weight with the metric {name}, which has no parameter of that name: "
            f"write {name}(targets, outputs, sample_weight)"
        )
    return Chosen(name, metric, None)


def figures_of(
    model: Sequential, loss: Loss, samples: Samples, y: Any, metrics: Iterable[MetricLike], who: str, z: Any = None
) -> dict[str, float]:
    """Return the figures by name; `y` are the targets as they were given, `z` the model's outputs if they are there."""
    samples = samples._replace(targets=samples.targets.as_classes())
    chosen = chosen_metrics(metrics, loss, samples, model._outputs, who)
    z, weight = model.predict(samples.x) if z is None else z, samples.weight if samples.weight.size else None
    value = loss.value(*each_member(loss, z, y, weight, model.members))
    return {"loss": value} | scores(chosen, loss, samples, averaged_for(loss, z, model.members))


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


class Evaluating(SingleStep):
    """The part of a `Trainer` that says what its model reaches on rows."""

    @with_lists(metrics=metric_names())
    def evaluate(
        self,
        x: ArrayLike | Readable | Blocks,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        metrics: Iterable[MetricLike] = (),
    ) -> dict[str, float]:
        """Return the loss over all rows, for class labels and one-hot rows the accuracy, and metrics.

        Parameters
        ----------
        x, y
            As in `step`; or x alone, `fastbp.Blocks`, of which outputs and targets are kept and one block's rows.
        sample_weight : array_like of shape (samples,), optional
            How much each row counts: the means become weighted means. Class weights of the loss count in it as in
            training, and in nothing else.
        metrics : iterable of str or callable, default ()
            Names: {metrics}.
            They mean what they mean in scikit-learn, and of several columns their mean. "f1", "precision" and "recall"
            take two classes, or a single logit; "auc" is the second's of two classes, and of more the mean of each
            against the rest. k says how many of the largest outputs may be the class, q is a quantile, 0.5 without it.
            Whether outputs are classes, labels of yes or no, or numbers is known of the loss, and with one of your own
            the metric says it.
            Or functions ``(targets, outputs) -> number``: targets are the class labels (rows,), else the numbers (rows,
            columns); outputs are what `Sequential.predict` returns, logits where there are classes. A function is named
            by its ``__name__``, and is given weights if it has a parameter `sample_weight`.

        Returns
        -------
        dict
            ``{"loss": ..., "accuracy": ..., "f1": ...}``; rows with the ignored label count for none. Where no row
            counts, NaN; so is an area under the curve where all rows are of one class.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or there is no such metric of these outputs and targets.
        """
        model, z, given = self._evaluated_model(), None, cast(Any, y)
        if isinstance(x, Blocks):
            if y is not None or sample_weight is not None:
                raise ValueError("evaluate expects no y and no sample_weight with blocks, which have their own")
            samples = outputs_of(x, partial(samples_of, self), model.predict)
            given, z = samples.targets.labels if samples.targets.labels.size else samples.targets.values, samples.x
        elif y is None:
            raise TypeError("evaluate expects y with x, got None")
        else:
            samples = samples_of(self, x, y, sample_weight)
        return figures_of(model, self.loss, samples, given, metrics, "evaluate", z)

    def averaged_model(self) -> Sequential:
        """Return a copy of the model with the averages of its parameters; what is no parameter is as it is now.

        Returns
        -------
        Sequential
            Before the first step, with the parameters themselves.

        Raises
        ------
        ValueError
            If the trainer was made without ``ema``.

        Examples
        --------
        >>> import numpy as np, fastbp
        >>> model = fastbp.mlp([2, 1], bias=False, rng=0)
        >>> trainer = fastbp.Trainer(model, "mse", fastbp.SGD(0.1), ema=0.75)
        >>> weights = []
        >>> for _ in range(2):
        ...     loss = trainer.step(np.eye(2), [1.0, 2.0])
        ...     weights.append(model[0].weight.copy())
        >>> average = 0.75 * weights[0] + 0.25 * weights[1]
        >>> bool(np.allclose(trainer.averaged_model()[0].weight, average))
        True
        """
        if self.ema is None:
            raise ValueError("averaged_model expects a Trainer with averages: give it ema, such as 0.999")
        with self._alone:
            model = copy.deepcopy(self._model)
            model._params[...] = evaluated(self._model, self._averages)
        return model

    def _evaluated_model(self) -> Sequential:
        return self.model if self._averages is None else self.averaged_model()
