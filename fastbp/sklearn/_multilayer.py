"""What the classifier and the regressor have in common: fitting by epochs or by L-BFGS, and predicting."""

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import _fit_context, is_classifier
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._base import ACTIVATIONS as OUTPUT_ACTIVATIONS
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastbp._threads import at_most
from fastbp.sequential import Sequential
from fastbp.sklearn._batches import Samples, batch_sizes, dense_rows, pieces
from fastbp.sklearn._by_hand import minimize
from fastbp.sklearn._networks import ACTIVATIONS, biases_of, is_of, network_of, weights_of
from fastbp.sklearn._objectives import Objective
from fastbp.sklearn._solvers import ByHandSolver, CompiledSolver, schedule_of
from fastbp.sklearn._tasks import Tasks

Array = NDArray[Any]

CONSTRAINTS: dict[str, list[Any]] = {
    **BaseMultilayerPerceptron._parameter_constraints,
    "activation": [StrOptions(set(ACTIVATIONS))],
    "early_stopping": ["boolean", StrOptions({"loss"})],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "n_jobs": [Integral, None],
}


class Multilayer(CallbackSupportMixin):
    """Comes before one of scikit-learn's two classes: its fitting and predicting by fastbp's steps.

    `coefs_` and `intercepts_` are the truth. `_model` is a fastbp model whose parameters they are views of; it is made
    anew where a user, or pickle, put other arrays there. `_solver` holds the moments of "sgd" and "adam".
    """

    coefs_: list[Array]
    intercepts_: list[Array]
    validation_loss_curve_: Any
    validation_scores_: Any
    best_loss_: Any
    best_validation_score_: Any
    _best_coefs: list[Array]
    _best_intercepts: list[Array]
    _no_improvement_count: int
    _optimizer: Any
    _is_compiled: bool

    def _objective(self) -> Objective:
        """Return what is minimized."""
        raise NotImplementedError

    def _output_width(self) -> int:
        """Return the network's number of outputs."""
        return int(self.n_outputs_)

    def _counts(self, X: Any, y: Array, sample_weight: Any) -> Array | None:
        """Return what each sample counts for, or None where all count for one."""
        return None if sample_weight is None else np.asarray(_check_sample_weight(sample_weight, X))

    @property
    def _threads(self) -> int | None:
        return None if self.n_jobs is None else int(effective_n_jobs(self.n_jobs))

    def _bound_model(self) -> Sequential:
        """Return the model of `coefs_` and `intercepts_`."""
        model: Sequential | None = self.__dict__.get("_model")
        if model is None or not is_of(model, self.coefs_, self.intercepts_, self.activation):
            arrays = [np.asarray(c) for c in self.coefs_], [np.atleast_1d(b) for b in self.intercepts_]
            model = network_of(*arrays, self.activation)
            self.coefs_, self.intercepts_ = weights_of(model), biases_of(model)
            self._model = model
        return model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_model", None)
        solver = state.pop("_solver", None)
        if isinstance(solver, CompiledSolver):
            state["_moments"] = solver.moments()
        return state

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
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._validate_input(X, y, incremental, reset=first)
        sample_weight = self._counts(X, y, sample_weight)
        if y.ndim == 1:
            y = y.reshape(-1, 1)
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize(y, [X.shape[1], *hidden, self._output_width()], X.dtype)
            self.validation_loss_curve_ = [] if self.early_stopping else None
            if self.early_stopping == "loss":
                self.best_loss_ = np.inf
        with at_most(self._threads):
            if self.solver == "lbfgs":
                self._fit_lbfgs(X, y, sample_weight, tasks)
            else:
                self._fit_stochastic(X, y, sample_weight, incremental, tasks)
        if not np.isfinite(self._bound_model()._params).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _fit_lbfgs(self, X: Any, y: Array, sample_weight: Array | None, tasks: Tasks | None) -> None:
        model, objective = self._bound_model(), self._objective()
        samples = Samples(X, y, sample_weight, model, objective)

        def end_iteration(_: Array) -> None:
            if tasks is not None:
                tasks.begin()
                if tasks.end():
                    raise StopIteration

        result = minimize(
            model, samples, objective, self.alpha, end_iteration, maxfun=self.max_fun, maxiter=self.max_iter,
            gtol=self.tol,
        )  # fmt: skip
        self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        self.loss_ = result.fun
        if self.verbose:
            print(f"L-BFGS: {result.message} {self.n_iter_} iterations, loss = {self.loss_:.8f}")

    def _new_solver(self, model: Sequential, objective: Objective, incremental: bool) -> CompiledSolver | ByHandSolver:
        """Return a solver; where fitting is incremental, one that goes on where the last ended."""
        old, moments = self.__dict__.get("_solver"), self.__dict__.pop("_moments", None)
        compiled = objective.compiled and not self.dropout
        # The two kinds keep their moments in different places.
        fresh = not incremental or not hasattr(self, "_optimizer") or self._is_compiled != compiled
        self._is_compiled = compiled
        if fresh:
            self._optimizer = schedule_of(self, [] if compiled else weights_of(model) + biases_of(model))
        if not compiled:
            return ByHandSolver(model, self._optimizer, self.dropout, self._random_state)
        if not fresh and isinstance(old, CompiledSolver):
            if old.model is model:
                return old
            moments = old.moments()
        solver = CompiledSolver(model, objective, self._optimizer)
        if not fresh and moments is not None:
            solver.go_on_from(moments)
        return solver

    def _fit_stochastic(
        self, X: Any, y: Array, sample_weight: Array | None, incremental: bool, tasks: Tasks | None
    ) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        model, objective = self._bound_model(), self._objective()
        solver = self._solver = self._new_solver(model, objective, incremental)
        held_out = None
        if self.early_stopping:
            X, y, sample_weight, held_out = self._hold_out(X, y, sample_weight, model, objective)
        samples = Samples(X, y, sample_weight, model, objective)
        n = len(samples)
        batch = min(200, n)
        if self.batch_size != "auto":
            if self.batch_size > n:
                warnings.warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=4
                )
            batch = int(np.clip(self.batch_size, 1, n))
        counts = batch_sizes(n, batch)
        order = np.arange(n, dtype=np.int64)
        try:
            self.n_iter_ = 0
            while self.n_iter_ < self.max_iter:
                if tasks is not None:
                    tasks.begin()
                if self.shuffle:  # the order that sklearn.utils.shuffle would make
                    turn = np.arange(n)
                    self._random_state.shuffle(turn)
                    order = order[turn]
                losses = solver.epoch(samples, objective, order, batch, self.alpha)
                self.n_iter_ += 1
                self.loss_ = float(losses @ counts) / n
                self.t_ += n
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                self._note_improvement(held_out, objective)
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
        if held_out is not None:
            for now, best in zip(self.coefs_ + self.intercepts_, self._best_coefs + self._best_intercepts, strict=True):
                now[...] = best

    def _hold_out(
        self, X: Any, y: Array, sample_weight: Array | None, model: Sequential, objective: Objective
    ) -> tuple[Any, Array, Array | None, tuple[Samples, Any]]:
        """Return what is trained on; and what is not, with the labels that a score takes."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(
            *arrays, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        X_val, y_val = parts[1], parts[3]
        if X_val.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        weights = (None, None) if sample_weight is None else (parts[4], parts[5])
        held_out = Samples(X_val, y_val, weights[1], model, objective)
        labels = self._label_binarizer.inverse_transform(y_val) if is_classifier(self) else y_val
        return parts[0], parts[2], weights[0], (held_out, labels)

    def _note_improvement(self, held_out: tuple[Samples, Any] | None, objective: Objective) -> None:
        """Count the epochs that brought nothing, by the loss, or by the score or the loss of what is held out."""
        loss = self.loss_
        if held_out is not None:
            samples, labels = held_out
            loss = self._loss_of(samples, objective)
            score = self._score(samples.x, labels, sample_weight=samples.weight)
            self.validation_loss_curve_.append(loss)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}, loss: {loss:f}")
        by_score = held_out is not None and self.early_stopping != "loss"
        value, best = (score, self.best_validation_score_) if by_score else (-loss, -self.best_loss_)
        self._no_improvement_count = self._no_improvement_count + 1 if value < best + self.tol else 0
        if not value > best:
            return
        if not by_score:
            self.best_loss_ = loss
        if held_out is not None:
            self.best_validation_score_ = score
            self._best_coefs = [c.copy() for c in self.coefs_]
            self._best_intercepts = [b.copy() for b in self.intercepts_]

    def _is_stuck(self) -> bool:
        """Whether to stop, as nothing got better for long; the schedule may go on with a lower learning rate."""
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        what = "Training loss"
        if self.early_stopping:
            what = "Validation loss" if self.early_stopping == "loss" else "Validation score"
        message = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        if self._optimizer.trigger_stopping(message, self.verbose):
            return True
        self._no_improvement_count = 0
        return False

    def _loss_of(self, samples: Samples, objective: Objective) -> float:
        """Return the mean loss of samples, as they count, without a penalty."""
        weight = np.ones(len(samples)) if samples.weight is None else samples.weight
        value, _ = objective.value_and_gradient(self._outputs(samples.x), samples.targets, weight / weight.sum())
        return value

    def _outputs(self, X: Any) -> Array:
        """Return what the last layer gives for the rows of X, before any activation."""
        model = self._bound_model()
        with at_most(self._threads):
            parts = [model.predict(dense_rows(X[part], model.dtype)) for part in pieces(X, model.dtype)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> Array:
        """Return the network's outputs; what scikit-learn's methods predict with."""
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        outputs = self._outputs(X.tocsr() if sparse.issparse(X) else X)
        OUTPUT_ACTIVATIONS[self.out_activation_](outputs)
        return outputs
