"""The outcomes as tables and as JSON."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

import fastbp
from fastbp.bench.cases import KINDS
from fastbp.bench.measure import OWN, Outcome, Timing
from fastbp.bench.workers import LIBRARIES, WorkerProcess

WIDTH = 150  # columns that the widest table needs


def machine() -> str:
    """Say what this was measured on."""
    about = fastbp.config()
    return (
        f"{about['CPU']}, {about['instruction set']}, {fastbp.get_num_threads()} threads, Python "
        f"{platform.python_version()}; load in the last minute {os.getloadavg()[0]:.1f}: where others compute, believe "
        "ratios, not times"
    )


def versions(workers: Sequence[WorkerProcess], missing: Mapping[str, str]) -> str:
    """Name the libraries, and those that are not there."""
    here = dict.fromkeys(f"{LIBRARIES[w.library][0]} {w.version}" for w in workers)
    text = ", ".join(here)
    if missing:
        text += "; without " + ", ".join(f"{LIBRARIES[name][0]} ({reason})" for name, reason in missing.items())
    return text


def limits(outcomes: Sequence[Outcome], over: Callable[[list[float]], Any] = np.median) -> dict[tuple[str, int], float]:
    """Return the limits, by default medians over all cases."""
    names = {name for outcome in outcomes for name in outcome.limits}
    return {
        name: float(over([outcome.limits[name] for outcome in outcomes if name in outcome.limits]))
        for name in sorted(names)
    }


def limits_text(outcomes: Sequence[Outcome]) -> str:
    """Name the limits: the median over all cases, and the best."""
    best = limits(outcomes, max)
    units = {"fma": ("FMA peak", "GFLOP/s"), "copy": ("copy", "GB/s read and written")}
    parts = []
    for limit, (name, unit) in units.items():
        rates = {threads: rate for (which, threads), rate in limits(outcomes).items() if which == limit}
        values = ", ".join(
            f"{rate / 1e9:.0f} on {threads} (best {best[limit, threads] / 1e9:.0f})" for threads, rate in rates.items()
        )
        parts.append(f"{name} in {unit}: {values}")
    return "; ".join(parts)


def _microseconds(timing: Timing) -> str:
    us = timing.median * 1e6
    digits = max(0, 2 - len(str(int(us))))
    return f"{us:.{digits}f}"


def _with_spread(timing: Timing | None) -> str:
    return "-" if timing is None else f"{_microseconds(timing)} ±{timing.spread:.0%}"


def _peer(timing: Timing | None, own: Timing | None) -> str:
    if timing is None:
        return "-"
    ratio = f" {timing.median / own.median:5.2f}x" if own else ""
    return _with_spread(timing) + ratio


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """Return a table for each kind of case.

    Times are medians in µs, with half the distance of the quartiles; a peer's is the better of one thread and all, and
    behind it stands how many times fastbp's best it is.
    """
    return [_comparison(kind, list(group)) for kind, group in groupby(outcomes, key=lambda o: o.case.kind)]


def _comparison(kind: str, outcomes: Sequence[Outcome]) -> Table:
    threads = sorted({n for outcome in outcomes for _, n in outcome.times})
    own = [f"{OWN}\n{n} thr., µs" for n in threads]
    if kind == "optimizer":
        sgd = [f"SGD\n{n} thr., µs" for n in threads]
        ratio = [f"Adam / SGD\n{n} thr." for n in threads]
        rows = [
            [
                outcome.case.name,
                *(_with_spread(outcome.times.get((OWN, n))) for n in threads),
                *(_with_spread(outcome.sgd.get(n)) for n in threads),
                *(_ratio(outcome.times.get((OWN, n)), outcome.sgd.get(n)) for n in threads),
            ]
            for outcome in outcomes
        ]
        return _table(KINDS[kind], ["network, batch", *own, *sgd, *ratio], rows)
    peers = [name for name in LIBRARIES if name != OWN and any(outcome.best(name) for outcome in outcomes)]
    memory = kind == "cross_entropy"
    rate = "GB/s" if memory else "GFLOP/s"
    rows = []
    for outcome in outcomes:
        best = outcome.best(OWN)
        amount = outcome.case.bytes if memory else outcome.case.work
        rows.append(
            [
                outcome.case.name,
                *(_with_spread(outcome.times.get((OWN, n))) for n in threads),
                "-" if best is None else f"{amount / best.median / 1e9:.1f}",
                "-" if outcome.share is None else f"{outcome.share:.0%}",
                *(_peer(outcome.best(name), best) for name in peers),
            ]
        )
    columns = [
        {"cross_entropy": "rows x classes", "dense": "rows x in x out"}.get(kind, "network, batch"),
        *own,
        f"best\n{rate}",
        "of\ncopy" if memory else "of\npeak",
        *(f"{LIBRARIES[name][0]}\nµs, ratio" for name in peers),
    ]
    return _table(KINDS[kind], columns, rows)


def _ratio(above: Timing | None, below: Timing | None) -> str:
    return "-" if above is None or below is None else f"{above.median / below.median:.2f}"


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Name all that did not work."""
    return [
        f"{outcome.case.label}: {name}: {' '.join(reason.split())[:200]}"
        for outcome in outcomes
        for name, reason in outcome.failures.items()
    ]


def to_json(outcomes: Sequence[Outcome], workers: Sequence[WorkerProcess], missing: Mapping[str, str]) -> bytes:
    """Return everything that was measured; times in seconds, limits in operations and bytes a second."""
    content: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": fastbp.config(),
        "versions": {w.library: w.version for w in workers},
        "missing": dict(missing),
        "limits": _nested(limits(outcomes)),
        "cases": [
            {
                "case": outcome.case.to_json(),
                "name": outcome.case.name,
                "flop": outcome.case.work,
                "bytes": outcome.case.bytes,
                "share": outcome.share,
                "times": _nested({key: timing._asdict() for key, timing in outcome.times.items()}),
                "sgd": {str(n): timing._asdict() for n, timing in outcome.sgd.items()},
                "limits": _nested(outcome.limits),
                "failures": outcome.failures,
            }
            for outcome in outcomes
        ],
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def _nested(flat: Mapping[tuple[str, int], Any]) -> dict[str, dict[str, Any]]:
    """Turn keys (name, threads) into two levels."""
    nested: dict[str, dict[str, Any]] = {}
    for (name, threads), value in flat.items():
        nested.setdefault(name, {})[str(threads)] = value
    return nested
