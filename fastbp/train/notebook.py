"""The bar in a notebook: one line of text, which the notebook writes over and keeps as it was at last."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from IPython.display import display  # a notebook has it

from fastbp.train.progress import Bar

WIDTH = 24  # of the bar itself
SECONDS = 0.2  # between two messages to the notebook


class NotebookBar(Bar):
    """The bar over all epochs, as text."""

    @contextmanager
    def _opened(self) -> Iterator[None]:
        self._began = self._sent = time.perf_counter()
        self._handle: Any = display(_text("epoch"), raw=True, display_id=True)
        self._line = ""
        try:
            yield
        finally:
            self._handle.update(_text(self._line), raw=True)

    def _show(self, epochs: float, figures: list[str]) -> None:
        now = time.perf_counter()
        full = round(WIDTH * min(1.0, epochs / self._epochs))
        words = [
            f"epoch {int(epochs):{len(str(self._epochs))}}/{self._epochs} {'━' * full}{'┄' * (WIDTH - full)}",
            *figures,
            *self._speed,
            str(timedelta(seconds=int(now - self._began))),
            *self._clock.left(epochs),
        ]
        self._line = "  ".join(words)
        if now - self._sent > SECONDS:
            self._sent = now
            self._handle.update(_text(self._line), raw=True)


def _text(line: str) -> dict[str, str]:
    return {"text/plain": line}
