"""``python -m benchmarks.tables``: networks for tables beside one another."""

import argparse
from pathlib import Path

from benchmarks.tables.data import TABLES
from benchmarks.tables.methods import MODULES
from benchmarks.tables.run import Wanted, run


def main() -> None:
    """Fit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("runs/tables"))
    parser.add_argument("--methods", nargs="+", default=list(MODULES), choices=list(MODULES), metavar="METHOD")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES), metavar="TABLE")
    parser.add_argument("--rows", type=int, default=1536, help="training rows at most")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    wanted = Wanted(options.methods, options.tables, options.rows, options.seeds, options.threads)
    if not run(options.results, wanted, options.seconds):
        raise SystemExit(3)  # time is over, and not all is done


if __name__ == "__main__":
    main()
