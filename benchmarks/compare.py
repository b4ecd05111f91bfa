"""Two commits in turns, row by row: `make compare BASE=HEAD~1 HEAD=HEAD`.

Each round measures both, with native kernels or both with Numba's, and each round begins with the other. A row is worse
where the median of its ratios, round by round, passes a factor and no round says otherwise: 1.5 for seconds, which
move on a shared machine, 1.10 for figures that are measured against another in the same process, and for bytes.
The exit code is 1 if a row is worse, or fails in the second commit, and 2 if nothing could be compared.
"""

import shutil
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import typer
from _alone import alone
from _asv import (
    OWN,
    Row,
    asv_run,
    benchmarks,
    is_installed,
    know_machine,
    measured,
    refuse,
    require_rows,
    resolve,
    values,
)
from _kernels import configuration, of_both
from asv.util import human_value
from rich import box
from rich.console import Console
from rich.table import Table

TIME_FACTOR, FACTOR = 1.5, 1.10
LARGER_IS_BETTER = ("percent_of_peak", "accuracy")  # parts of names; asv.conf.json lets asv look for no step of theirs


@dataclass(frozen=True)
class Change:
    """What became of a row: its values in each round."""

    row: Row
    unit: str
    base: list[float]
    head: list[float]

    @property
    def ratios(self):
        """Return how many times worse each round was."""
        pairs = zip(self.base, self.head, strict=True)
        if any(part in self.row.benchmark for part in LARGER_IS_BETTER):
            return [_ratio(head, base) for base, head in pairs]
        return [_ratio(base, head) for base, head in pairs]

    @property
    def factor(self):
        """Return by how much it may move on its own."""
        return TIME_FACTOR if self.unit == "seconds" else FACTOR

    @property
    def verdict(self):
        """Return "worse", "better", or "same"."""
        ratios = self.ratios
        if median(ratios) > self.factor and min(ratios) > 1:
            return "worse"
        if median(ratios) < 1 / self.factor and max(ratios) < 1:
            return "better"
        return "same"


def _ratio(base, head):
    if base == head:
        return 1.0
    return head / base if base else float("inf")


def changes(rounds, about):
    """Compare rounds, pairs of what `values` returned.

    Return the changes, the rows that the head broke, and those that one side skipped or never had.
    """
    numbers = [tuple({row for row, value in side.items() if measured(value)} for side in pair) for pair in rounds]
    both = set.intersection(*(side for pair in numbers for side in pair))
    some = set.union(*(side for pair in numbers for side in pair))
    found = [
        Change(
            row, about[row.benchmark]["unit"], [base[row] for base, _ in rounds], [head[row] for _, head in rounds],
        )
        for row in sorted(both)
    ]  # fmt: skip
    broken = {row for base, head in rounds for row in some if measured(base.get(row)) and head.get(row, 0) is None}
    return found, sorted(broken), sorted(some - both - broken)


def show(console, found, every):
    """Print what changed, the worst first, or every row."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column()
    table.add_column("benchmark", overflow="fold")
    for name in ("base", "head", "times worse", "rounds"):
        table.add_column(name, no_wrap=True)
    for change in sorted(found, key=lambda change: -median(change.ratios)):
        if every or change.verdict != "same":
            ratios = sorted(change.ratios)
            table.add_row(
                {"worse": "[red]worse[/]", "better": "[green]better[/]", "same": ""}[change.verdict], str(change.row),
                _readable(median(change.base), change.unit), _readable(median(change.head), change.unit),
                f"{median(ratios):.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            )  # fmt: skip
    if table.row_count:
        console.print(table)
    counts = [sum(change.verdict == verdict for change in found) for verdict in ("worse", "better", "same")]
    console.print("{} worse, {} better, {} the same".format(*counts))


def _readable(value, unit):
    return human_value(value, unit) if unit in ("seconds", "bytes") else f"{value:.4g}"


def measure(console, commits, kernels, bench, rounds):
    """Measure two commits so many times; return pairs of `values`, and what is known of each benchmark."""
    folder = OWN / "compare"
    shutil.rmtree(folder, ignore_errors=True)
    measurements = []
    for i in range(rounds):
        results = folder / f"round-{i}"
        config = configuration(folder, kernels, results_dir=str(results))
        know_machine()
        for commit in commits if i % 2 == 0 else reversed(commits):
            console.print(f"round {i + 1} of {rounds}: {commit[:8]}, {kernels}")
            asv_run(f"--bench={bench}", "--attribute", "rounds=1", "--show-stderr", f"{commit}^!",
                config=config, quiet=True)  # fmt: skip
            if not is_installed(commit, kernels):
                refuse(f"{commit[:8]} is not what was measured: it was not built, or another was installed meanwhile")
        measurements.append(tuple(values(results, commit, kernels) for commit in commits))
        about = benchmarks(results)
    return measurements, about


def main(
    base: Annotated[str, typer.Argument(help="A commit.")],
    head: Annotated[str, typer.Argument(help="Another, which may be worse.")],
    bench: Annotated[str, typer.Option(help="A regular expression: only benchmarks whose name it finds.")] = ".",
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
    every: Annotated[bool, typer.Option("--all", help="Show rows that did not change too.")] = False,
) -> None:
    """Measure, print, judge."""
    console = Console(highlight=False)
    commits = resolve(base), resolve(head)
    if commits[0] == commits[1]:
        refuse(f"{base} and {head} are the same commit")
    kernels = of_both(*commits)
    require_rows(bench)
    with alone():
        measurements, about = measure(console, commits, kernels, bench, rounds)
    found, broken, one_sided = changes(measurements, about)
    if not found:
        refuse("nothing was measured on both sides")
    show(console, found, every)
    for row in broken:
        console.print(f"fails at {head}: {row}", markup=False)
    for row in one_sided:
        console.print(f"not measured on both sides in every round: {row}", markup=False)
    if broken or any(change.verdict == "worse" for change in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
