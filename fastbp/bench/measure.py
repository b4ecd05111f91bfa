"""Contenders take turns: a busy moment of the machine falls on all of them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from fastbp.bench.cases import Case
from fastbp.bench.limits import LIMITS
from fastbp.bench.workers import WorkerError, WorkerProcess

OWN = "fastbp"
SLOW_WORK = 1e10  # cases of more floating-point operations take fewer rounds
FEWEST_ROUNDS = 3


class Timing(NamedTuple):
    """Seconds: the median and the quartiles of some turns."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, as a part of the median."""
        return (self.high - self.low) / 2 / self.median

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing":
        """Sum up turns."""
        low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))


@dataclass
class Outcome:
    """What came of a case: seconds by (library, threads), the limits by (limit, threads), and what failed.

    Limits are rates: floating-point operations and bytes a second, in turns among those of the case.
    """

    case: Case
    times: dict[tuple[str, int], Timing] = field(default_factory=dict)
    limits: dict[tuple[str, int], float] = field(default_factory=dict)
    sgd: dict[int, Timing] = field(default_factory=dict)  # of an "optimizer" case: the same with SGD
    failures: dict[str, str] = field(default_factory=dict)

    def best(self, library: str) -> Timing | None:
        """Return the faster of one thread and many."""
        return min((time for (name, _), time in self.times.items() if name == library), default=None)

    def limit(self, name: str) -> float:
        """Return a limit of the whole machine."""
        return max((rate for (limit, _), rate in self.limits.items() if limit == name), default=math.nan)

    @property
    def share(self) -> float | None:
        """Return fastbp's part of the FMA peak; for cross-entropy of the copy bandwidth."""
        best = self.best(OWN)
        if best is None:
            return None
        if self.case.kind == "cross_entropy":
            return self.case.bytes / best.median / self.limit("copy")
        return self.case.work / best.median / self.limit("fma")


class Turn(NamedTuple):
    """One who takes turns: a worker and the name of what is prepared there."""

    worker: WorkerProcess
    name: str


def take_turns(turns: Sequence[Turn], rounds: int, seconds: float) -> tuple[dict[Turn, Timing], dict[str, str]]:
    """Return the timings of all who did not fail, and why the others did."""
    samples: dict[Turn, list[float]] = {turn: [] for turn in turns}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        for turn in list(samples):
            try:
                samples[turn].append(turn.worker.turn(turn.name, seconds))
            except WorkerError as error:
                failures[turn.worker.name] = str(error)
                del samples[turn]
    return {turn: Timing.of(times) for turn, times in samples.items()}, failures


def measure(
    workers: Sequence[WorkerProcess],
    cases: Iterable[Case],
    *,
    rounds: int,
    seconds: float,
    on_case: Callable[[Case], None] = lambda case: None,
) -> list[Outcome]:
    """Measure each case with all workers that can do it.

    Parameters
    ----------
    workers : sequence of WorkerProcess
        Those of fastbp measure the limits too.
    cases : iterable of Case
    rounds : int
        How many turns each takes; less where a case is slow.
    seconds : float
        Of a turn, after as much again to settle.
    on_case : callable, optional
        Told each case before it begins.
    """
    own = [worker for worker in workers if worker.library == OWN]
    for worker in own:
        for limit in LIMITS:
            worker.prepare(limit)
    outcomes = []
    for case in cases:
        on_case(case)
        few = max(FEWEST_ROUNDS, rounds // 3) if case.work > SLOW_WORK else rounds
        outcomes.append(_measure_one(workers, own, case, few, seconds))
    return outcomes


def _measure_one(
    workers: Sequence[WorkerProcess], own: Sequence[WorkerProcess], case: Case, rounds: int, seconds: float
) -> Outcome:
    outcome = Outcome(case)
    turns = [Turn(worker, limit) for worker in own for limit in LIMITS]
    plans = [(worker, "case", case) for worker in workers if case.kind in worker.kinds]
    if case.kind == "optimizer":
        plans += [(worker, "sgd", replace(case, optimizer="sgd")) for worker in own]
    prepared = []
    for worker, name, planned in plans:
        try:
            worker.prepare(name, planned)
            prepared.append(Turn(worker, name))
        except WorkerError as error:
            outcome.failures[worker.name] = str(error)
    timings, failures = take_turns(turns + prepared, rounds, seconds)
    outcome.failures |= failures
    for (worker, name), timing in timings.items():
        if name in LIMITS:
            # The faster quartile: a limit is what the machine can do, and slow cases have few rounds.
            outcome.limits[name, worker.threads] = 1 / timing.low
        elif name == "sgd":
            outcome.sgd[worker.threads] = timing
        else:
            outcome.times[worker.library, worker.threads] = timing
    for worker, name in prepared:
        if worker.alive:
            worker.drop(name)
    return outcome
