"""A whole benchmark: start the processes, measure, print."""

from collections.abc import Sequence

from rich.console import Console

from fastbp._base.console import visible
from fastbp._base.threads import get_num_threads
from fastbp.bench import report
from fastbp.bench.cases import Case
from fastbp.bench.measure import OWN, Outcome, measure
from fastbp.bench.workers import WorkerProcess, started


def run(
    console: Console, libraries: Sequence[str], cases: Sequence[Case], *, rounds: int, seconds: float
) -> tuple[list[Outcome], list[WorkerProcess], dict[str, str]]:
    """Measure cases with libraries on one thread and on as many as there may be, and print tables.

    Returns
    -------
    outcomes : list of Outcome
        One a case.
    workers : list of WorkerProcess
        Ended by now; they know their versions.
    missing : dict
        Libraries that are not here, and why.

    Raises
    ------
    ImportError
        If fastbp itself does not start in a process of its own.
    """
    console.width = max(console.width, report.WIDTH)  # a narrow terminal breaks lines: better than losing figures
    console.print(report.machine(), soft_wrap=True)
    with started(libraries, sorted({1, get_num_threads()})) as (workers, missing):
        if OWN in missing:
            raise ImportError(f"fastbp does not start in a process of its own: {missing[OWN]}")
        console.print(report.versions(workers, missing), soft_wrap=True)
        with console.status("") as status:
            outcomes = measure(
                workers, cases, rounds=rounds, seconds=seconds, on_case=lambda case: status.update(case.label)
            )
    console.print(report.limits_text(outcomes), soft_wrap=True)
    for table in report.tables(outcomes):
        console.print(table)
    for line in report.failures(outcomes):
        console.print(visible(line), markup=False, soft_wrap=True)
    return outcomes, workers, missing
