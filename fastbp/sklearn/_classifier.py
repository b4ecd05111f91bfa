"""The classifier."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier as Original
from sklearn.neural_network._base import ACTIVATIONS as OUTPUT_ACTIVATIONS
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions

from fastbp._base.docs import with_lists
from fastbp.sklearn._multilayer import CONSTRAINTS, Multilayer
from fastbp.sklearn._networks import LISTED
from fastbp.sklearn._objectives import Objective, logistic, softmax
from fastbp.sklearn._tasks import Tasks

Array = NDArray[Any]
# Numbers that differ by more than so many eps have probabilities that differ.
CLOSE = 64


def _weight_by_class(given: Any, classes: list[Any], which: Array) -> Array:
    """Return what each sample counts for by its class, ``classes[which]``."""
    if given == "balanced":
        balanced: Array = compute_sample_weight("balanced", which)
        return balanced
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise ValueError(f"class_weight expects a dict or 'balanced' here, got {given}")
    # As in scikit-learn, a dict may name more classes if it names all of these.
    unknown = [name for name in given if name not in classes]
    if unknown and not all(name in given for name in classes):
        raise ValueError(f"class_weight expects some of the classes {classes}, got {unknown}")
    return np.array([given.get(name, 1.0) for name in classes], np.float64)[which]


def _plainly_largest(z: Array) -> NDArray[np.intp] | None:
    """Return the place of the largest number of each row; None where some are so close that their exp may be the same.

    scikit-learn takes the first of the largest probabilities. NaN and infinities are left to it, too.
    """
    best = z.argmax(axis=1)
    with np.errstate(invalid="ignore"):
        close = z > (z[np.arange(len(z)), best] - CLOSE * np.finfo(z.dtype).eps)[:, np.newaxis]
    return best if np.count_nonzero(close) == len(z) else None


@with_lists(activations=LISTED)
class MLPClassifier(Multilayer, Original):
    """A multi-layer perceptron that classifies: scikit-learn's class of that name, trained by compiled steps.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, ..., max_fun
        As `sklearn.neural_network.MLPClassifier` has them; and the following, by name alone.
    activation : str, default "relu"
        Of the hidden layers: {activations}.
    early_stopping : bool or "loss", default False
        True watches the score of the part that is held out, "loss" its loss. The weights of the best epoch are kept;
        with `warm_start`, where no epoch is the best of all fits so far, those of the last.
    class_weight : dict, list of dict or "balanced", optional
        How much each class counts in the loss, as in scikit-learn's other classifiers. A list is for several labels.
        Scores, `validation_scores_` too, do not know of it: there `sample_weight` alone counts.
    label_smoothing : float in [0, 1], default 0.0
        The part of each target that is spread over all classes; over yes and no where there are two classes, or
        several labels.
    dropout : float in [0, 1), default 0.0
        Probability with which a hidden unit is left out of a training step; the rest is scaled up. Only for "sgd" and
        "adam". Steps are then made layer by layer, which is slower.
    n_jobs : int, optional
        How many threads to use; without it as many as `fastbp.get_num_threads` says. It changes no result.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        The network's parameters, shapes (n_in, n_out) and (n_out,): what they hold is what predicts and is trained.
        Those of a fit are views of the memory that the kernels read; other arrays may be put in their place, and are
        copied there at each call.
    validation_loss_curve_ : list of float, or None
        The loss of the part that is held out, after each epoch and without the penalty; with `early_stopping`.
    best_loss_ : float or None
        With ``early_stopping="loss"`` the lowest loss of the part that is held out.
    classes_, loss_, loss_curve_, validation_scores_, best_validation_score_, t_, n_iter_, n_layers_, n_outputs_, \
out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    Initial weights, orders and splits are drawn from `random_state` as scikit-learn draws them, so that results are
    scikit-learn's but for rounding. Of a sparse matrix the stored numbers alone are read, in fits and predictions; with
    `dropout` its rows are made dense, a batch at a time. `loss_` takes probabilities as they are, where scikit-learn
    keeps them away from 0 and 1. A batch in which no sample counts makes no step.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fastbp.sklearn import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((64,), learning_rate_init=0.01, random_state=0).fit(X[:1000] / 16, y[:1000])
    >>> model.score(X[1000:] / 16, y[1000:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool | str = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.dropout = dropout
        self.n_jobs = n_jobs

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False, tasks: Tasks | None = None
    ) -> Any:
        each = self.class_weight if isinstance(self.class_weight, list) else [self.class_weight]
        if incremental and "balanced" in each:
            raise ValueError(
                "partial_fit expects class_weight to be a dict or None: 'balanced' would take all samples at once"
            )
        return super()._fit(X, y, sample_weight, incremental, tasks)

    def _counts(self, y: Array, sample_weight: Array | None) -> Array | None:
        given = self.class_weight
        if given is None:
            return sample_weight
        if not self._label_binarizer.y_type_.startswith("multilabel"):
            which = y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0].astype(int)
            weight = _weight_by_class(given, self.classes_.tolist(), which)
        else:
            labels = y.shape[1]
            each = [given] * labels if given == "balanced" else given
            if not isinstance(each, list) or len(each) != labels:
                raise ValueError(
                    f"class_weight expects 'balanced' or a list of {labels} dicts, one for each label, got {given}"
                )
            columns = zip(each, y.T.astype(int), strict=True)
            weight = np.prod([_weight_by_class(one, [0, 1], which) for one, which in columns], axis=0)
        return weight if sample_weight is None else weight * sample_weight

    def _predict(self, X: Any, check_input: bool = True) -> Any:
        if self.out_activation_ != "softmax":
            return super()._predict(X, check_input)
        outputs = self._valid_outputs(X, check_input)
        best = _plainly_largest(outputs)
        if best is not None:
            return self._label_binarizer.classes_.take(best)
        OUTPUT_ACTIVATIONS["softmax"](outputs)
        return self._label_binarizer.inverse_transform(outputs)

    def _objective(self) -> Objective:
        return (softmax if self.out_activation_ == "softmax" else logistic)(self.label_smoothing)
