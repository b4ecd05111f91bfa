"""The estimators of TabM."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastbp.tabular._docs import with_shared
from fastbp.tabular._tasks import TabularClassifier, TabularRegressor
from fastbp.train.callbacks import Callback


@with_shared
class TabMClassifier(TabularClassifier):
    """TabM-mini, a classifier of tables: an ensemble of members that share one network.

    A step takes `members` times as long as one of a single network of that size, and an epoch's best is known by
    the average of the members. See ``docs/tabular.md`` for the recipe.

    Parameters
    ----------
    members : int, default 32
        How many share the network, at most 256.
    {numbers}
    label_smoothing : float, optional
        The part of a label that is spread over all classes; the preset's, 0, where it is None.
    class_weight : "balanced" or dict, optional
        What rows of each class count for, in training and for the best epoch: as in scikit-learn.
    calibration : "temperature", optional
        Divide the members' logits by the number for which the average of their probabilities has the smallest
        cross-entropy in the rows held out.
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
    Gorishniy, Kotelnikov and Babenko, "TabM", 2025, https://arxiv.org/abs/2410.24210.

    Examples
    --------
    >>> import pandas
    >>> from fastbp.tabular import TabMClassifier
    >>> frame = pandas.DataFrame({"size": [1.5, None, 1.0, 9.0, 8.5, 10.0] * 20, "skin": ["blue", "red", "red"] * 40})
    >>> fruits = ["plum", "plum", "plum", "melon", "melon", "melon"] * 20
    >>> model = TabMClassifier(members=8, hidden=[64, 64], epochs=20, random_state=0).fit(frame, fruits)
    >>> model.predict(pandas.DataFrame({"size": [9.5, 1.2], "skin": [None, "blue"]}))
    array(['melon', 'plum'], dtype='<U5')
    """

    _preset = "tabm"

    def __init__(
        self,
        members: int = 32,
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
        self.members = members
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
class TabMRegressor(TabularRegressor):
    """TabM-mini, a regressor of tables: an ensemble of members that share one network.

    See `TabMClassifier`.

    Parameters
    ----------
    members : int, default 32
        How many share the network, at most 256.
    {numbers}
    {shared}

    Attributes
    ----------
    {attributes}

    References
    ----------
    Gorishniy, Kotelnikov and Babenko, "TabM", 2025, https://arxiv.org/abs/2410.24210.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from fastbp.tabular import TabMRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = TabMRegressor(members=8, hidden=[64, 64], epochs=40, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.4
    True
    """

    _preset = "tabm"

    def __init__(
        self,
        members: int = 32,
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
        self.members = members
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
