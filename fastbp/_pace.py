"""How a long run is cut into calls, and whether those use one thread or many: by the clock."""

import time

# A compiled call of many steps takes about this long, so that Ctrl-C and the progress bar live.
CALL_SECONDS = 0.05


class Pace:
    """Cuts a long run into calls, and keeps it from being slower on many threads than on one.

    Many are slower where others want the same cores, or where the cores are far from each other. Both are timed: the
    one that is not in use is tried for a moment every second, and first so soon that a short run gains by it.

    Parameters
    ----------
    rows : int
        Of a batch; another batch size is another pace.
    tasks : int
        Into how many a call may be cut.
    """

    # Seconds to the first trial, between trials, and of one
    FIRST, BETWEEN, TRIAL = 0.01, 1.0, CALL_SECONDS / 10
    # Long steps are tried more seldom: a trial takes two calls or more, and may be slow.
    SELDOM = 100
    # One thread has to be faster by so much: times scatter, and a change of mind costs a trial.
    MARGIN = 0.95

    def __init__(self, rows: int, tasks: int) -> None:
        self.rows, self.tasks = rows, tasks
        self._steps = 1  # of a call that is no trial
        self._spent: dict[bool, tuple[int, float]] = {}  # steps and seconds since the last trial, by whether serial
        self._serial = self._trial = False
        self._first = True  # of the calls in this way
        self._wait, self._since = self.FIRST, time.perf_counter()

    def choose(self, left: int) -> tuple[int, int]:
        """Return into how many tasks to cut the next call, and how many of the steps that are left it makes."""
        short = min(max(1, self._steps // 10), left)  # of a trial's call
        serial = self._serial != self._trial
        if self.tasks > 1 and serial in self._spent:
            wait = self.TRIAL if self._trial else max(self._wait, self.SELDOM * short * self._mean(serial))
            if time.perf_counter() - self._since > wait:
                self._turn()
        return (1 if self._serial != self._trial else self.tasks), short if self._trial else min(self._steps, left)

    def _mean(self, serial: bool) -> float:
        steps, seconds = self._spent[serial]
        return seconds / steps

    def _turn(self) -> None:
        """Begin a trial, or end it and decide."""
        if self._trial:
            self._serial, self._wait = self._mean(True) < self.MARGIN * self._mean(False), self.BETWEEN
        self._trial = not self._trial
        self._spent.pop(self._serial != self._trial, None)
        self._first = True

    def note(self, tasks: int, steps: int, seconds: float) -> None:
        """Note how long the call took."""
        if not self._trial:
            self._steps = max(1, min(2 * self._steps, int(CALL_SECONDS * steps / max(seconds, 1e-9))))
        if self._first:  # it may have compiled, and what it read was in the other core's cache
            self._first, self._since = False, time.perf_counter()
        else:
            before = self._spent.get(tasks == 1, (0, 0.0))
            self._spent[tasks == 1] = before[0] + steps, before[1] + seconds
