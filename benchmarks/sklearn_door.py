"""`fastbp.sklearn` beside scikit-learn: the quality of what is learned, and the time of an epoch and of a whole fit.

    python benchmarks/sklearn_door.py quality [--data digits] [--seeds 10]
    python benchmarks/sklearn_door.py speed [--rounds 7]
    python benchmarks/sklearn_door.py sparse [--rounds 5] [--dtype float64]

Both sides take turns in one process, each time on the same data. The time of an epoch is the difference of a long
and a short fit over the number of epochs between them, so what a fit does once counts for neither.
"""

import time
import warnings
from typing import Annotated, Any

import numpy as np
import scipy.sparse
import sklearn.datasets
import sklearn.neural_network
import typer
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fastbp.sklearn

SIDES = {"scikit-learn": sklearn.neural_network, "fastbp": fastbp.sklearn}
GENERATED = 20
# Layers, batch, samples, epochs of a long fit, and how many times faster an epoch should be
SPEEDS = [
    ((64, 100, 10), 128, 1797, 40, 8),
    ((784, 128, 10), 128, 6000, 9, 3),
    ((784, 512, 512, 10), 256, 6000, 4, 2),
]
# Whole fits: data, arguments
FITS: list[tuple[str, dict[str, Any]]] = [
    ("digits", {}),
    ("digits", {"early_stopping": True}),
    ("digits", {"solver": "lbfgs"}),
    ("digits", {"solver": "sgd", "learning_rate_init": 0.1}),
    ("breast_cancer", {}),
    ("wine", {"batch_size": 16}),
    ("diabetes", {}),
    ("diabetes", {"solver": "lbfgs"}),
    ("diabetes", {"loss": "poisson"}),
]
# Sparse matrices: rows, columns, numbers stored a row, and whether all are 1
SPARSE = {"one-hot, 2000 x 20000, 3 a row": (2000, 20000, 3, True), "CSR, 1500 x 5000, 1 %": (1500, 5000, 50, False)}
# What is done with one: nothing but a prediction after a fit of one epoch, or a fit
SPARSE_CALLS: dict[str, dict[str, Any]] = {
    "predict": {},
    "adam, 5 epochs": {"solver": "adam", "max_iter": 5},
    "sgd, 5 epochs": {"solver": "sgd", "max_iter": 5},
    "lbfgs, 10 iterations": {"solver": "lbfgs", "max_iter": 10},
}
HIDDEN = [(100,), (64,), (256, 128)]
app = typer.Typer(add_completion=False)
console = Console(highlight=False)


def problem(name: str) -> tuple[Any, Any, str]:
    """Return inputs, targets and the estimator's name."""
    if not name.startswith("generated"):
        x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
        return x, y / y.std() if name == "diabetes" else y, "MLPRegressor" if name == "diabetes" else "MLPClassifier"
    seed = int(name.split()[1])
    features = 5 + 3 * seed
    if seed % 2:
        x, y = sklearn.datasets.make_regression(400, features, noise=10.0, random_state=seed)
        return x, y / y.std(), "MLPRegressor"
    x, y = sklearn.datasets.make_classification(
        400, features, n_informative=5, n_redundant=0, n_classes=2 + seed % 3, random_state=seed
    )
    return x, y, "MLPClassifier"


PROBLEMS = ["digits", "breast_cancer", "wine", "diabetes", *(f"generated {seed}" for seed in range(GENERATED))]


@app.command()
def quality(
    data: Annotated[list[str] | None, typer.Option(help="A part of a problem's name; may be repeated.")] = None,
    seeds: int = 10,
    dtype: str = "float32",
) -> None:
    """Print the mean test score of both over some seeds; exit code 1 if one differs by more than half a percent."""
    warnings.simplefilter("ignore")
    table = Table("problem", *SIDES, "difference", "largest of a seed", "epochs, sum of both")
    worst = 0.0
    for name in PROBLEMS:
        if data is not None and not any(part in name for part in data):
            continue
        x, y, kind = problem(name)
        scores: dict[str, list[float]] = {side: [] for side in SIDES}
        epochs = dict.fromkeys(SIDES, 0)
        for seed in range(seeds):
            parts = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=y if "Class" in kind else None)
            scaler = StandardScaler().fit(parts[0])
            train, test = (scaler.transform(part).astype(dtype) for part in parts[:2])
            for side, module in SIDES.items():
                model = getattr(module, kind)(random_state=seed).fit(train, parts[2])
                scores[side].append(model.score(test, parts[3]))
                epochs[side] += model.n_iter_
        means = [float(np.mean(s)) for s in scores.values()]
        apart = np.abs(np.subtract(*scores.values())).max()
        worst = max(worst, abs(means[1] - means[0]))
        table.add_row(
            name, *(f"{m:.4f}" for m in means), f"{means[1] - means[0]:+.4f}", f"{apart:.4f}",
            " / ".join(map(str, epochs.values())),
        )  # fmt: skip
    console.print(table, f"largest difference of mean scores: {worst:.5f}")
    raise typer.Exit(int(worst > 0.005))


def seconds_of(module: Any, kind: str, x: Any, y: Any, **arguments: Any) -> float:
    model = getattr(module, kind)(random_state=0, **arguments)
    began = time.perf_counter()
    model.fit(x, y)
    return time.perf_counter() - began


def quartiles(values: Any) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


@app.command()
def speed(rounds: int = 7) -> None:
    """Print how many times faster an epoch and a whole fit are: medians and quartiles of the rounds' ratios."""
    warnings.simplefilter("ignore")
    table = Table("an epoch", "dtype", "scikit-learn, ms", "fastbp, ms", "times faster", "wanted")
    rng = np.random.default_rng(0)
    for sizes, batch, samples, epochs, wanted in SPEEDS:
        x, y = rng.standard_normal((samples, sizes[0])), rng.integers(0, sizes[-1], samples)
        if sizes[0] == 64:
            x, y, _ = problem("digits")
        for dtype in ("float32", "float64"):
            rows = (x / np.abs(x).max()).astype(dtype)
            common = {"hidden_layer_sizes": sizes[1:-1], "batch_size": batch, "n_iter_no_change": np.inf}
            times: dict[str, list[float]] = {side: [] for side in SIDES}
            for turn in range(rounds + 1):  # the first compiles, and does not count
                for side, module in SIDES.items():
                    short, long = (
                        seconds_of(module, "MLPClassifier", rows, y, max_iter=n, **common) for n in (1, 1 + epochs)
                    )
                    times[side] += [(long - short) / epochs] if turn else []
            a, b = (np.array(t) for t in times.values())
            table.add_row(
                f"{'-'.join(map(str, sizes))}, {batch}", dtype, quartiles(a * 1e3), quartiles(b * 1e3),
                quartiles(a / b), str(wanted),
            )  # fmt: skip
    console.print(table)
    table = Table("a whole fit", "scikit-learn, ms", "fastbp, ms", "times faster")
    for name, arguments in FITS:
        x, y, kind = problem(name)
        rows = StandardScaler().fit_transform(x).astype("float32")
        times = {side: [] for side in SIDES}
        for turn in range(rounds + 1):
            for side, module in SIDES.items():
                seconds = seconds_of(module, kind, rows, y, **arguments)
                times[side] += [seconds] if turn else []
        a, b = (np.array(t) for t in times.values())
        table.add_row(f"{name} {arguments or ''}", quartiles(a * 1e3), quartiles(b * 1e3), quartiles(a / b))
    console.print(table)


def sparse_problem(rows: int, columns: int, stored: int, ones: bool, dtype: str) -> tuple[Any, Any]:
    """Return a sparse matrix with so many numbers in each row, and a class of ten for each."""
    rng = np.random.default_rng(0)
    indices = np.concatenate([np.sort(rng.choice(columns, stored, replace=False)) for _ in range(rows)])
    data = np.ones(rows * stored) if ones else rng.random(rows * stored)
    x = scipy.sparse.csr_matrix((data.astype(dtype), indices, stored * np.arange(rows + 1)), (rows, columns))
    return x, rng.integers(0, 10, rows)


def seconds_of_predict(module: Any, x: Any, y: Any, hidden: tuple[int, ...]) -> float:
    model = module.MLPClassifier(hidden, random_state=0, max_iter=1).fit(x[:100], y[:100])
    began, calls = time.perf_counter(), 20
    for _ in range(calls):
        model.predict(x)
    return (time.perf_counter() - began) / calls


@app.command()
def sparse(rounds: int = 5, dtype: str = "float64", hidden: int | None = None) -> None:
    """Print how many times faster fits and predictions of sparse matrices are: medians and quartiles of the ratios."""
    warnings.simplefilter("ignore")
    table = Table("sparse matrix", "hidden", "call", "scikit-learn, ms", "fastbp, ms", "times faster")
    for name, problem_of in SPARSE.items():
        x, y = sparse_problem(*problem_of, dtype)
        for layers in HIDDEN if hidden is None else [HIDDEN[hidden]]:
            for call, arguments in SPARSE_CALLS.items():
                times: dict[str, list[float]] = {side: [] for side in SIDES}
                for turn in range(rounds + 1):
                    for side, module in SIDES.items():
                        seconds = (
                            seconds_of(module, "MLPClassifier", x, y, hidden_layer_sizes=layers, **arguments)
                            if arguments
                            else seconds_of_predict(module, x, y, layers)
                        )
                        times[side] += [seconds] if turn else []
                a, b = (np.array(t) for t in times.values())
                table.add_row(name, str(layers), call, quartiles(a * 1e3), quartiles(b * 1e3), quartiles(a / b))
    console.print(table)


if __name__ == "__main__":
    app()
