"""The columns of the bar over all epochs, for terminals of any width: the bar stays, what does not fit goes."""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

SHORTEST = 8  # columns of the bar itself


class Count(ProgressColumn):
    """How many epochs are done."""

    def __init__(self, console: Console) -> None:
        self.console = console
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Return ``epoch 7/60``, or less of it: ``7/60``, ``11%``."""
        return Text(self.text(task))

    def text(self, task: Task) -> str:
        """Return the longest form that leaves room for the bar."""
        total = round(task.total or 0)
        count = f"{int(task.completed):{len(str(total))}}/{total}"
        room = self.console.width - SHORTEST - 3  # the figures' column takes one, though nothing is in it
        return next((text for text in (f"epoch {count}", count) if len(text) <= room), f"{task.percentage:3.0f}%")


class Figures(Count):
    """What was reached, how fast, since when and for how long: a task's fields, and its time."""

    def render(self, task: Task) -> Text:
        """Return what fits; the times go after the speed, the first figure last."""
        figures, speed, left = task.fields["figures"], task.fields["speed"], task.fields["left"]
        time = str(timedelta(seconds=int((task.finished_time if task.finished else task.elapsed) or 0)))
        shown = [*figures, *speed, time, *left]
        room = self.console.width - len(self.text(task)) - SHORTEST - 2
        for least in [*reversed(speed), time, *left, *reversed(figures)]:
            if len("  ".join(shown)) <= room:
                break
            shown.remove(least)
        return Text("  ".join(shown))


def make_bar(console: Console) -> RichProgress:
    """Return the bar; it shows on a terminal only."""
    columns = Count(console), BarColumn(bar_width=None), Figures(console)
    return RichProgress(*columns, console=console, disable=not console.is_terminal)
