"""What a training run shows while it goes on: a bar on a terminal or in a notebook, or lines of a log."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from fastbp._base.console import console_on, thousands
from fastbp.kernels.compile.forks import imports

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EpochBar", "LogLines", "Progress"]

MOST_LINES = 50  # of a log, for epochs
LINE_SECONDS = 30.0  # after which a log has a line in the middle of an epoch


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


def shown_figures(figures: Mapping[str, float]) -> list[str]:
    """Return figures as they are shown: ``val loss 0.1234``."""
    return [f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items()]


def shown_speed(rate: float, flops: float) -> list[str]:
    """Return so many samples a second as they are shown, each of so many floating-point operations."""
    return [f"{thousands(rate)} samples/s", f"{rate * flops / 1e9:.1f} GFLOP/s"]


class Clock:
    """How long a run will take: as long an epoch, validation and callbacks included, as those made here."""

    def __init__(self, epochs: int, ended: float) -> None:
        self._epochs, self._first, self._began = epochs, ended, time.perf_counter()

    def left(self, epochs: float) -> list[str]:
        """Return the time that is left after so many epochs, as it is shown: ``0:01:05 left``; at first nothing."""
        made = epochs - self._first
        if made <= 0 or epochs >= self._epochs:
            return []
        seconds = (time.perf_counter() - self._began) * (self._epochs - epochs) / made
        return [f"{timedelta(seconds=round(seconds))} left"]


class Bar(Progress):
    """A bar over all epochs, with loss, samples a second, GFLOP/s and the time left; `_show` draws it."""

    @contextmanager
    def fit(self, epochs: int, samples: int, flops: float, ended: float = 0) -> Iterator[None]:
        self._epochs, self._samples, self._flops = epochs, samples, flops
        self._done = ended * samples
        self._speed: list[str] = []
        self._clock, self._mark = Clock(epochs, ended), (time.perf_counter(), self._done)
        with self._opened():
            self._show(ended, [])
            yield

    def advance(self, samples: int, loss: float) -> None:
        now, done = time.perf_counter(), self._done + samples
        since, before = self._mark
        if now - since > 0.1:
            self._speed = shown_speed((done - before) / (now - since), self._flops)
            self._mark = now, done
        self._show(done / self._samples, [f"loss {loss:.4f}"])

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._done = epoch * self._samples
        self._show(epoch, shown_figures(figures))

    def _opened(self) -> AbstractContextManager[object]:
        """Surround what is drawn."""
        raise NotImplementedError

    def _show(self, epochs: float, figures: list[str]) -> None:
        """Draw it after so many epochs."""
        raise NotImplementedError


class EpochBar(Bar):
    """The bar on a terminal, and nothing elsewhere.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where; without it the standard error.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        self.console = console or console_on(sys.stderr)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        with imports:
            from fastbp.train.bar import make_bar  # rich is imported where a bar is shown

        with make_bar(self.console) as self._bar:
            self._task = self._bar.add_task("", total=self._epochs, figures=[], speed=[], left=[])
            yield

    def _show(self, epochs: float, figures: list[str]) -> None:
        left = self._clock.left(epochs)
        self._bar.update(self._task, completed=epochs, figures=figures, speed=self._speed, left=left)


class LogLines(Progress):
    """Plain lines: one an epoch, of many epochs about MOST_LINES in all, and one where none came for LINE_SECONDS.

    Its speed is that of the training alone, without validation and callbacks.

    Parameters
    ----------
    say : callable
        Called with each line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    @contextmanager
    def fit(self, epochs: int, samples: int, flops: float, ended: float = 0) -> Iterator[None]:  # noqa: D102
        self._epochs, self._samples, self._flops = epochs, samples, flops
        self._first, self._done = math.ceil(ended) + 1, math.floor(ended)
        self._clock = Clock(epochs, ended)
        self._said = self._began = self._ended = time.perf_counter()
        yield

    def advance(self, samples: int, loss: float) -> None:  # noqa: D102
        self._ended = time.perf_counter()
        if self._ended - self._said > LINE_SECONDS and samples < self._samples:
            part = samples / self._samples
            self._line(self._done + 1, [f"{part:.0%}", f"loss {loss:.4f}", *self._clock.left(self._done + part)])

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:  # noqa: D102
        speed = []
        if epoch >= self._first and self._ended > self._began:
            speed = shown_speed(self._samples / (self._ended - self._began), self._flops)
        every = -(-self._epochs // MOST_LINES)
        if epoch % every == 0 or epoch in (1, self._epochs):
            self._line(epoch, [*shown_figures(figures), *speed, *self._clock.left(epoch)])
        self._done, self._began = epoch, time.perf_counter()

    def _line(self, epoch: int, words: list[str]) -> None:
        self._said = time.perf_counter()
        self._say("  ".join([f"epoch {epoch:{len(str(self._epochs))}}/{self._epochs}", *words]))
