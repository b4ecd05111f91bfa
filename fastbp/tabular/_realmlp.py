"""The estimators of RealMLP."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastbp._base import check
from fastbp.tabular._docs import with_shared
from fastbp.tabular._tasks import TabularClassifier, TabularRegressor
from fastbp.train.callbacks import Callback

VARIANTS = {"td": "realmlp", "td-s": "realmlp-td-s"}  # the preset of each


class _Variants:
    variant: str

    @property
    def _preset(self) -> str:
        return str(check.choice(self.variant, VARIANTS, type(self).__name__, "variant"))


@with_shared
class RealMLPClassifier(_Variants, TabularClassifier):
    """RealMLP, a classifier of tables: a multilayer perceptron with defaults that were tuned on many tables.

    Parameters
    ----------
    variant : {"td", "td-s"}, default "td"
        The recipe: TD of the paper, or TD-S, which is simpler and faster. See ``docs/tabular.md`` for what they are.
    {numbers}
    label_smoothing : float, optional
        The part of a label that is spread over all classes; the preset's where it is None.
    class_weight : "balanced" or dict, optional
        What rows of each class count for, in training and for the best epoch: as in scikit-learn.
    calibration : "temperature", optional
        Divide logits by the number for which the rows held out have the smallest cross-entropy. The classes that are
        predicted stay the same, and their probabilities come nearer to how often they are right.
    {shared}

    Attributes
    ----------
    {attributes}
    classes_ : ndarray
        The labels, in the order of the probabilities.
    temperature_ : float
        What logits were divided by; 1 without a calibration.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default", 2024.

    Examples
    --------
    >>> import pandas
    >>> from fastbp.tabular import RealMLPClassifier
    >>> frame = pandas.DataFrame({"size": [1.5, None, 1.0, 9.0, 8.5, 10.0] * 20, "skin": ["blue", "red", "red"] * 40})
    >>> fruits = ["plum", "plum", "plum", "melon", "melon", "melon"] * 20
    >>> model = RealMLPClassifier(epochs=20, random_state=0).fit(frame, fruits)
    >>> model.predict(pandas.DataFrame({"size": [9.5, 1.2], "skin": [None, "blue"]}))
    array(['melon', 'plum'], dtype='<U5')
    """

    def __init__(
        self,
        variant: str = "td",
        *,
        hidden: Sequence[int] | None = None,
        activation: str | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
        label_smoothing: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.2,
        class_weight: str | Mapping[Any, float] | None = None,
        calibration: str | None = None,
        categorical: Sequence[str] | None = None,
        numeric: Sequence[str] | None = None,
        drop: Sequence[str] | None = None,
        dtype: str = "float32",
        n_jobs: int | None = None,
        callbacks: Iterable[Callback] | None = None,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.variant = variant
        self.hidden = hidden
        self.activation = activation
        self.lr = lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.calibration = calibration
        self.categorical = categorical
        self.numeric = numeric
        self.drop = drop
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state


@with_shared
class RealMLPRegressor(_Variants, TabularRegressor):
    """RealMLP, a regressor of tables: a multilayer perceptron with defaults that were tuned on many tables.

    Parameters
    ----------
    variant : {"td", "td-s"}, default "td"
        The recipe: TD of the paper, or TD-S, which is simpler and faster. See ``docs/tabular.md`` for what they are.
    {numbers}
    {shared}

    Attributes
    ----------
    {attributes}

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default", 2024.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from fastbp.tabular import RealMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = RealMLPRegressor("td-s", epochs=20, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.4
    True
    """

    def __init__(
        self,
        variant: str = "td",
        *,
        hidden: Sequence[int] | None = None,
        activation: str | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.2,
        categorical: Sequence[str] | None = None,
        numeric: Sequence[str] | None = None,
        drop: Sequence[str] | None = None,
        dtype: str = "float32",
        n_jobs: int | None = None,
        callbacks: Iterable[Callback] | None = None,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.variant = variant
        self.hidden = hidden
        self.activation = activation
        self.lr = lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.categorical = categorical
        self.numeric = numeric
        self.drop = drop
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state
