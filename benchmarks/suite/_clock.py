"""Time taken right: loops inside, compile time outside, rivals in turns."""

import time
from statistics import median

SAMPLE = 0.02  # seconds: of a loop that is timed as one
TURNS = 15


def loop(call, calls):
    """Do it so many times."""
    for _ in range(calls):
        call()


def calls_in_a_sample(call):
    """Return how often it can be done in a sample; it has been done before, and is warm after."""
    calls, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SAMPLE:
        call()
        calls += 1
    return max(1, round(calls * SAMPLE / elapsed))


class Tracked:
    """A benchmark of asv that returns a figure, or the base of one that is timed."""

    timeout = 300  # seconds: the first process of a commit compiles
    # asv shows results of one version as one line. It takes a digest of a method for that, which does not see what
    # else a figure depends on: raise this where it measures something else than before.
    version = "1"


class Timed(Tracked):
    """A benchmark of asv whose result is the seconds of one unit of work.

    asv runs `setup` before every call of what it times, and the call once: too short for microseconds. So a `time_`
    method here is ``loop(self.call, self.calls)``, and the clock that asv reads goes slower by what the loop holds.

    A class says what it does in `prepare(*params)`, which returns a call and how many units are in it.
    """

    number, warmup_time = 1, 0.0  # `setup` does both
    rounds, repeat = 2, (3, 12, 0.3)  # processes; samples in each: at least, at most, in so many seconds

    _params = None

    def setup(self, *params):
        """Prepare once in a process, and compile: asv calls it again before every sample."""
        if self._params == params:
            return
        self.call, units = self.prepare(*params)
        self.call()
        self.calls = calls_in_a_sample(self.call)
        slower = self.calls * units
        self.timer = lambda: time.perf_counter() / slower
        self._params = params


def in_turns(*calls):
    """Time calls in turns; return for each the seconds of a call, turn by turn.

    A turn follows as much of the same that is not counted: threads of one library wake, those of another sleep,
    caches fill. A busy moment of the machine falls on all of them alike.
    """
    for call in calls:
        call()
    counts = [calls_in_a_sample(call) for call in calls]
    seconds = [[] for _ in calls]
    for _ in range(TURNS):
        for call, count, times in zip(calls, counts, seconds, strict=True):
            loop(call, count)
            began = time.perf_counter()
            loop(call, count)
            times.append((time.perf_counter() - began) / count)
    return seconds


def ratio(call, rival):
    """Return the time of a call as a multiple of its rival's."""
    return median(a / b for a, b in zip(*in_turns(call, rival), strict=True))
