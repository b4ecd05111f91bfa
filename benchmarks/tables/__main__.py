"""``python -m benchmarks.tables``: networks and trees beside one another on real tables."""

import argparse
from pathlib import Path

from benchmarks.tables.data import TABLES
from benchmarks.tables.methods import MODULES, Asked
from benchmarks.tables.report import report
from benchmarks.tables.run import Wanted, lines, run
from benchmarks.tables.speed import CASES, speed


def parser() -> argparse.ArgumentParser:
    """Return the commands and their options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    made.add_argument("--results", type=Path, default=Path("runs/tables"), help="folder of lines of JSON")
    commands = made.add_subparsers(dest="command", required=True)
    fits = commands.add_parser("run", help="fit what is not among the results yet")
    quick = [name for name in MODULES if "TabM" not in name]
    fits.add_argument("--methods", nargs="+", default=quick, choices=list(MODULES), metavar="METHOD",
                      help="without it all but TabM, which takes minutes a fit")  # fmt: skip
    fits.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES), metavar="TABLE")
    fits.add_argument("--rows", type=int, default=1536, help="training rows at most")
    fits.add_argument("--seeds", type=int, default=5, help="splits of each table")
    fits.add_argument("--threads", type=int, default=1)
    fits.add_argument("--epochs", type=int, help="of networks, in place of their own number")
    fits.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no fit later; exit code 3 if any is left"
    )
    shown = commands.add_parser("report", help="show the results as tables: of the splits that all methods have")
    shown.add_argument("--methods", nargs="+", default=list(MODULES), choices=list(MODULES), metavar="METHOD")
    shown.add_argument("--rows", type=int, default=1536, help="training rows at most")
    timed = commands.add_parser("speed", help="seconds of fits and predictions, by turns")
    timed.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    timed.add_argument("--rows", type=int, default=8000, help="training rows")
    timed.add_argument("--epochs", type=int, help="in place of the methods' own number")
    timed.add_argument("--turns", type=int, default=3)
    timed.add_argument("--threads", type=int, default=2)
    return made


def main() -> None:
    """Do what the command says."""
    options = parser().parse_args()
    if options.command == "report":
        print(report(lines(options.results), options.rows, options.methods))
    elif options.command == "speed":
        speed(options.cases, options.rows, options.turns, Asked(0, options.threads, options.epochs))
    else:
        named = ("methods", "tables", "rows", "seeds", "threads", "epochs")
        if not run(options.results, Wanted(**{name: getattr(options, name) for name in named}), options.seconds):
            raise SystemExit(3)


if __name__ == "__main__":
    main()
