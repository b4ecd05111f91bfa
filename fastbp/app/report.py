"""What the command line shows: a progress that a file can hold too, notes on compiling, tables of results."""

import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastbp._base.console import console_on, thousands, visible
from fastbp._base.program import ended_at_once
from fastbp._base.threads import get_num_threads
from fastbp.app.run import Result, Run
from fastbp.kernels.compile.progress import Line, shown_by
from fastbp.train.progress import EpochBar, LogLines, Progress

MOST_CLASSES = 20


def make_console(lasting: bool = True) -> Console:
    """Return a console on the standard output: of a command whose results are files, or, not lasting, are shown."""
    return console_on(sys.stdout, lasting)


def say(console: Console, text: str) -> None:
    """Print a line that names files or columns."""
    console.print(visible(text), markup=False, soft_wrap=True)


class RunProgress(Progress):
    """The bar on a terminal, lines elsewhere; it times the training alone.

    `seconds` are those of each epoch that was wholly made here: of a resumed one some steps, or all, were made before.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._shown = EpochBar(console) if console.is_terminal else LogLines(partial(say, console))
        self.seconds: list[float] = []

    @contextmanager
    def fit(self, epochs: int, samples: int, flops: float, ended: float = 0) -> Iterator[None]:  # noqa: D102
        self.samples, self.flops = samples, flops
        self._first = math.ceil(ended) + 1
        with self._shown.fit(epochs, samples, flops, ended):
            self._began = time.perf_counter()
            yield

    def advance(self, samples: int, loss: float) -> None:  # noqa: D102
        self._ended = time.perf_counter()
        self._shown.advance(samples, loss)

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:  # noqa: D102
        if epoch >= self._first:
            self.seconds.append(self._ended - self._began)
        # all of them would leave no room for the bar
        self._shown.epoch(epoch, {"loss": figures["loss"]} if self.console.is_terminal else figures)
        self._began = time.perf_counter()


class CompileWatch:
    """Shows how much of the kernels is compiled: a line that moves on a terminal, one that says so at first elsewhere.

    `compiled` counts them.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.compiled = 0
        self._said = False
        self._line = Line(console.file) if console.is_terminal else None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Surround what may compile, and has nothing to keep: Ctrl-C ends the process."""
        with shown_by(self), ended_at_once():
            yield

    def begin(self, total: int) -> None:
        """Say that kernels are compiled."""
        if self._line:
            self._line.begin(total)
        elif not self._said:
            self._said = True
            self.console.print(f"Compiling {total} kernels, once: later runs take them from the cache.")

    def advance(self, done: int, total: int) -> None:
        """Show how many are there."""
        if self._line:
            self._line.advance(done, total)

    def end(self, done: int, seconds: float) -> None:
        """Count them."""
        self.compiled += done
        if self._line:
            self._line.end(done, seconds)


def pairs(rows: Mapping[str, str | Sequence[str]], title: str | None = None) -> Table:
    """Return a table of names and values; of several values each has a line."""
    table = Table(box=None, show_header=False, title=title, title_justify="left", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, values in rows.items():
        for i, value in enumerate([values] if isinstance(values, str) else values):
            table.add_row("" if i else name, Text(visible(value)))
    return table


NAMES = {"loss": "loss", "accuracy": "accuracy", "rmse": "RMSE", "r2": "R2"}


RECALL = "recall of "  # and the name of a class


def written(name: str) -> str:
    """Return the name of a figure as it is written."""
    return name if name.startswith(RECALL) else NAMES.get(name, name.replace("_", " "))


def number(name: str, value: float) -> str:
    """Return a figure as it is written: accuracies in per cent."""
    if name.startswith(RECALL):
        return "-" if math.isnan(value) else f"{value:.2%}"
    return f"{value:.2%}" if name == "accuracy" else f"{value:.4f}" if name != "rmse" else f"{value:.5g}"


def figures(columns: Mapping[str, Mapping[str, float]]) -> Table:
    """Return a table of figures, one column for each part of the data."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for part in columns:
        table.add_column(part, justify="right", overflow="fold", style="bold" if part == "test" else "")
    for name in next(iter(columns.values())):
        table.add_row(Text(visible(written(name))), *(number(name, values[name]) for values in columns.values()))
    return table


def describe(run: Run) -> dict[str, str | list[str]]:
    """Say what is trained on what, before it begins."""
    options, model = run.options, run.pipeline.model
    rows = ", ".join(f"{thousands(part.rows)} {name}" for name, part in run.parts.items())
    rows += f", weighted by {options['weight']}" if "weight" in options else ""
    loss = "softmax cross-entropy" if run.data.classes else "mean squared error of standardised targets"
    if options["label_smoothing"]:
        loss += f", label smoothing {options['label_smoothing']:g}"
    loss += f", class weights {options['class_weight']}" if "class_weight" in options else ""
    return {
        **run.data.facts(run.pipeline.features),  # type: ignore[arg-type]  # its own kind
        "rows": rows,
        **({"preset": options["preset"]} if "preset" in options else {}),
        "network": _network(model.in_features, model._outputs, options),
        "parameters": thousands(sum(p.size for p in model.parameters().values())),
        "loss": loss,
        "optimizer": _optimizer(options),
        "threads": str(get_num_threads()),
    }


def _network(in_features: int, out_features: int, options: Mapping[str, Any]) -> str:
    said = ["-".join(map(str, [in_features, *options["hidden"], out_features]))]
    said += [options["norm"]] if "norm" in options else []
    said += [options["activation"]]
    said += [f"dropout {options['dropout']:g}"] if "dropout" in options else []
    return ", ".join([*said, options["dtype"]])


def _optimizer(options: Mapping[str, Any]) -> str:
    lr = f"lr {options['lr']:g}"
    lr += {"linear": " falling to 0", "constant": ""}.get(options["schedule"], f" by {options['schedule']}")
    lr += f" after a warm-up of {options['warmup']:g}" if "warmup" in options else ""
    said = [options["optimizer"], lr]
    if options["weight_decay"]:
        none = f" (none of {', '.join(options['no_decay'])})" if "no_decay" in options else ""
        said.append(f"weight decay {options['weight_decay']:g}{none}")
    said.append(f"batch {options['batch_size']}")
    said += [f"gradients' norm at most {options['clip_norm']:g}"] if "clip_norm" in options else []
    said += [f"averages by {options['ema']:g}"] if "ema" in options else []
    return ", ".join(said)


def describe_result(result: Result, progress: RunProgress) -> dict[str, str]:
    """Say how it went and how fast."""
    epochs = result.pipeline.model.metadata["options"]["epochs"]
    done = str(result.trainer.history.epochs)
    if result.interrupted:
        done += f" of {epochs}, then interrupted"
    elif result.trainer.history.epochs < epochs:
        done += f" of {epochs}, stopped early"
    if result.best_epoch:
        done += f"; parameters of epoch {result.best_epoch}"
    if not progress.seconds:  # all were made before
        return {"epochs": done}
    epoch = statistics.median(progress.seconds)
    rate = progress.samples / epoch
    return {
        "epochs": done,
        "time an epoch": f"{epoch * 1e3:,.1f} ms, {sum(progress.seconds):.2f} s in all (median; compiling excluded)",
        "speed": f"{thousands(rate)} samples/s, {rate * progress.flops / 1e9:.1f} GFLOP/s",
    }


def rare_class(result: Result, figures: dict[str, dict[str, float]]) -> str:
    """Add the recall of the rarest class to the figures of each part, if classes are unbalanced; return what to do."""
    found = result.rarest()
    if found is None:
        return ""
    name, part, recalls = found
    for of, recall in recalls.items():
        figures[of][f"{RECALL}{name}"] = recall
    if "class_weight" in result.pipeline.model.metadata:
        return ""
    return f"{part:.2%} of the training rows are {name}: with --class-weight balanced all classes count the same."


def per_class(classes: list[str], confusion: NDArray[np.int64]) -> Table:
    """Return a table of recall and precision, a row a class, of how many rows are of a class and predicted as one."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("class", "rows", "recall", "precision"):
        table.add_column(name, justify="left" if name == "class" else "right", overflow="fold")
    for code, name in enumerate(classes):
        hits, true, said = (int(n) for n in (confusion[code, code], confusion[code].sum(), confusion[:, code].sum()))
        shares = (f"{hits / n:.2%}" if n else "-" for n in (true, said))
        table.add_row(Text(visible(name)), thousands(true), *shares)
    return table
