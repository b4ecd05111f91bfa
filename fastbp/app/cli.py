"""The command line: `fastbp train`, `evaluate`, `predict`, `bench`, `info`, `warmup`."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import fastbp
from fastbp._base.check import choice
from fastbp._base.console import thousands, wants_no_colour
from fastbp._base.files import check_target
from fastbp.app import report
from fastbp.app.answers import check_ending, write_answers
from fastbp.app.errors import OneLineErrors
from fastbp.app.folder import RunFolder
from fastbp.app.options import DTYPES, RATES, SCALINGS, SCHEDULES, WATCHED, Options
from fastbp.app.pipeline import Pipeline
from fastbp.app.run import Run
from fastbp.app.session import train_in
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.compile.prebuilt import prebuilt
from fastbp.train.metrics import metric_names

BENCH_ROUNDS = 9
SIZES = {"--hidden": "256,128", "bench": "784,128,10"}  # examples


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


def _sizes(text: str, name: str = "--hidden", fewest: int = 0) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes) or len(sizes) < fewest:
        raise ValueError(f"{name} expects sizes of layers such as {SIZES[name]}, got {text!r}")
    return sizes


def _names(options: Any) -> str:
    return ", ".join(options)


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        str, typer.Argument(help="digits, a folder of IDX files (MNIST's names), or an .npz, .csv or .parquet file.")
    ] = "digits",
    target: Annotated[str | None, typer.Option(help="The column to predict, of a .csv or .parquet file.")] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression; else the target tells.")] = None,
    scaling: Annotated[str, typer.Option(help=f"{_names(SCALINGS)}. auto: scale images, standardize others.")] = "auto",
    validation_fraction: Annotated[float, typer.Option(help="The part of the training rows to watch on.")] = 0.1,
    hidden: Annotated[str, typer.Option(help="Sizes of the hidden layers; '' for none.")] = "256,128",
    activation: Annotated[str, typer.Option(help=f"Of the hidden layers: {_names(ACTIVATIONS)}.")] = "relu",
    init: Annotated[str | None, typer.Option(help="Initial weights, such as he_normal; else by activation.")] = None,
    dtype: Annotated[str, typer.Option(help=f"{_names(DTYPES)}.")] = "float32",
    optimizer: Annotated[str, typer.Option(help=f"{_names(RATES)}.")] = "adam",
    lr: Annotated[
        float | None,
        typer.Option(help=f"Learning rate; else {_names(f'{n} {rate:g}' for n, rate in RATES.items())}."),
    ] = None,
    schedule: Annotated[str, typer.Option(help=f"Of lr: {_names(SCHEDULES)}. linear: to 0 by epochs.")] = "linear",
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay as the optimizer means it; else adamw 0.01, others 0.")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="The part of a label spread over all classes; 0.1 without it.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often to go through the training rows.")] = 60,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = 64,
    metric: Annotated[list[str] | None, typer.Option(help=f"Evaluate it too, each: {metric_names()}.")] = None,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after so many epochs without a better validation loss; 0: never.")
    ] = 0,
    monitor: Annotated[str, typer.Option(help="With --patience the figure to watch, such as val_f1_macro.")] = WATCHED,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; the result does not depend on them.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the validation rows, the weights and the order.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; runs/NAME without it.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in that folder, as it was asked for; --epochs may be another number."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew, though the folder holds another run or an unfinished one.")
    ] = False,
) -> None:
    """Train a network; write model.safetensors, history.csv and learning_curve.png.

    Ctrl-C or a kill (SIGTERM) ends it at the end of a step, what is done is written, and --resume goes on from there;
    after a kill -9 from at most 30 s before.
    """
    options = Options(
        hidden=_sizes(hidden),
        activation=activation,
        init=init,
        dtype=dtype,
        optimizer=optimizer,
        lr=lr,
        schedule=schedule,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        epochs=epochs,
        batch_size=batch_size,
        patience=patience,
        validation_fraction=validation_fraction,
        scaling=scaling,
        seed=seed,
        metric=tuple(metric or ()),
        monitor=monitor,
    )
    if resume and force:
        raise ValueError("train expects --resume or --force, not both")
    _set_threads(threads)
    folder = RunFolder(out if out is not None else Path("runs", Path(data).resolve().name.split(".")[0]))
    if resume:
        folder.last_checkpoint()  # before a folder is made
        asked = asdict(options) | {"data": data, "target": target, "task": task}
        typed = {name: value for name, value in asked.items() if _typed(context, name)}

    def make() -> Run:
        if resume:
            return Run.resumed(folder.last_checkpoint(), typed)
        return Run(data, options, target=target, task=task)

    raise typer.Exit(train_in(folder, make, resume=resume, force=force))


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
    model: Annotated[Path, typer.Argument(help="model.safetensors, as train wrote it.")],
    data: Annotated[str, typer.Argument(help="As for train.")],
    target: Annotated[str | None, typer.Option(help="The column that holds the truth; else that of training.")] = None,
) -> None:
    """Compare a model's answers with the truth."""
    pipeline = Pipeline.load(model)
    x, y, which = pipeline.load_rows(data, target)
    console = report.make_console(lasting=False)
    with report.CompileWatch(console).watch():
        figures = pipeline.evaluate(x, y, data)
        predicted = pipeline.outputs(x, data).argmax(axis=1)
    console.print(
        report.pairs(
            {"model": str(model), "data": data, "rows": f"{thousands(len(x))}, {which}"}
            | {report.written(name): report.number(name, value) for name, value in figures.items()}
        )
    )
    if 0 < len(pipeline.classes) <= report.MOST_CLASSES:
        console.print(report.per_class(pipeline.classes, y, predicted))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="model.safetensors, as train wrote it.")],
    file: Annotated[
        str, typer.Argument(help="Features: digits, .csv, .parquet, .npy, .npz, an IDX file or a folder of them.")
    ],
    out: Annotated[Path, typer.Option(help="File of the answers, by its ending .csv, .npy or .npz.")],
) -> None:
    """Write a model's answers: class names and probabilities, or quantities."""
    check_ending(out)
    check_target(out)
    pipeline = Pipeline.load(model)
    x = fastbp.load_features(file, feature_names=pipeline.model.metadata["feature_names"] or None, keep_bytes=True)
    console = report.make_console()
    with report.CompileWatch(console).watch():
        z = pipeline.outputs(x, file)
    columns = write_answers(out, pipeline, z)
    report.say(console, f"{out}: {', '.join(columns)} of {thousands(len(z))} rows")


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
    networks = [_sizes(text, "bench", fewest=2) for text in sizes or []] or USUAL
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
    dtype: Annotated[list[str] | None, typer.Option(help=f"{_names(DTYPES)}; may be given twice.")] = None,
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
