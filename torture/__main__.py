"""`make torture`: run every check as often as it takes to trust it, and print one table."""

import time
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from fastbp._base.console import thousands
from fastbp.kernels.compile.prebuilt import prebuilt

from . import (
    bits,
    builds,
    cache,
    files,
    first_calls,
    forks,
    interrupts,
    large,
    memory,
    others,
    pairs,
    pool,
    readers,
    resumed,
    runs,
    stacks,
    streams,
    tables,
    threads,
)

# Each check and how often the long run tries it: some 50 minutes for all on two cores, 20 of them for pairs. Another
# check is another line.
CHECKS = {
    "bits": (bits.bits, 20),
    "rows": (bits.rows, 10),
    "resume": (resumed.resume, 57),
    "streams": (streams.resume, 60),
    "memory of streams": (streams.memory, 60),
    "threads": (threads.threads, 6),
    "small stacks": (stacks.stacks, 2),
    "nested": (threads.nested, 20),
    "pool": (pool.pool, 10),
    "forks": (forks.forks, 6),
    "compiling": (forks.compiling, 12),
    "first calls under fork": (first_calls.first_calls, 24),
    "settings of others": (others.settings, 20),
    "memory": (memory.memory, 24),
    "first call": (memory.first_call, 12),
    "damaged cache": (cache.damaged, 25),
    "unwritable cache": (cache.unwritable, 6),
    "cold cache": (cache.cold, 6),
    "kills": (files.kills, 200),
    "interrupts": (interrupts.interrupts, 50),
    "stopped runs": (runs.runs, 50),
    "pairs": (pairs.pairs, 20_000),
    "damaged files": (files.damage, 10_000),
    "readers": (readers.readers, 2_000),
    "tables": (tables.tables, 2_000),
    "large tables": (large.large, 1),
    "builds": (builds.builds, 1),
}
# Those that damage the cache of what Numba compiles: prebuilt kernels have none.
OF_THE_CACHE = ("damaged cache", "unwritable cache", "cold cache")


def main(
    only: Annotated[list[str] | None, typer.Option(help="A check to run; give it again for more.")] = None,
    part: Annotated[float, typer.Option(help="Try only this part of the usual number of times.")] = 1.0,
) -> None:
    """Look for crashes, hangs and wrong bits; the exit code says whether any was found."""
    if unknown := set(only or ()) - set(CHECKS):
        raise typer.BadParameter(f"no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("check", "what was tried"):
        table.add_column(column)
    for column in ("times", "failures", "seconds"):
        table.add_column(column, justify="right")
    found = []
    native = prebuilt().level != ""
    for name in only or [name for name in CHECKS if not (native and name in OF_THE_CACHE)]:
        check, times = CHECKS[name]
        began = time.perf_counter()
        with console.status(f"{name} ..."):
            result = check(max(1, round(times * part)))
        seconds = f"{time.perf_counter() - began:.0f}"
        console.print(f"{name}: {result.times} tried, {len(result.failures)} failed, {seconds} s", highlight=False)
        colour = "red" if result.failures else "green"
        failures = f"[{colour}]{len(result.failures)}[/]"
        table.add_row(name, result.tried, thousands(result.times), failures, seconds)
        found += [f"{name}: {failure}" for failure in result.failures]
    console.print(table)
    for failure in found:
        console.print(failure, style="red", highlight=False, markup=False)
    raise typer.Exit(bool(found))


if __name__ == "__main__":
    typer.run(main)
