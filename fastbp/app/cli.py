"""The command line: `fastbp train`, `evaluate`, `predict`, `describe`, `bench`, `info`, `warmup`."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

import fastbp
from fastbp._base.check import choice
from fastbp._base.console import thousands, wants_no_colour
from fastbp._base.files import check_target
from fastbp.app import arguments, report
from fastbp.app.answers import Answers, answers_of, check_ending, write_answers
from fastbp.app.describe import describe
from fastbp.app.errors import OneLineErrors
from fastbp.app.folder import RunFolder
from fastbp.app.options import DTYPES, Options, reading_of
from fastbp.app.pipeline import Pipeline
from fastbp.app.run import Run
from fastbp.app.session import train_in
from fastbp.app.source import Source
from fastbp.data.reading.files import STANDARD_INPUT
from fastbp.data.reading.large import LargeTable
from fastbp.kernels.compile.prebuilt import prebuilt

BENCH_ROUNDS = 9


app = typer.Typer(
    cls=OneLineErrors,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None if wants_no_colour() else "rich",
)


@app.callback(invoke_without_command=True)
def fastbp_command(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Train and run dense networks on this CPU."""
    if version:
        typer.echo(f"fastbp {fastbp.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def train(
    context: typer.Context,
    data: arguments.Data = "digits",
    target: arguments.Target = None,
    test: arguments.Test = None,
    stream: arguments.Stream = None,
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
    task: arguments.Task = None,
    scaling: arguments.Scaling = "auto",
    validation_fraction: arguments.ValidationFraction = None,
    preset: arguments.Preset = None,
    hidden: arguments.Hidden = None,
    activation: arguments.Activation = None,
    norm: arguments.Norm = None,
    dropout: arguments.Dropout = None,
    init: arguments.Init = None,
    dtype: arguments.Dtype = "float32",
    optimizer: arguments.OptimizerName = None,
    lr: arguments.Rate = None,
    schedule: arguments.Schedule = None,
    warmup: arguments.Warmup = 0.0,
    weight_decay: arguments.WeightDecay = None,
    no_decay: arguments.NoDecay = None,
    clip_norm: arguments.ClipNorm = None,
    ema: arguments.Ema = None,
    label_smoothing: arguments.LabelSmoothing = None,
    class_weight: arguments.ClassWeight = None,
    epochs: arguments.Epochs = None,
    batch_size: arguments.BatchSize = None,
    metric: arguments.Metric = None,
    patience: arguments.Patience = 0,
    monitor: arguments.MonitorName = None,
    threads: arguments.Threads = None,
    seed: arguments.Seed = 0,
    out: arguments.Out = None,
    resume: arguments.Resume = False,
    force: arguments.Force = False,
) -> None:
    """Train a network; write model.safetensors, history.csv and learning_curve.png.

    Ctrl-C or a kill (SIGTERM) ends it at the end of a step, what is done is written, and --resume goes on from there;
    after a kill -9 from at most 30 s before.
    """
    asked = arguments.asked(context.params)
    if resume and force:
        raise ValueError("train expects --resume or --force, not both")
    options = None if resume else Options(**asked)
    _set_threads(threads)
    folder = RunFolder(out if out is not None else Path("runs", _run_name(data)))
    if resume:
        folder.last_checkpoint()  # before a folder is made
    asked |= {"data": data, "task": task}
    typed = {name: value for name, value in asked.items() if _typed(context, name)}

    def make() -> Run:
        if options is None:
            return Run.resumed(folder.last_checkpoint(), typed)
        return Run(data, options, task=task)

    raise typer.Exit(train_in(folder, make, resume=resume, force=force))


def _run_name(data: str) -> str:
    """Return a name for the results of some data: that of the file without what ends it, or stands for other names."""
    name = Path(data).resolve().name.split(".")[0]
    return "standard-input" if data == STANDARD_INPUT else re.sub(r"[*?\[\]]", "", name).strip("-_") or "data"


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        try:
            fastbp.set_num_threads(threads)
        except ValueError as error:
            raise ValueError(str(error).replace("set_num_threads expects n", "--threads expects a number")) from None


@app.command()
def evaluate(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="model.safetensors, as train wrote it.")],
    data: Annotated[str, typer.Argument(help="As for train.")],
    target: Annotated[
        list[str] | None, typer.Option(help="The column that holds the truth, each; else those of training.")
    ] = None,
    separator: arguments.Separator = None,
    decimal: arguments.Decimal = None,
    encoding: arguments.Encoding = None,
    header: arguments.Header = None,
    quote: arguments.Quote = None,
    missing: arguments.Missing = None,
    stream: arguments.Stream = None,
) -> None:
    """Compare a model's answers with the truth."""
    pipeline = Pipeline.load(model)
    source = Source(data, reading_of(context.params), stream)
    rows, which = pipeline.features.load_answered(source, tuple(target or ()), pipeline.reading)
    console, few = report.make_console(lasting=False), 0 < len(pipeline.classes) <= report.MOST_CLASSES
    with report.CompileWatch(console).watch():
        figures = pipeline.evaluate(rows)
        confusion = pipeline.confusion(rows) if few else None
    console.print(
        report.pairs(
            {"model": str(model), "data": data, "rows": f"{thousands(rows.rows)}, {which}"}
            | {report.written(name): report.number(name, value) for name, value in figures.items()}
        )
    )
    if confusion is not None:
        console.print(report.per_class(pipeline.classes, confusion))


@app.command()
def predict(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="model.safetensors, as train wrote it.")],
    file: Annotated[
        str, typer.Argument(help="Features: digits, a table, .npy, .npz, an IDX file or a folder of them.")
    ],
    out: Annotated[Path, typer.Option(help="File of the answers, by its ending .csv, .npy or .npz.")],
    row_id: arguments.Id = None,
    separator: arguments.Separator = None,
    decimal: arguments.Decimal = None,
    encoding: arguments.Encoding = None,
    header: arguments.Header = None,
    quote: arguments.Quote = None,
    missing: arguments.Missing = None,
    stream: arguments.Stream = None,
) -> None:
    """Write a model's answers, a row a row: class names and probabilities, or quantities."""
    check_ending(out)
    check_target(out)
    pipeline = Pipeline.load(model)
    rows = pipeline.features.load(Source(file, reading_of(context.params), stream), pipeline.reading)
    unseen: Counter[str] = Counter()
    console = report.make_console()

    def answers() -> Iterator[Answers]:
        for block in rows.blocks() if isinstance(rows, LargeTable) else [rows]:
            first = {} if row_id is None else {row_id: pipeline.features.load_column(block, row_id)}
            x = pipeline.features.inputs(block, file, unseen)
            with report.CompileWatch(console).watch():
                z = pipeline.outputs(x)
            yield answers_of(pipeline, z, first)

    columns = write_answers(out, answers())
    for name, count in unseen.items():
        report.say(console, f"column {name!r} has a value that training did not have in {thousands(count)} rows")
    report.say(console, f"{out}: {', '.join(columns)} of {thousands(len(rows))} rows")


app.command()(describe)


@app.command()
def bench(
    sizes: Annotated[
        list[str] | None, typer.Argument(help="Of all layers, such as 784,128,10; some usual networks without it.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = 128,
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "relu",
    optimizer: Annotated[str, typer.Option(help="sgd or adam.")] = "sgd",
    peers: Annotated[bool, typer.Option(help="Measure PyTorch and JAX too, where they are installed.")] = True,
    threads: Annotated[int | None, typer.Option(min=1, help="Most threads; one is measured too.")] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Of each of the turns that all take.")] = 0.05,
) -> None:
    """Time a training step, beside other libraries and the limits of this CPU."""
    from fastbp.bench.cases import USUAL, Case
    from fastbp.bench.run import run

    choice(optimizer, ("sgd", "adam"), "bench", "--optimizer")
    fastbp.mlp([1, 1, 1], activation)
    networks = [arguments.sizes(text, "bench", fewest=2) for text in sizes or []] or USUAL
    cases = [Case("step", network, batch, activation, optimizer=optimizer) for network in networks]
    _set_threads(threads)
    console = report.make_console(lasting=False)
    with report.CompileWatch(console).watch():
        fastbp.warmup()  # here, and not in the process that is timed, so that it is told
    libraries = ["fastbp", "torch", "jax"] if peers else ["fastbp"]
    outcomes, *_ = run(console, libraries, cases, rounds=BENCH_ROUNDS, seconds=seconds)
    if not all(outcome.best("fastbp") for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def info() -> None:
    """Show what decides speed and bits: CPU, instruction set, threads, cache, versions."""
    report.make_console(lasting=False).print(report.pairs(fastbp.config()))


@app.command()
def warmup(
    dtype: Annotated[list[str] | None, typer.Option(help=f"{arguments.names(DTYPES)}; may be given twice.")] = None,
) -> None:
    """Compile the kernels ahead, so that a first run begins at once."""
    console = report.make_console()
    for name in dtype or ["float32"]:
        choice(name, DTYPES, "warmup", "--dtype")
    for name in dtype or ["float32"]:
        watch = report.CompileWatch(console)
        began = time.perf_counter()
        with watch.watch():
            fastbp.warmup((name,))
        kernels = (
            f"{watch.compiled} compiled" if watch.compiled else "prebuilt" if prebuilt().level else "from the cache"
        )
        console.print(report.pairs({"kernels": kernels, "time": f"{time.perf_counter() - began:.1f} s"}, title=name))


def main() -> None:
    """Run the command line."""
    app(prog_name="fastbp")
