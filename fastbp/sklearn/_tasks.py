"""A fit and its epochs as tasks of scikit-learn's callback protocol."""

from typing import Any


class Tasks:
    """Tells an estimator's callbacks of its fit and of each epoch, or iteration of L-BFGS.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    context : CallbackContext
        Of the fit.
    X, y, sample_weight
        What `fit` was given.
    """

    def __init__(self, estimator: Any, context: Any, X: Any, y: Any, sample_weight: Any) -> None:
        self._estimator, self._context = estimator, context
        self._arguments = {"estimator": estimator, "X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        self._epoch: Any = None

    def begin_fit(self) -> None:
        """Tell of the beginning of the fit."""
        self._context.call_on_fit_task_begin(**self._arguments)

    def end_fit(self) -> None:
        """Call the callback for the end of the fit."""
        self._context.call_on_fit_task_end(**self._arguments, reconstruction_attributes=self._fitted)

    def begin(self) -> None:
        """Call the callback for the beginning of an epoch, if there is one."""
        if getattr(self._estimator, "_skl_callbacks", None):
            self._epoch = self._context.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._arguments)

    def end(self) -> bool:
        """Tell of its end; return whether a callback wants to stop."""
        if self._epoch is None:
            return False
        epoch, self._epoch = self._epoch, None
        return bool(epoch.call_on_fit_task_end(**self._arguments, reconstruction_attributes=self._fitted))

    def _fitted(self) -> dict[str, Any]:
        """Return what makes a copy of the estimator ready to predict, whatever the fit does next."""
        e = self._estimator
        return {"coefs_": [c.copy() for c in e.coefs_], "intercepts_": [b.copy() for b in e.intercepts_]}
