"""How a long run is cut into calls, and whether those use one thread or many: by the clock."""

import math
import time

# A compiled call of many steps takes about this long, so that Ctrl-C is answered and the progress bar moves.
CALL_SECONDS = 0.05


class Pace:
    """Cuts a long run into calls, and keeps it from being slower on many threads than on one.

    Many are slower where others want the same cores, or where the cores are far from each other. Both are timed: the
    one that is not in use is tried for a moment every second, and first so soon that a short run gains by it. What has
    just made many slower may be over soon: threads of other libraries wait for work with their core taken for a tenth
    of a second. So then they are tried sooner. And where the way that is in use has lost more time against the other
    one than a trial takes, that is tried at once.

    Parameters
    ----------
    rows : int
        Of a batch; another batch size is another pace.
    tasks : int
        Into how many a call may be cut.
    """

    # Seconds to the first trial, to that of many threads after one thread was found faster, between others, and of one
    FIRST, SOON, BETWEEN, TRIAL = 0.01, 0.1, 1.0, CALL_SECONDS / 10
    # A trial has calls that are so much shorter. It may be slow: those of long steps are more seldom, at most every so
    # many times what they may cost.
    SHORTER, SELDOM = 40, 25
    # One thread has to be faster by so much: times scatter, and each change costs a trial.
    MARGIN = 0.95

    def __init__(self, rows: int, tasks: int) -> None:
        self.rows, self.tasks = rows, tasks
        self._steps = 1  # of a call that is no trial
        self._spent: dict[bool, tuple[int, float]] = {}  # steps and seconds since the last trial, by whether serial
        self._other = math.inf  # mean seconds of a step in the way that is not in use
        # By how many seconds the latest calls took longer than those, and their own steps and seconds
        self._lost, self._losing = 0.0, (0, 0.0)
        self._serial = self._trial = False
        self._first = True  # of the calls in this way
        self._wait, self._since = self.FIRST, time.perf_counter()

    def choose(self, left: int) -> tuple[int, int]:
        """Return into how many tasks to cut the next call, and how many of the steps that are left it makes."""
        short = min(max(1, self._steps // self.SHORTER), left)  # of a trial's call
        if self.tasks > 1 and time.perf_counter() - self._since > self._until_turn(short):
            self._turn(short)
        return (1 if self._serial != self._trial else self.tasks), short if self._trial else min(self._steps, left)

    def _until_turn(self, steps: int) -> float:
        """Return how long to go on as now, with so many steps in a trial's call."""
        serial = self._serial != self._trial
        if serial not in self._spent:
            return math.inf
        if self._trial:
            return self.TRIAL
        if self._is_losing(steps):
            return 0.0
        cost = 2 * steps * self.tasks * self._mean(serial)  # two calls, which one thread may take so much longer for
        if self._wait == self.FIRST and cost < self.FIRST:
            return self.FIRST
        return max(self._wait, self.SELDOM * cost)

    def _is_losing(self, steps: int) -> bool:
        """Return whether the latest calls have lost more time than a trial takes, with so many steps in its calls."""
        return self._lost > max(self.TRIAL, 2 * steps * self._other)

    def _mean(self, serial: bool) -> float:
        steps, seconds = self._spent[serial]
        return seconds / steps

    def _turn(self, steps: int) -> None:
        """Begin a trial with so many steps in its calls, or end it and decide."""
        if self._trial:
            before, self._serial = self._serial, self._mean(True) < self.MARGIN * self._mean(False)
            longer = min(self.BETWEEN, 3 * self._wait) if before else self.SOON
            self._wait = longer if self._serial else self.BETWEEN
            self._other = self._mean(not self._serial)
        elif self._is_losing(steps):
            self._spent[self._serial] = self._losing
        self._lost, self._losing = 0.0, (0, 0.0)
        self._trial = not self._trial
        self._spent.pop(self._serial != self._trial, None)
        self._first = True

    def note(self, tasks: int, steps: int, seconds: float) -> None:
        """Note how long the call took."""
        if not self._trial:
            self._steps = max(1, min(2 * self._steps, int(CALL_SECONDS * steps / max(seconds, 1e-9))))
        if self.tasks == 1:
            return
        if self._first:  # it may have compiled, and what it read was in the other core's cache
            self._first, self._since = False, time.perf_counter()
        else:
            self._spent[tasks == 1] = _and(self._spent.get(tasks == 1, (0, 0.0)), steps, seconds)
            if not self._trial:
                self._lost = max(0.0, self._lost + self.MARGIN * seconds - steps * self._other)
                self._losing = _and(self._losing, steps, seconds) if self._lost else (0, 0.0)


def _and(spent: tuple[int, float], steps: int, seconds: float) -> tuple[int, float]:
    return spent[0] + steps, spent[1] + seconds
