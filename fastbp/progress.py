"""What a training run shows while it goes on."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastbp.kernels.forks import imports

# rich is imported where a bar is shown: a program that shows none starts sooner.
if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EpochBar", "Progress"]


class Progress:
    """Shows nothing; the base of what does."""

    @contextmanager
    def fit(self, epochs: int, samples: int, flops: float, ended: int = 0) -> Iterator[None]:
        """Surround a run over `samples` samples an epoch, each `flops` floating-point operations.

        `ended` epochs are done already, where a run is resumed.
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
        with imports:
            from rich.console import Console

        self.console = console or Console(stderr=True)

    @contextmanager
    def fit(self, epochs: int, samples: int, flops: float, ended: int = 0) -> Iterator[None]:  # noqa: D102
        with imports:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

        self._samples, self._flops = samples, flops
        self._done = ended * samples
        self._text = ""
        self._figures: Mapping[str, float] = {}
        self._mark = time.perf_counter(), self._done
        columns = (
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
        )
        with RichProgress(*columns, console=self.console, disable=not self.console.is_terminal) as self._bar:
            self._task = self._bar.add_task("", total=epochs, text="")
            yield

    def advance(self, samples: int, loss: float) -> None:  # noqa: D102
        now, done = time.perf_counter(), self._done + samples
        since, before = self._mark
        if now - since > 0.1:
            rate = (done - before) / (now - since)
            samples_a_second = f"{rate:,.0f}".replace(",", " ")
            self._text = f"{samples_a_second} samples/s  {rate * self._flops / 1e9:.1f} GFLOP/s"
            self._mark = now, done
        self._bar.update(self._task, completed=done / self._samples, text=f"loss {loss:.4f}  {self._text}")

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:  # noqa: D102
        self._done = epoch * self._samples
        text = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items())
        self._bar.update(self._task, completed=epoch, text=f"{text}  {self._text}")
