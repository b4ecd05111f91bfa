"""What a callback sees of a trainer."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

from fastbp.nn.loss import Loss
from fastbp.nn.sequential import Sequential
from fastbp.train.history import History
from fastbp.train.optimizers import Optimizer

__all__ = ["TrainerView"]


class TrainerView(Protocol):
    """What a `Callback` may use of the `Trainer` that calls it: the type of the argument of its methods.

    Examples
    --------
    >>> import fastbp
    >>> class Halve(fastbp.Callback):
    ...     every = 1000
    ...
    ...     def on_steps_end(self, trainer: fastbp.TrainerView) -> None:
    ...         trainer.optimizer.lr /= 2
    """

    optimizer: Optimizer

    @property
    def model(self) -> Sequential:
        """The model that is trained."""

    @property
    def loss(self) -> Loss:
        """The loss."""

    @property
    def history(self) -> History:
        """The figures of the epochs that ended."""

    @property
    def steps(self) -> int:
        """Updates made so far."""

    def step(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Make one training step, on rows of the callback's own; see `Trainer.step`."""

    def evaluate(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        metrics: Iterable[str | Callable[..., float]] = (),
    ) -> dict[str, float]:
        """Return the loss over all rows, the accuracy, and metrics; see `Trainer.evaluate`."""

    def _evaluated_model(self) -> Sequential:
        """Return what `evaluate` takes: the model, or where parameters are averaged a copy that has the averages."""

    def _kept(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what `evaluate` takes and training changes, by name: for `_bring_back`."""

    def _bring_back(self, kept: Mapping[str, NDArray[Any]]) -> None:
        """Set what `_kept` returned, the averages of the parameters to these where there are any."""

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write the trainer to a file; see `Trainer.save_checkpoint`."""
