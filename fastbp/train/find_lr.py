"""The learning rate range test: a few steps, each at a larger rate, on a copy of what is to be trained."""

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.guard import Guarded, guarded_record
from fastbp._base.inputs import Readable
from fastbp._base.sparse import StoredRows
from fastbp.kernels.run.frame import RECORD_DIVISOR, RECORD_LOSS, RECORD_ROWS
from fastbp.nn.sequential import Sequential
from fastbp.train.given import samples_of
from fastbp.train.needs import RUN
from fastbp.train.samples import Part, Samples
from fastbp.train.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RangeTest", "find_lr"]

Array = NDArray[np.float64]
SMOOTHING = 0.9  # decay rate of the mean of the losses
DIVERGED = 4.0  # the test ends where that mean is so many times the smallest


@guarded_record
@dataclass(frozen=True)
class RangeTest(Guarded):
    """What `find_lr` found.

    Attributes
    ----------
    rates, losses : ndarray of shape (steps,)
        Of each step: its learning rate, and the loss of its batch before its update. A test that diverged ends there.
    smoothed : ndarray of shape (steps,)
        Means of the losses so far, those before with a weight that falls by a tenth a step.
    suggestion : float
        The rate at which `smoothed` falls most steeply over the logarithm of the rate; NaN if it never falls.
    """

    rates: Array
    losses: Array
    smoothed: Array
    suggestion: float

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the losses over the rates, and the suggestion; needs matplotlib (extra ``plot``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; without it a new figure's.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise ImportError("RangeTest.plot needs matplotlib: pip install 'fastbp[plot]'") from error
            ax = pyplot.subplots(layout="constrained")[1]
        ax.plot(self.rates, self.losses, color="#999999", linewidth=0.8, label="a step")
        ax.plot(self.rates, self.smoothed, color="#0072B2", label="mean of the last")
        if math.isfinite(self.suggestion):
            at = int(np.argmin(np.abs(self.rates - self.suggestion)))
            label = f"suggestion {self.suggestion:.2g}"
            ax.plot(self.suggestion, self.smoothed[at], "o", color="#D55E00", label=label)
        low, high = self.losses.min(), self.losses[: max(1, len(self.losses) // 2)].max()
        room = 0.1 * (high - low) or 1.0
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - room, high + 4 * room))
        ax.legend(frameon=False)
        return ax


def find_lr(
    trainer: Trainer | Sequential,
    x: ArrayLike | Readable,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 128,
    rng: int | np.random.Generator | None = None,
) -> RangeTest:
    """Try learning rates: one step at each, from a low one to a high one (Smith, 2017).

    What trains is a copy, so the model, the optimizer's state and numbers, the history and the run are as they were
    whatever happens. The rates are a geometric sequence, and a schedule of the optimizer's gives way to it.

    Parameters
    ----------
    trainer : Trainer or Sequential
        A model alone is trained with softmax cross-entropy and Adam, as by ``Trainer(model)``.
    x, y, sample_weight
        As in `Trainer.step`; rows to draw batches from.
    lowest, highest : float, defaults 1e-7 and 10.0
        The first and the last rate.
    steps : int, default 100
        How many.
    batch_size : int, default 128
        Rows of a step. All rows have their turn before one comes again.
    rng : int or numpy.random.Generator, optional
        Seed of the order, and of Dropout.

    Returns
    -------
    RangeTest
        Rates, losses, and a suggestion, with a method `plot`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the first loss is not finite.
    RuntimeError
        If another thread is in the trainer.

    Examples
    --------
    >>> import fastbp
    >>> x, y = fastbp.load_digits()
    >>> trainer = fastbp.Trainer(fastbp.mlp([64, 32, 10], rng=0))
    >>> found = fastbp.find_lr(trainer, x / 16, y, rng=0)
    >>> 1e-3 < found.suggestion < 1
    True
    >>> trainer.steps
    0
    """
    who = "find_lr"
    steps, batch_size = check.integer(steps, who, "steps", 2), check.integer(batch_size, who, "batch_size")
    lowest, highest = check.number(lowest, who, "lowest"), check.number(highest, who, "highest")
    if not 0 < lowest < highest:
        raise ValueError(f"find_lr expects lowest greater than 0 and less than highest, got {lowest} and {highest}")
    generator = check.generator(rng, who)
    if not isinstance(trainer, (Trainer, Sequential)):
        raise TypeError(f"find_lr expects trainer to be a Trainer or a Sequential, got {type(trainer).__name__}")
    copy = _copy_of(trainer)
    copy._draw_seed(generator)
    rates = np.geomspace(lowest, highest, steps)
    losses = _losses(copy, samples_of(copy, x, y, sample_weight, RUN), rates, batch_size, generator)
    if not losses.size:
        raise ValueError("find_lr expects a loss that is finite in the first step, got one that is not")
    rates, smoothed = rates[: losses.size], _smoothed(losses)
    return RangeTest(rates, losses, smoothed, _steepest(rates, smoothed))


def _copy_of(trainer: Trainer | Sequential) -> Trainer:
    """Return a trainer of its own memory, whose schedules stay where they are: at their beginning without a total."""
    if isinstance(trainer, Sequential):
        copy = Trainer(deepcopy(trainer))
    else:
        with trainer._alone:
            copy = deepcopy(trainer)
    if copy._total_steps is None:
        copy._steps, copy._last_run, copy._total_steps = 0, None, 1
    return copy


def _losses(trainer: Trainer, samples: Samples, rates: Array, batch_size: int, rng: np.random.Generator) -> Array:
    """Make a step at each rate, to one whose loss is not finite or that shows that they diverge; return the losses."""
    samples = samples._replace(targets=samples.targets.as_classes())
    rows, steps = len(samples.x), len(rates)
    batch = min(batch_size, rows)
    order = np.concatenate([rng.permutation(rows) for _ in range(-(-steps * batch // rows))])[: steps * batch]
    record = np.full((RECORD_ROWS, steps), np.nan)
    for step, rate in enumerate(rates.tolist()):
        trainer.optimizer.lr = rate
        trainer._prepare(batch, isinstance(samples.x, StoredRows))
        part = Part(range(step, step + 1), batch, order, record, finite=True)
        trainer._run(samples, part, trainer._most_tasks(batch))
        losses = record[RECORD_LOSS, : step + 1]
        if math.isnan(record[RECORD_DIVISOR, step]):
            return losses[:step]
        smoothed = _smoothed(losses)
        if smoothed[-1] - smoothed.min() > (DIVERGED - 1) * abs(smoothed.min()):
            break
    return losses


def _smoothed(losses: Array) -> Array:
    """Return the mean of each loss and those before, whose weight falls by SMOOTHING a step."""
    weights = SMOOTHING ** np.arange(losses.size)
    return np.convolve(losses, weights)[: losses.size] / np.cumsum(weights)


def _steepest(rates: Array, smoothed: Array) -> float:
    """Return the rate where the losses fall most over its logarithm, before they are at their smallest."""
    end = int(smoothed.argmin()) + 1
    if end < 3:
        return math.nan
    slopes = np.gradient(smoothed[:end], np.log(rates[:end]))
    return float(rates[slopes.argmin()]) if slopes.min() < 0 else math.nan
