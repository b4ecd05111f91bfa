"""The arguments of `fastbp train` as they are typed: their types, and what ``--help`` says of them."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from fastbp.app.options import (
    CLASS_WEIGHTS,
    DTYPES,
    SCALINGS,
    SCHEDULES,
    WATCHED,
    Options,
)
from fastbp.data.sources import is_table_source
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn.mlp import NORMS
from fastbp.tables.recipes.names import DEFAULT, PRESETS
from fastbp.tables.recipes.plain import RATES
from fastbp.train.metrics import metric_names


def names(options: Any) -> str:
    """Return names as help texts list them."""
    return ", ".join(options)


def sizes(text: str, name: str = "--hidden", fewest: int = 0) -> tuple[int, ...]:
    """Return sizes of layers from text, of at least so many; `name` is what errors call it."""
    try:
        found = tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        found = (0,)
    if any(size < 1 for size in found) or len(found) < fewest:
        raise ValueError(f"{name} expects sizes of layers such as {_SIZES[name]}, got {text!r}")
    return found


def asked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `Options` takes, from the parameters that typer has read."""
    found = {field.name: params[field.name] for field in fields(Options)}
    found["hidden"] = None if params["hidden"] is None else sizes(params["hidden"])
    if found["preset"] is None:
        found["preset"] = DEFAULT if is_table_source(params["data"]) else "plain"
    if found["validation_fraction"] is None:
        preset = PRESETS.get(found["preset"], PRESETS["plain"])  # Options refuses names of none
        found["validation_fraction"] = preset["regression"].validation_fraction
    lists = {field.name: tuple(found[field.name] or ()) for field in fields(Options) if field.default == ()}
    return found | lists


def _plain(name: str) -> str:
    """Say what the plain preset has."""
    value = getattr(PRESETS["plain"]["classification"], name)
    return f"plain: {','.join(map(str, value)) if isinstance(value, tuple) else value}."


_SIZES = {"--hidden": "256,128", "bench": "784,128,10"}  # examples
_OWN_RATES = names(f"{name} {rate:g}" for name, rate in RATES.items())

# The data
Data = Annotated[
    str,
    typer.Argument(
        help="digits, a folder of IDX files (MNIST's names), an .npz file, or a table: text, Parquet, Arrow or JSON, "
        "packed or not; a pattern of names or a folder of one; - for the standard input."
    ),
]
Names = list[str] | None
Stream = Annotated[
    bool | None,
    typer.Option(
        help="Read a table a block of rows at a time, so that it need not fit in memory; without it large files are."
    ),
]
Target = Annotated[Names, typer.Option(help="The column to predict, of a table; again for several quantities.")]
Test = Annotated[str | None, typer.Option(help="Other data, whose rows are the test rows.")]
# Options of text that are found out without them
Separator = Annotated[
    str | None,
    typer.Option(
        callback=lambda typed: "\t" if typed in ("tab", "\\t") else typed,
        help="Of text: what is between fields, such as ';', tab, or ' ' for any run of spaces.",
    ),
]
Decimal = Annotated[str | None, typer.Option(help="Of text: the decimal mark of numbers, '.' or ','.")]
Encoding = Annotated[str | None, typer.Option(help="Of text, such as cp1252.")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="Of text: whether the first line names the columns.")
]
Quote = Annotated[str | None, typer.Option(help="Of text: what is around fields that hold separators; '' for none.")]
Missing = Annotated[Names, typer.Option(help="Of text: what stands for a missing value beside NA, ? and so on, each.")]
# What columns of a table are, where the rules should not decide
Features = Annotated[Names, typer.Option(help="Of a table: a column to learn from, each; else all that suit.")]
Drop = Annotated[Names, typer.Option(help="Of a table: a column to leave out, each.")]
Categorical = Annotated[Names, typer.Option(help="Of a table: a column of categories, each.")]
Numeric = Annotated[
    Names, typer.Option(help="Of a table: a column of numbers, each; what is no number is missing there.")
]
Weight = Annotated[str | None, typer.Option(help="Of a table: the column with the weight of each row.")]
Group = Annotated[str | None, typer.Option(help="Of a table: the column whose rows of one value stay together.")]
Time = Annotated[
    str | None, typer.Option(help="Of a table: the column by which late rows are held out, and not rows at random.")
]
Task = Annotated[str | None, typer.Option(help="classification or regression; else the target tells.")]
Scaling = Annotated[str, typer.Option(help=f"Of arrays: {names(SCALINGS)}. auto: scale images, standardize others.")]
ValidationFraction = Annotated[
    float | None,
    typer.Option(help=f"The part of the training rows to watch on. {_plain('validation_fraction')} Others: 0.2."),
]

# The network
Preset = Annotated[
    str | None,
    typer.Option(
        help=f"What is done where the following options do not say it: {names(PRESETS)}. Of tables {DEFAULT}; arrays "
        "have plain alone."
    ),
]
Hidden = Annotated[str | None, typer.Option(help=f"Sizes of the hidden layers; '' for none. {_plain('hidden')}")]
Activation = Annotated[
    str | None, typer.Option(help=f"Of the hidden layers: {names(ACTIVATIONS)}. {_plain('activation')}")
]
Norm = Annotated[str | None, typer.Option(help=f"A layer before each of these activations: {names(NORMS)}.")]
Dropout = Annotated[
    float | None,
    typer.Option(help=f"Probability with which a number of a hidden layer is dropped. {_plain('dropout')}"),
]
Init = Annotated[str | None, typer.Option(help="Initial weights, such as he_normal; else by activation.")]
Dtype = Annotated[str, typer.Option(help=f"{names(DTYPES)}.")]

# The training
OptimizerName = Annotated[str | None, typer.Option(help=f"{names(RATES)}. {_plain('optimizer')}")]
Rate = Annotated[float | None, typer.Option(help=f"Learning rate; else {_OWN_RATES}.")]
Schedule = Annotated[
    str | None,
    typer.Option(
        help=f"Of lr: {names(SCHEDULES)}. linear: to 0 by epochs, or with --warmup by steps. {_plain('schedule')}"
    ),
]
Warmup = Annotated[float, typer.Option(help="The part of the steps in which lr rises, before what --schedule says.")]
WeightDecay = Annotated[
    float | None, typer.Option(help="Weight decay as the optimizer means it; else adamw 0.01, others 0.")
]
NoDecay = Annotated[
    list[str] | None, typer.Option(help="Parameters without weight decay, such as '*.bias'; may be repeated.")
]
ClipNorm = Annotated[float | None, typer.Option(help="Scale the gradients of a step to a norm of at most this.")]
Ema = Annotated[
    float | None,
    typer.Option(help="Average the parameters over steps, such as 0.999; figures and the model are of the averages."),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(help=f"The part of a label spread over all classes. {_plain('label_smoothing')}"),
]
ClassWeight = Annotated[
    str | None,
    typer.Option(help=f"{names(CLASS_WEIGHTS)}: classes count the same in the loss, however many rows each has."),
]
Epochs = Annotated[int | None, typer.Option(min=1, help=f"How often to go through all rows. {_plain('epochs')}")]
BatchSize = Annotated[int | None, typer.Option(min=1, help=f"Rows of a step. {_plain('batch_size')}")]
Metric = Annotated[list[str] | None, typer.Option(help=f"Evaluate it too, each: {metric_names()}.")]
Patience = Annotated[
    int, typer.Option(min=0, help=f"Stop after so many epochs without a better --monitor, else {WATCHED}; 0: never.")
]
MonitorName = Annotated[
    str | None,
    typer.Option(help="Keep the parameters of the epoch with the best of this figure, such as val_accuracy."),
]

# The answers
Id = Annotated[str | None, typer.Option("--id", help="A column of the table that is written first.")]

# The run
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; the result does not depend on them.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the validation rows, the weights, the order and dropout.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the results; runs/NAME without it.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run in that folder, as it was asked for; --epochs may be another number."
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Begin anew, though the folder holds another run or an unfinished one.")
]
