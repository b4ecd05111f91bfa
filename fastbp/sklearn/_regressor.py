"""The regressor."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPRegressor as Original
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from fastbp._base.docs import with_lists
from fastbp.sklearn._multilayer import CONSTRAINTS, Multilayer
from fastbp.sklearn._networks import LISTED
from fastbp.sklearn._objectives import Objective, regression

Array = NDArray[Any]


@with_lists(activations=LISTED)
class MLPRegressor(Multilayer, Original):
    """A multi-layer perceptron that predicts numbers: scikit-learn's class of that name, trained by compiled steps.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "gaussian_nll"}, default "squared_error"
        scikit-learn's two, and the negative log-likelihood of a normal distribution of which the network gives mean
        and variance. With "poisson", steps are made layer by layer, which is slower.
    hidden_layer_sizes, activation, solver, ..., max_fun
        As `sklearn.neural_network.MLPRegressor` has them; and the following, by name alone.
    activation : str, default "relu"
        Of the hidden layers: {activations}.
    early_stopping : bool or "loss", default False
        True watches the score of the part that is held out, "loss" its loss. The weights of the best epoch are kept;
        with `warm_start`, where no epoch is the best of all fits so far, those of the last.
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
    loss_, loss_curve_, validation_scores_, best_validation_score_, t_, n_iter_, n_layers_, n_outputs_, \
out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    As for `MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from fastbp.sklearn import MLPRegressor
    >>> X, y = make_regression(200, 10, noise=1.0, random_state=0)
    >>> model = MLPRegressor(hidden_layer_sizes=(50,), solver="lbfgs", random_state=0).fit(X, y / 100)
    >>> model.score(X, y / 100) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "loss": [StrOptions({"squared_error", "poisson", "gaussian_nll"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
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
        dropout: float = 0.0,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(
            loss=loss,
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
        self.dropout = dropout
        self.n_jobs = n_jobs

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array]:
        X, y = super()._validate_input(X, y, incremental, reset)
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"MLPRegressor expects y of at least 0 with loss='poisson', got {y.min()}")
        return X, y

    def _output_width(self) -> int:
        return super()._output_width() * (2 if self.loss == "gaussian_nll" else 1)

    def _objective(self) -> Objective:
        return regression(self.loss, self.n_outputs_)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        return_std : bool, default False
            Whether to return the standard deviations too; with ``loss="gaussian_nll"``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), or two of them

        Raises
        ------
        ValueError
            If there are no standard deviations.
        """
        check_is_fitted(self)
        if not return_std:
            return self._predict(X)
        if self.loss != "gaussian_nll":
            raise ValueError(f"predict expects return_std only with loss='gaussian_nll', got loss={self.loss!r}")
        outputs = self._forward_pass_fast(X)
        return self._means(outputs), self._squeezed(np.exp(outputs[:, self.n_outputs_ :] / 2))

    def _predict(self, X: Any, check_input: bool = True) -> Array:
        return self._means(self._forward_pass_fast(X, check_input))

    def _means(self, outputs: Array) -> Array:
        return self._squeezed(outputs[:, : self.n_outputs_])

    def _squeezed(self, columns: Array) -> Array:
        return columns[:, 0] if self.n_outputs_ == 1 else columns
