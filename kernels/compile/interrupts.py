"""Ctrl-C at a moment when it does no harm."""

# What `signal` is made of: there each handler becomes an enum and back, which takes longer than all the rest.
import _signal  # type: ignore[import-not-found]
import threading
from typing import Any


class held_back:
    """Run what is inside whole: an exception by Ctrl-C, or by a handler of SIGTERM, is raised at its end.

    For some assignments that belong together, or for imports: not for anything that takes seconds.
    """

    def __enter__(self) -> None:
        self._held: list[tuple[int, Any, list[Any]]] = []
        if threading.current_thread() is not threading.main_thread():  # handlers run in no other
            return
        try:
            for number in (_signal.SIGINT, _signal.SIGTERM):
                handler = _signal.getsignal(number)
                if callable(handler):
                    came: list[Any] = []
                    self._held.append((number, handler, came))
                    _signal.signal(number, lambda _, frame, came=came: came.append(frame))
        except BaseException:  # of the handler that still stands
            self._give_back()
            raise

    def __exit__(self, *exception: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        if self._held:
            number, handler, came = self._held.pop()
            try:
                _signal.signal(number, handler)
                if came:
                    handler(number, came[-1])
            finally:
                self._give_back()
