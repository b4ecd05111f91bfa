"""When a fit by epochs ends: early stopping by what is held out, and the loss that gets no better."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split

from fastbp.nn.sequential import Sequential
from fastbp.sklearn._batches import Samples
from fastbp.sklearn._objectives import Objective
from fastbp.sklearn._state import State

Array = NDArray[Any]


class HeldOut(NamedTuple):
    """What early stopping looks at.

    Attributes
    ----------
    samples : Samples
        With what they count for in the loss.
    labels : ndarray
        As a score takes them.
    weight : ndarray of shape (samples,), optional
        What the samples count for in the score: `sample_weight` alone.
    """

    samples: Samples
    labels: Any
    weight: Array | None


class Stopping(State):
    """The part of an estimator that notes what an epoch came to, and says whether to make another one."""

    loss_curve_: list[float]
    validation_loss_curve_: Any
    validation_scores_: Any
    best_loss_: Any
    best_validation_score_: Any
    _no_improvement_count: int

    def _begin_watching(self) -> None:
        """Note from now on what `early_stopping` asks for, if the fits before noted something else, or nothing."""
        held_out, by_loss = bool(self.early_stopping), self.early_stopping in (False, "loss")
        noted = vars(self).get("validation_scores_") is not None, vars(self).get("best_loss_") is not None
        if "loss_curve_" not in vars(self):
            self.loss_curve_ = []
        if noted != (held_out, by_loss):
            self._no_improvement_count = 0
            self.best_loss_ = np.inf if by_loss else None
            self.best_validation_score_ = -np.inf if held_out else None
            self.validation_scores_ = [] if held_out else None
        curve = self.__dict__.get("validation_loss_curve_")
        if not held_out:
            self.validation_loss_curve_ = None
        elif curve is None or len(curve) != len(self.validation_scores_):  # scikit-learn noted no losses
            self.validation_loss_curve_ = [np.nan] * len(self.validation_scores_)

    def _hold_out(
        self,
        X: Any,
        y: Array,
        sample_weight: Array | None,
        counts: Array | None,
        model: Sequential,
        objective: Objective,
    ) -> tuple[Any, Array, Array | None, HeldOut]:
        """Return what is trained on, and what is not."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        kept, out = train_test_split(
            np.arange(len(y)), random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if len(out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        samples = Samples(X[out], y[out], None if counts is None else counts[out], model, objective)
        labels = self._label_binarizer.inverse_transform(y[out]) if is_classifier(self) else y[out]
        held_out = HeldOut(samples, labels, None if sample_weight is None else sample_weight[out])
        return X[kept], y[kept], None if counts is None else counts[kept], held_out

    def _note_improvement(self, held_out: HeldOut | None, objective: Objective) -> bool:
        """Note the loss, or the score and the loss of what is held out; return whether it is the best so far."""
        loss = self.loss_
        if held_out is not None:
            loss = self._loss_of(held_out.samples, objective)
            score = self._score(held_out.samples.x, held_out.labels, sample_weight=held_out.weight)
            self.validation_loss_curve_.append(loss)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}, loss: {loss:f}")
        by_score = held_out is not None and self.early_stopping != "loss"
        value, best = (score, self.best_validation_score_) if by_score else (-loss, -self.best_loss_)
        self._no_improvement_count = self._no_improvement_count + 1 if value < best + self.tol else 0
        if not value > best:
            return False
        if not by_score:
            self.best_loss_ = loss
        if held_out is not None:
            self.best_validation_score_ = score
        return True

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
        """Return the mean loss of samples, as they count, without a penalty; NaN where none counts."""
        weight = np.ones(len(samples)) if samples.weight is None else samples.weight
        total = weight.sum()
        value, _ = objective.value_and_gradient(self._outputs(samples.x), samples.targets, weight / (total or np.nan))
        return value
