"""`fastbp describe`: what each column of a table would become."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table as Shown
from rich.text import Text

from fastbp._base.console import thousands, visible
from fastbp.app import arguments, report
from fastbp.app.options import columns_of, reading_of
from fastbp.app.source import Source
from fastbp.data.columns.describe import described, described_target
from fastbp.data.columns.options import ColumnOptions
from fastbp.data.columns.roles import find_roles
from fastbp.data.columns.target import find_target
from fastbp.data.reading.table import AnyTable


def describe(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A table, as for train.")],
    target: arguments.Target = None,
    task: arguments.Task = None,
    separator: arguments.Separator = None,
    decimal: arguments.Decimal = None,
    encoding: arguments.Encoding = None,
    header: arguments.Header = None,
    quote: arguments.Quote = None,
    missing: arguments.Missing = None,
    features: arguments.Features = None,
    drop: arguments.Drop = None,
    categorical: arguments.Categorical = None,
    numeric: arguments.Numeric = None,
    weight: arguments.Weight = None,
    group: arguments.Group = None,
    time: arguments.Time = None,
    stream: arguments.Stream = None,
) -> None:
    """Show what each column of a table would become, and why."""
    table = Source(file, reading_of(context.params), stream).table()
    describe_table(table, columns_of(context.params), task)


def describe_table(table: AnyTable, options: ColumnOptions, task: str | None = None) -> None:
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
