"""`fastbp describe`: what each column of a table would become."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table as Shown
from rich.text import Text

from fastbp._base.console import thousands, visible
from fastbp.app import report
from fastbp.data.columns.describe import described, described_target
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import find_roles
from fastbp.data.columns.target import find_target
from fastbp.data.reading.files import read_table
from fastbp.data.reading.table import Table

Names = list[str] | None


def describe(
    file: Annotated[Path, typer.Argument(help="A table, as for train.")],
    target: Annotated[Names, typer.Option(help="The column to predict; again for several quantities.")] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression; else the target tells.")] = None,
    features: Annotated[Names, typer.Option(help="A column to learn from, each; else all that suit.")] = None,
    drop: Annotated[Names, typer.Option(help="A column to leave out, each.")] = None,
    categorical: Annotated[Names, typer.Option(help="A column of categories, each.")] = None,
    numeric: Annotated[Names, typer.Option(help="A column of numbers, each; what is none is missing there.")] = None,
    weight: Annotated[str | None, typer.Option(help="The column with the weight of each row.")] = None,
    group: Annotated[str | None, typer.Option(help="The column whose rows of one value stay together.")] = None,
    time: Annotated[str | None, typer.Option(help="The column by which early rows are split from late ones.")] = None,
) -> None:
    """Show what each column of a table would become, and why."""
    if not file.exists():
        raise FileNotFoundError(f"no file {str(file)!r}")
    several = {"features": features, "drop": drop, "categorical": categorical, "numeric": numeric, "target": target}
    options = ColumnOptions(
        weight=weight, group=group, time=time, **{name: tuple(names or ()) for name, names in several.items()}
    )
    describe_table(read_table(str(file)), options, task)


def describe_table(table: Table, options: ColumnOptions, task: str | None = None) -> None:
    """Show what a table was read as, and of each column what it becomes and why.

    Raises
    ------
    TableError
        That names all that does not fit in the options, or in the targets.
    """
    roles = find_roles(table, options)
    target = find_target(table, options.target, task) if options.target else None
    lines = described(roles, target)
    facts = {"table": table.name, "rows": thousands(len(table))}
    facts |= {"read as": table.read_as} if table.read_as else {}
    facts |= {"target": described_target(target, len(table))} if target else {}
    facts["columns"] = f"{len(lines)}, of which {sum(line.becomes == 'left out' for line in lines)} are left out"
    console = report.make_console(lasting=False)
    console.print(report.pairs(facts))
    shown = Shown(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (("column", "left"), ("becomes", "left"), ("missing", "right"), ("why", "left")):
        shown.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for line in lines:
        missing = thousands(line.missing) if line.missing else ""
        shown.add_row(Text(visible(line.column)), line.becomes, missing, Text(visible(line.why)))
    console.print(shown)
