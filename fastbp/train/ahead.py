"""What is read while something else is computed: by a thread that ends with it."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Ahead(threading.Thread, Generic[Result]):
    """A thread that calls a function, and ends."""

    def __init__(self, function: Callable[[], Result]) -> None:
        super().__init__(name="fastbp reads ahead")
        self._function = function
        self._returned: list[Result] = []
        self._raised: BaseException | None = None
        self._process, self._ended = os.getpid(), threading.Event()
        self.start()

    def run(self) -> None:
        """Call it."""
        try:
            self._returned.append(self._function())
        except BaseException as error:
            self._raised = error
        self._ended.set()

    def wait(self) -> None:
        """Wait for the end of the thread; a child process that was forked meanwhile has none."""
        if self._process == os.getpid():
            self._ended.wait()  # Ctrl-C in `join` would let Python take the thread for one that has ended
            self.join()

    def result(self) -> Result:
        """Wait for what the function returns or raises; where its thread is gone, call it."""
        self.wait()
        if self._raised is not None:
            raise self._raised
        return self._returned.pop() if self._returned else self._function()
