"""What the classifier and the regressor have in common: fitting by epochs or by L-BFGS, and predicting."""

import math
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._base import ACTIVATIONS as OUTPUT_ACTIVATIONS
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastbp._base.check import FLOATS
from fastbp._base.inputs import Readable
from fastbp._base.threads import at_most
from fastbp.sklearn._batches import Samples, batch_sizes
from fastbp.sklearn._by_hand import minimize
from fastbp.sklearn._networks import NAMES, check_apart
from fastbp.sklearn._objectives import Objective
from fastbp.sklearn._stopping import Stopping
from fastbp.sklearn._tasks import Tasks

Array = NDArray[Any]

CONSTRAINTS: dict[str, list[Any]] = {
    **BaseMultilayerPerceptron._parameter_constraints,
    "activation": [StrOptions(set(NAMES))],
    "early_stopping": ["boolean", StrOptions({"loss"})],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "n_jobs": [Integral, None],
}


# Sparse matrices that scikit-learn takes as they are
SPARSE = (sparse.csr_matrix, sparse.csr_array)


class Multilayer(Stopping, CallbackSupportMixin):
    """Comes before one of scikit-learn's two classes: its fitting and predicting by fastbp's steps."""

    def _objective(self) -> Objective:
        """Return what is minimized."""
        raise NotImplementedError

    def _output_width(self) -> int:
        """Return the network's number of outputs."""
        return int(self.n_outputs_)

    def _counts(self, y: Array, sample_weight: Array | None) -> Array | None:
        """Return what each sample counts for in the loss, or None where all count for one."""
        return sample_weight

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit the model to X and y.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            float32 and float64 are kept; anything else becomes float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or an indicator of several labels; numbers for a regressor.
        sample_weight : array-like of shape (n_samples,), optional
            How much each sample counts.

        Returns
        -------
        self
        """
        tasks = Tasks(self, self._init_callback_context(max_subtasks=self.max_iter), X, y, sample_weight)
        tasks.begin_fit()
        self._fit(X, y, sample_weight, tasks=tasks)
        tasks.end_fit()
        return self

    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False, tasks: Tasks | None = None
    ) -> Any:
        hidden = self.hidden_layer_sizes
        hidden = list(hidden) if hasattr(hidden, "__iter__") else [hidden]
        if np.any(np.array(hidden) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        self._refuse_readable(X, y)
        X, y = self._validate_input(X, y, incremental, reset=first)
        y = at_most_64_bits(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        if y.ndim == 1:
            y = y.reshape(-1, 1)
        counts = self._counts(y, sample_weight)
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize(y, [X.shape[1], *hidden, self._output_width()], X.dtype)
            self._move_in()
            self._best_coefs, self._best_intercepts = self.coefs_, self.intercepts_
            self.validation_loss_curve_ = [] if self.early_stopping else None
        check_apart(self.coefs_, self.intercepts_)
        with at_most(self._threads):
            if self.solver == "lbfgs":
                self._fit_lbfgs(X, y, counts, tasks)
            else:
                self._fit_stochastic(X, y, sample_weight, counts, first, incremental, tasks)
        if not np.isfinite(self._bound_model()._params).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _fit_lbfgs(self, X: Any, y: Array, counts: Array | None, tasks: Tasks | None) -> None:
        objective = self._objective()
        with self._training() as model:

            def end_iteration(_: Array) -> None:
                if tasks is not None:
                    self._give_back(model)
                    tasks.begin()
                    if tasks.end():
                        raise StopIteration

            result = minimize(
                model, Samples(X, y, counts, model, objective), objective, self.alpha, end_iteration,
                maxfun=self.max_fun, maxiter=self.max_iter, gtol=self.tol,
            )  # fmt: skip
        self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        self.loss_ = result.fun
        if self.verbose:
            print(f"L-BFGS: {result.message} {self.n_iter_} iterations, loss = {self.loss_:.8f}")

    def _fit_stochastic(
        self,
        X: Any,
        y: Array,
        sample_weight: Array | None,
        counts: Array | None,
        first: bool,
        incremental: bool,
        tasks: Tasks | None,
    ) -> None:
        model, objective = self._bound_model(), self._objective()
        if not incremental or not hasattr(self, "_optimizer"):
            self._new_optimizer(model, not self._steps_by_hand())
        self._begin_watching()
        held_out = None
        if self.early_stopping:
            X, y, counts, held_out = self._hold_out(X, y, sample_weight, counts, model, objective)
        samples = Samples(X, y, counts, model, objective)
        n = len(samples)
        batch = min(200, n)
        if self.batch_size != "auto":
            if self.batch_size > n:
                warnings.warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=4
                )
            batch = int(np.clip(self.batch_size, 1, n))
        rows = batch_sizes(n, batch)
        order = np.arange(n, dtype=np.int64)
        # As in scikit-learn, a fit that goes on from another keeps its last epoch if none is the best of all so far.
        best = model._params.copy() if first and held_out is not None else None
        try:
            self.n_iter_ = 0
            while self.n_iter_ < self.max_iter:
                if tasks is not None:
                    tasks.begin()
                if self.shuffle:  # the order that sklearn.utils.shuffle would make
                    turn = np.arange(n)
                    self._random_state.shuffle(turn)
                    order = order[turn]
                with self._training() as model:
                    samples.check(model)
                    solver = self._solver = self._solver_of(model, objective)
                    losses = solver.epoch(samples, objective, order, batch, self.alpha)
                self.n_iter_ += 1
                self.loss_ = float(losses @ rows) / n
                self.t_ += n
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if self._note_improvement(held_out, objective) and held_out is not None:
                    best = model._params.copy()
                self._optimizer.iteration_ends(self.t_)
                stopped = tasks is not None and tasks.end()
                if self._is_stuck() or stopped or incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                        "hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if best is not None:
            with self._training() as model:
                model._params[...] = best

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> Array:
        """Return the network's outputs; what scikit-learn's methods predict with."""
        outputs = self._valid_outputs(X, check_input)
        OUTPUT_ACTIVATIONS[self.out_activation_](outputs)
        return outputs

    def _valid_outputs(self, X: Any, check_input: bool) -> Array:
        """Return what the last layer gives for the rows of X, which are checked where asked."""
        if check_input and not self._is_valid(X):
            self._refuse_readable(X)
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return self._outputs(X.tocsr() if sparse.issparse(X) else at_most_64_bits(X))

    def _refuse_readable(self, *given: Any) -> None:
        """Raise TypeError for what a `Trainer` reads and scikit-learn cannot look at."""
        for each in given:
            if isinstance(each, Readable):
                who = type(self).__name__
                raise TypeError(
                    f"{who} expects arrays or sparse matrices, got {type(each).__name__}: put a scaler before {who} in "
                    "a pipeline, or train by fastbp.Trainer"
                )

    def _is_valid(self, X: Any) -> bool:
        """Whether scikit-learn would take X as it is: seen at once in an array of floats, where it looks for longer.

        So it is in a sparse one (CSR). Of all else, and of what is wrong with X, scikit-learn's validation is to find
        out.
        """
        return (
            (type(X) is np.ndarray or type(X) in SPARSE)
            and X.dtype in FLOATS
            and X.ndim == 2
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and X.shape[0] > 0
            and not hasattr(self, "feature_names_in_")
            and _is_finite(X if type(X) is np.ndarray else X.data)
        )


def at_most_64_bits(x: Array) -> Array:
    """Return numbers, those of a wider type as float64."""
    return x.astype(np.float64) if x.dtype.kind == "f" and x.dtype.itemsize > 8 else x


def _is_finite(x: Array) -> bool:
    """Whether the sum of all numbers is finite, as then each of them is."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(x.sum())
