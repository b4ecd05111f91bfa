"""Whether a call that is made again and again uses one thread or many: by the clock."""

import math
from collections.abc import Callable
from time import perf_counter

from fastbp._base.threads import SERIAL_WORK, tasks_for

# Calls of a trial. One before them does not count: it may compile, threads may have to wake, and what it reads is in
# another core's cache.
TRIAL = 4
# What a change costs at first is less than so many seconds. A first call of one thread that takes longer than usual by
# more than that has lost the trial.
COLD = 1e-3
# A trial costs what its calls took longer than usual. So many times as many calls go by until the next one: of many
# threads, which are slow while others want their cores, and only a trial shows when that ends; and of one thread, which
# takes about as long as before. At least so many in any case.
OF_MANY, OF_ONE, FEWEST = 40, 400, 32
# The first trial of one thread follows at once if it costs no more seconds than this.
FREE = 0.02
# The other way has to be faster by so much: times scatter.
MARGIN = 0.97
# What the newest call counts for in a mean, and how many means it counts as at most.
NEWEST, MOST = 1 / 8, 4.0


class OneOrMany:
    """Finds out which is faster for calls of one kind and about one size, one thread or many: it tries both.

    Many are slower where others want the same cores, for a while or always. The calls go on in the way that was faster
    in the last trial. The other way is tried from time to time, and as soon as this one has lost more time against it
    than a trial takes: in many calls that are a bit longer than that took, or in one that waited for a thread whose
    core others have, for the milliseconds until the system's scheduler looks again.

    Several Python threads may be here at once. They may lose a count or a time of each other's, and no more.

    Parameters
    ----------
    most : int
        Into how many tasks a call may be cut.

    Attributes
    ----------
    tasks : int
        Into how many to cut the next call: `most`, or 1.
    """

    __slots__ = ("_first", "_left", "_lost", "_most", "_other", "_sum", "_trial", "_usual", "tasks")

    tasks: int
    _trial: bool
    _first: float  # seconds of a row in the trial's first call
    _sum: float  # and in all of its calls together
    _left: int  # calls until the trial ends, or the next one begins

    def __init__(self, most: int) -> None:
        self._most = most
        self._usual = self._other = math.inf  # mean seconds of a row in the way that is in use, and in the other one
        self._lost = 0.0  # seconds of a row that the latest calls in the one way took longer than those in the other
        self._begin_trial(most)

    def end(self, tasks: int, began: float, rows: int) -> None:
        """Note the end of a call of so many rows, which was cut into so many tasks and began at this time."""
        seconds = (perf_counter() - began) / rows
        if tasks != self.tasks:  # another thread's call has begun or ended a trial meanwhile
            return
        left = self._left = self._left - 1
        usual = self._usual
        if not self._trial:
            most = MOST * usual
            self._usual = usual + NEWEST * ((seconds if seconds < most else most) - usual)
            lost = self._lost + MARGIN * seconds - self._other
            self._lost = lost if lost > 0 else 0.0
            if left <= 0 or lost > (TRIAL + 1) * self._other:
                self._begin_trial(self._other_than(tasks))
            return
        self._sum += seconds
        if left == TRIAL:
            self._first = seconds
            ended = tasks == 1 and (seconds - usual) * rows > COLD
        else:
            ended = left <= 0 or self._sum - self._first > TRIAL * usual
        if ended:
            self._end_trial(tasks, TRIAL + 1 - left, rows)

    def _other_than(self, tasks: int) -> int:
        return 1 if tasks > 1 else self._most

    def _begin_trial(self, tasks: int) -> None:
        self._trial, self._first, self._sum, self._left = True, 0.0, 0.0, TRIAL + 1
        self.tasks = tasks

    def _end_trial(self, tasks: int, calls: int, rows: int) -> None:
        """Decide how to go on after a trial of so many calls, and for how long."""
        mean, usual = (self._sum - self._first) / (calls - 1) if calls > 1 else self._first, self._usual
        if usual == math.inf:  # the first calls: nothing is known of one thread, but that it may take so much longer
            self._usual, cost = mean, self._most - 1.0
            if cost * mean * rows < FREE:
                self._begin_trial(1)
                return
            between = OF_MANY
        elif mean < MARGIN * usual:
            self._usual, self._other = mean, usual
            cost = (TRIAL + 1) * (usual / mean - 1)
            between = OF_ONE if tasks > 1 else OF_MANY
        else:
            self._other, cost = mean, self._sum / usual - calls
            between = OF_MANY if tasks > 1 else OF_ONE
            tasks = self._other_than(tasks)
        self._left, self._lost = max(FEWEST, int(between * cost)), 0.0
        self._trial, self.tasks = False, tasks


ALONE: tuple[int, float, OneOrMany | None] = (1, 0.0, None)


class Calls:
    """The calls of one kind that an object makes, by their size.

    ::

        tasks, began, kind = self._calls.begin(rows, work)
        kernel(..., tasks)
        if kind is not None:
            kind.end(tasks, began, rows)

    Parameters
    ----------
    most : callable, default `tasks_for`
        Into how many tasks so many floating-point operations may be cut.
    """

    __slots__ = ("_kinds", "_most")

    def __init__(self, most: Callable[[float], int] = tasks_for) -> None:
        self._most = most
        self._kinds: dict[int, OneOrMany] = {}

    def begin(self, rows: int, work: float) -> tuple[int, float, OneOrMany | None]:
        """Return into how many tasks to cut the call that begins, when it does, and what is to know when it ends.

        That is None for a call that one thread makes anyway: nothing is found out, and it takes no time.

        rows, work : of the call; a row is as much work in each call
        """
        if work < SERIAL_WORK:
            return ALONE
        most = self._most(work)
        if most == 1:
            return ALONE
        key = most << 6 | rows.bit_length()
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = OneOrMany(most)
        return kind.tasks, perf_counter(), kind
