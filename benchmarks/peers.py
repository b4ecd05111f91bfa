"""fastbp beside PyTorch, torch.compile, JAX, scikit-learn and NumPy, on the same work: `make bench-peers`.

Every library runs in processes of its own, one with one thread pinned to a core and one with all; they take turns, and
of each the better of the two counts. What compiles does so before; data is in memory. The FMA peak and the copy
bandwidth take turns among them. Missing libraries are named and left out.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fastbp._base.files import check_target, write_atomically
from fastbp.bench import report
from fastbp.bench.cases import PEERS
from fastbp.bench.roofline import roofline
from fastbp.bench.run import run
from fastbp.bench.workers import LIBRARIES

SECONDS = 0.03  # of a turn, after as much again to settle
QUICK_ROUNDS = 3


def main(
    only: Annotated[list[str] | None, typer.Option(help="A part of a case's kind and name; may be repeated.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="A library to leave out; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each; a third of it for slow cases.")] = 15,
    quick: Annotated[bool, typer.Option(help=f"{QUICK_ROUNDS} rounds.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write all that was measured.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw a roofline, as PNG.")] = None,
) -> None:
    """Measure, print tables, write files."""
    cases = [case for case in PEERS if only is None or any(part in case.label for part in only)]
    if not cases:
        raise typer.BadParameter("--only names no case; there are: " + "; ".join(case.label for case in PEERS))
    for path in (json, picture):
        if path is not None:
            check_target(path)
    outcomes, workers, missing = run(
        Console(highlight=False),
        [name for name in LIBRARIES if name not in (without or [])],
        cases,
        rounds=QUICK_ROUNDS if quick else rounds,
        seconds=SECONDS,
    )
    if json is not None:
        write_atomically(json, report.to_json(outcomes, workers, missing))
    if picture is not None:
        write_atomically(picture, roofline(outcomes))


if __name__ == "__main__":
    typer.run(main)
