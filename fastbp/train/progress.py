"""What a training run shows while it goes on."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastbp._base.console import console_on, thousands
from fastbp.kernels.compile.forks import imports

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EpochBar", "Progress"]


class Progress:
    """Shows nothing; the base of what does."""

    @contextmanager
    def fit(self, epochs: int, samples: int, flops: float, ended: float = 0) -> Iterator[None]:
        """Surround a run over `samples` samples an epoch, each `flops` floating-point operations.

        `ended` epochs, the done part of one among them, are done already, where a run is resumed.
        """
        yield

    def advance(self, samples: int, loss: float) -> None:
        """Note how many samples of this epoch are done, and the last loss."""

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Note the end of an epoch."""


class EpochBar(Progress):
    """A bar over all epochs, with loss, samples a second and GFLOP/s; it shows on a terminal only.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where; without it the standard error.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        self.console = console or console_on(sys.stderr)

    @contextmanager
    def fit(self, epochs: int, samples: int, flops: float, ended: float = 0) -> Iterator[None]:  # noqa: D102
        with imports:
            from fastbp.train.bar import make_bar  # rich is imported where a bar is shown

        self._samples, self._flops = samples, flops
        self._done = ended * samples
        self._speed: list[str] = []
        self._mark = time.perf_counter(), self._done
        with make_bar(self.console) as self._bar:
            self._task = self._bar.add_task("", total=epochs, figures=[], speed=[])
            self._bar.update(self._task, completed=ended)
            yield

    def advance(self, samples: int, loss: float) -> None:  # noqa: D102
        now, done = time.perf_counter(), self._done + samples
        since, before = self._mark
        if now - since > 0.1:
            rate = (done - before) / (now - since)
            self._speed = [f"{thousands(rate)} samples/s", f"{rate * self._flops / 1e9:.1f} GFLOP/s"]
            self._mark = now, done
        self._show(done / self._samples, [f"loss {loss:.4f}"])

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:  # noqa: D102
        self._done = epoch * self._samples
        self._show(epoch, [f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items()])

    def _show(self, epochs: float, figures: list[str]) -> None:
        self._bar.update(self._task, completed=epochs, figures=figures, speed=self._speed)


def what_shows(progress: bool | Progress) -> Progress:
    """Return what shows a run, by the argument of `fit`: True is a bar, False nothing."""
    if isinstance(progress, bool):
        return EpochBar() if progress else Progress()
    if not isinstance(progress, Progress):
        raise TypeError(f"fit expects progress to be a bool, got {progress!r}")
    return progress
