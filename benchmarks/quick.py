"""Every benchmark of the suite once, in the environment at hand, counted: `make bench-quick`.

It is no measurement. It shows that the suite runs: a row without a number fails, unless a library or a core that it
needs is missing here; with --complete nothing may be missing.
"""

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from _asv import asv_run, benchmarks, configured, know_machine, measured, require_rows, resolve, values
from rich.console import Console


def main(
    bench: Annotated[str, typer.Option(help="A regular expression: only benchmarks whose name it finds.")] = ".",
    complete: Annotated[bool, typer.Option(help="A skipped row fails too.")] = False,
) -> None:
    """Run, count, judge."""
    require_rows(bench)
    console = Console(highlight=False)
    head = resolve("HEAD")
    with tempfile.TemporaryDirectory() as folder:
        config = configured(folder, results_dir=str(Path(folder) / "results"))
        know_machine()
        code = asv_run("--python=same", "--quick", "--show-stderr", "--set-commit-hash", head,
            f"--bench={bench}", config=config)  # fmt: skip
        results = Path(folder) / "results"
        found = values(results, head)
        wanted = {name for name in benchmarks(results) if re.search(bench, name)}
    failed = [str(row) for row, value in found.items() if value is None]
    failed += sorted(wanted - {row.benchmark for row in found})
    skipped = [row for row, value in found.items() if value is not None and not measured(value)]
    counts = Counter(row.benchmark for row, value in found.items() if measured(value))
    for name, count in sorted(counts.items()):
        console.print(f"{count:4} {name}")
    console.print(f"{sum(counts.values()):4} rows measured, {len(skipped)} skipped, {len(failed)} failed")
    for row in skipped:
        console.print(f"skipped: {row}", markup=False)
    for row in failed:
        console.print(f"failed: {row}", markup=False)
    if code or failed or not counts or (complete and skipped):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
