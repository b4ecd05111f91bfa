"""What an estimator keeps from call to call: its parameters and the moments of "sgd" and "adam"."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import sklearn
from joblib import effective_n_jobs
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from fastbp._base.threads import at_most
from fastbp.nn.sequential import Sequential
from fastbp.sklearn._networks import biases_of, model_of, parameters_of, updated, weights_of
from fastbp.sklearn._objectives import Objective
from fastbp.sklearn._solvers import ByHandSolver, CompiledSolver, moments_fit, schedule_of

Array = NDArray[Any]


class State(BaseEstimator):
    """The part of an estimator that a copy has to have, and that scikit-learn's own classes understand.

    What `coefs_` and `intercepts_` hold is what counts. After a fit or out of a pickle they are views of the parameters
    of `_model`; what a user puts there is copied into it before each use, and written back after an epoch.
    `_optimizer` is scikit-learn's. Its lists of moments are empty while a `_solver` has the moments, and full in a
    state that is stored or moved to another estimator.
    """

    coefs_: list[Any]
    intercepts_: list[Any]
    activation: str
    dropout: float
    n_jobs: int | None
    _best_coefs: list[Any]
    _best_intercepts: list[Any]
    _optimizer: Any
    _random_state: Any

    @property
    def _threads(self) -> int | None:
        return None if self.n_jobs is None else int(effective_n_jobs(self.n_jobs))

    def _bound_model(self) -> Sequential:
        """Return a model with what `coefs_` and `intercepts_` hold now."""
        model = model_of(self.__dict__.get("_model"), self.coefs_, self.intercepts_, self.activation)
        self._model = model
        return model

    def _outputs(self, X: Any) -> Array:
        """Return what the last layer gives for the rows of X, before any activation."""
        model = self._bound_model()
        with at_most(self._threads):
            return model.predict(X)

    def _move_in(self) -> None:
        """Move the parameters into a model: `coefs_` and `intercepts_` become its views."""
        self._model = model_of(None, self.coefs_, self.intercepts_, self.activation)
        self.coefs_, self.intercepts_ = weights_of(self._model), biases_of(self._model)

    def _give_back(self, model: Sequential) -> None:
        """Let `coefs_` and `intercepts_` hold the model's parameters."""
        self.coefs_ = updated(self.coefs_, weights_of(model))
        self.intercepts_ = updated(self.intercepts_, biases_of(model))

    @contextmanager
    def _training(self) -> Iterator[Sequential]:
        """Yield a model with the parameters; afterwards they are what it has then."""
        model = self._bound_model()
        try:
            yield model
        finally:
            self._give_back(model)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state["_sklearn_version"] = sklearn.__version__  # scikit-learn's own classes look for it
        model, solver = state.pop("_model", None), state.pop("_solver", None)
        if model is not None:
            # Not its memory: scikit-learn's own estimators take this state too, and train it in place.
            own = {id(view) for view in parameters_of(model)}
            for name in ("coefs_", "intercepts_"):
                state[name] = [a.copy() if id(a) in own else a for a in state[name]]
            state["_best_coefs"], state["_best_intercepts"] = state["coefs_"], state["intercepts_"]
        if "_optimizer" in state:
            state["_optimizer"] = copy.copy(self._optimizer)
            if isinstance(solver, CompiledSolver) and solver.has_moments_of(self._optimizer):
                solver.give_moments(state["_optimizer"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("_model", "_solver", "_sklearn_version"):
            self.__dict__.pop(name, None)
        if "_optimizer" in state:  # a solver will take its moments out; it may be another estimator's too
            self._optimizer = copy.copy(self._optimizer)
        arrays = [*self.__dict__.get("coefs_", ()), *self.__dict__.get("intercepts_", ())]
        if arrays and not any(isinstance(a, np.memmap) and a.flags.writeable for a in arrays):
            with suppress(TypeError, ValueError):  # it loads, and a call says what is wrong with them
                self._move_in()

    def _steps_by_hand(self) -> bool:
        """Whether steps are made layer by layer."""
        return bool(self.dropout)

    def _new_optimizer(self, model: Sequential, compiled: bool) -> None:
        self._optimizer = schedule_of(self, [] if compiled else parameters_of(model))

    def _solver_of(self, model: Sequential, objective: Objective) -> CompiledSolver | ByHandSolver:
        """Return what makes a model's steps: the one that made the last, or another that goes on with its moments."""
        compiled = not self._steps_by_hand()
        old = self.__dict__.get("_solver")
        if isinstance(old, CompiledSolver) and old.has_moments_of(self._optimizer):
            if compiled and old.model is model:
                return old
            old.give_moments(self._optimizer)
        if not moments_fit(self._optimizer, model):
            self._new_optimizer(model, compiled)
        if compiled:
            return CompiledSolver(model, objective, self._optimizer)
        return ByHandSolver(model, self._optimizer, self.dropout, self._random_state)
