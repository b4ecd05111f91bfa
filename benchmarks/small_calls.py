"""Small calls beside those of scikit-learn, PyTorch and NumPy: a grid of rows and widths for each kind of call.

    python benchmarks/small_calls.py sklearn [--rows 200] [--width 32] [--dtype float64]
    python benchmarks/small_calls.py torch
    python benchmarks/small_calls.py native [--rest 0.04]

Both sides take turns in one process, with the threads that each has by default. The threads of the one sleep before the
other's turn; after a rest shorter than 0.12 seconds, OpenBLAS's still keep their cores. A table has fastbp's time as a
multiple of the peer's, the median of the turns, and a mark where it is longer by more than 5 % and by more than half a
microsecond. Then the exit code is 1.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table

import fastbp

sys.path.append(str(Path(__file__).parent / "suite"))  # the package itself sets what asv's runs need
import _formulas

ROWS = [1, 10, 50, 200, 1000, 2000]
WIDTHS = [8, 32, 128, 512]
CLASSES = 10
TURNS, SECONDS, REST = 9, 0.004, 0.12
WARM_UP = 25  # calls, in which each side finds its way
SLOWER, MICROSECONDS = 1.05, 0.5

Call = Callable[[], Any]
# By the name of what is called: fastbp's call, and that of the peer
Cases = Iterator[tuple[str, Call, Call]]


def numbers(rows: int, width: int, dtype: str) -> Any:
    return np.random.default_rng(0).standard_normal((rows, width), np.dtype(dtype))


def labels(rows: int) -> Any:
    return np.random.default_rng(1).integers(0, CLASSES, rows)


def sklearn_cases(rows: int, width: int, dtype: str) -> Cases:
    """A network width-width-10 of scikit-learn's class, by what predicts with it."""
    import sklearn.neural_network

    import fastbp.sklearn

    x = numbers(rows, width, dtype)
    data, options = (numbers(400, width, dtype), labels(400)), {"hidden_layer_sizes": (width,), "max_iter": 2}
    ours, theirs = (
        module.MLPClassifier(random_state=0, **options).fit(*data)
        for module in (fastbp.sklearn, sklearn.neural_network)
    )
    for name in ("predict", "predict_proba"):
        yield f"MLPClassifier.{name}", partial(getattr(ours, name), x), partial(getattr(theirs, name), x)
    ours, theirs = (
        module.MLPRegressor(random_state=0, **options).fit(*data) for module in (fastbp.sklearn, sklearn.neural_network)
    )
    yield "MLPRegressor.predict", partial(ours.predict, x), partial(theirs.predict, x)


def torch_cases(rows: int, width: int, dtype: str) -> Cases:
    """A layer width-width and a network width-width-10, alone and with the gradients of their parameters."""
    import torch

    import fastbp.torch

    x = torch.from_numpy(numbers(rows, width, dtype))
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    sizes = (width, width, CLASSES)
    pairs = {
        "Linear": (fastbp.torch.Linear(width, width), linear(width, width)),
        "Linear, relu": (
            fastbp.torch.Linear(width, width, activation="relu"), torch.nn.Sequential(linear(width, width), relu())
        ),
        "MLP": (
            fastbp.torch.MLP(sizes), torch.nn.Sequential(linear(width, width), relu(), linear(width, CLASSES))
        ),
    }  # fmt: skip

    def alone(model: Any) -> Call:
        def call() -> None:
            with torch.no_grad():
                model(x)

        return call

    def with_gradients(model: Any) -> Call:
        gradient = torch.ones_like(model(x))

        def call() -> None:
            for p in parameters:
                p.grad = None
            model(x).backward(gradient)

        parameters = list(model.parameters())
        return call

    for name, pair in pairs.items():
        pair = [model.to(x.dtype) for model in pair]
        yield f"{name}, forward", *map(alone, pair)
        yield f"{name}, forward and backward", *map(with_gradients, pair)


def native_cases(rows: int, width: int, dtype: str) -> Cases:
    """The same network by fastbp's own names, beside PyTorch and beside the formulas in NumPy."""
    import torch

    x, y = numbers(rows, width, dtype), labels(rows)
    x_of_torch, y_of_torch = torch.from_numpy(x), torch.from_numpy(y)
    layer = fastbp.Dense(width, width, "relu", dtype=dtype, rng=0)
    model, trained = (fastbp.mlp([width, width, CLASSES], dtype=dtype, rng=0) for _ in range(2))
    trainer = fastbp.Trainer(trained, optimizer=fastbp.SGD(1e-3))
    twin = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, CLASSES)).to(
        x_of_torch.dtype
    )
    optimizer, loss = torch.optim.SGD(twin.parameters(), 1e-3), torch.nn.CrossEntropyLoss()
    first, *_ = parameters = [(each.weight.copy(), each.bias.copy()) for each in model]

    def predict_of_torch(of: Any) -> None:
        with torch.no_grad():
            of(x_of_torch)

    def step_of_torch() -> None:
        optimizer.zero_grad()
        loss(twin(x_of_torch), y_of_torch).backward()
        optimizer.step()

    def predict_of_numpy() -> None:
        (_, (weight, bias)) = parameters
        _formulas.dense_relu(x, *first) @ weight.T + bias

    yield "Dense.forward / torch", partial(layer.forward, x), partial(predict_of_torch, twin[:2])
    yield "Dense.forward / NumPy", partial(layer.forward, x), partial(_formulas.dense_relu, x, *first)
    yield "Sequential.predict / torch", partial(model.predict, x), partial(predict_of_torch, twin)
    yield "Sequential.predict / NumPy", partial(model.predict, x), predict_of_numpy
    yield "Trainer.step / torch", partial(trainer.step, x, y), step_of_torch
    yield "Trainer.step / NumPy", partial(trainer.step, x, y), partial(_formulas.step, parameters, "relu", x, y, 1e-3)


CASES = {"sklearn": sklearn_cases, "torch": torch_cases, "native": native_cases}


def seconds_of(call: Call, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def by_turns(rest: float, *calls: Call) -> list[list[float]]:
    """Return the seconds of each call, turn by turn; each turn comes after a rest, and as much that does not count."""
    for call in calls:
        seconds_of(call, WARM_UP)
    counts = [max(1, round(SECONDS / seconds_of(call, 5))) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(TURNS):
        for call, count, own in zip(calls, counts, times, strict=True):
            time.sleep(rest)
            seconds_of(call, count)
            own.append(seconds_of(call, count))
    return times


def main(
    kind: str,
    rows: Annotated[list[int] | None, typer.Option(help="Of this many rows alone; may be repeated.")] = None,
    width: Annotated[list[int] | None, typer.Option(help="Of this width alone; may be repeated.")] = None,
    name: Annotated[str, typer.Option(help="A part of the calls' name.")] = "",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    rest: Annotated[float, typer.Option(help="Seconds before each turn.")] = REST,
) -> None:
    """Print a table for each kind of call; exit code 1 if one is slower than the peer's."""
    warnings.simplefilter("ignore")
    console, slower = Console(highlight=False), 0
    widths, tables = width or WIDTHS, {}
    for count in rows or ROWS:
        cells: dict[str, list[str]] = {}
        for each in widths:
            for title, ours, theirs in CASES[kind](count, each, dtype):
                if name not in title:
                    continue
                own, peers = by_turns(rest, ours, theirs)
                ratio = median(a / b for a, b in zip(own, peers, strict=True))
                longer = ratio > SLOWER and 1e6 * median(a - b for a, b in zip(own, peers, strict=True)) > MICROSECONDS
                slower += longer
                text = f"{ratio:.2f}  {1e6 * median(own):7.1f}"
                cells.setdefault(title, []).append(f"[bold red]! {text}[/]" if longer else text)
        for title, row in cells.items():
            if title not in tables:
                tables[title] = Table(
                    "rows", *(f"width {each}" for each in widths), title=f"{title}: times the peer's time, and µs",
                    title_justify="left", box=box.SIMPLE_HEAD,
                )  # fmt: skip
            tables[title].add_row(str(count), *row)
    for table in tables.values():
        console.print(table)
    raise typer.Exit(int(slower > 0))


if __name__ == "__main__":
    typer.run(main)
