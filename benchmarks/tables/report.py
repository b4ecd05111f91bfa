"""Tables of what `run` has found, as Markdown."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from benchmarks.tables.run import Line

# Each by what it is called and whether it is one of classes.
SCORES = {
    "error": ("wrong, of 1", True),
    "log_loss": ("log loss, nats", True),
    "log_loss_calibrated": ("log loss after temperature scaling, nats", True),
    "auc": ("area under the ROC curve, two classes", True),
    "r2": ("R²", False),
    "rmse": ("RMSE, in units of the target", False),
}
# What a mean over tables is made of: those in which less is better, whatever the units.
COMPARED = ("error", "log_loss", "log_loss_calibrated", "rmse")
PAIRS = [
    ("fastbp RealMLP TD-S", "pytabkit RealMLP TD-S"),
    ("fastbp RealMLP TD", "pytabkit RealMLP TD"),
    ("fastbp TabM-mini", "pytabkit TabM-mini"),
    ("fastbp RealMLP TD-S", "scikit-learn MLP"),
    ("fastbp RealMLP TD", "scikit-learn MLP"),
    ("fastbp TabM-mini", "scikit-learn MLP"),
    ("fastbp plain", "scikit-learn MLP"),
]


@dataclass(frozen=True)
class Grid:
    """A score of methods on tables: (methods, tables, seeds), only tables and seeds that all methods have."""

    methods: Sequence[str]
    tables: Sequence[str]
    values: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Of the splits, (methods, tables)."""
        return self.values.mean(axis=2)


def grid(lines: Sequence[Line], score: str, methods: Sequence[str]) -> Grid:
    """Return a score as a grid; the methods are those of ``methods`` that have any line."""
    found = {(line["method"], line["table"], line["seed"]): line[score] for line in lines if score in line}
    methods = [method for method in methods if any(key[0] == method for key in found)]
    tables = [t for t in sorted({key[1] for key in found}) if all(any(k[:2] == (m, t) for k in found) for m in methods)]
    seeds = sorted({key[2] for key in found})
    seeds = [seed for seed in seeds if all((m, t, seed) in found for m in methods for t in tables)]
    values = [[[found[m, t, seed] for seed in seeds] for t in tables] for m in methods]
    return Grid(methods, tables, np.array(values, np.float64).reshape(len(methods), len(tables), len(seeds)))


def ranks(means: np.ndarray) -> np.ndarray:
    """Return the mean rank of each method over tables, 1 the best; equal ones share theirs."""
    below = (means[:, np.newaxis] > means[np.newaxis]).sum(axis=1)
    same = (means[:, np.newaxis] == means[np.newaxis]).sum(axis=1)
    return np.asarray((below + (same + 1) / 2).mean(axis=1))


def shifted(means: np.ndarray, score: str) -> np.ndarray:
    """Return scores to take geometric means of: to those of classes 0.01 is added, as in the paper of RealMLP.

    Without that, one right answer more would decide where nearly all are right.
    """
    return means + 0.01 if SCORES[score][1] else means


def beside_best(means: np.ndarray, score: str) -> np.ndarray:
    """Return the geometric mean over tables of a method's score over the best one's."""
    above = shifted(means, score)
    return np.asarray(np.exp(np.log(above / above.min(axis=0)).mean(axis=1)))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def number(value: float) -> str:
    """Return three figures."""
    return f"{value:.{min(4, max(0, 2 - math.floor(math.log10(abs(value)))))}f}" if value else "0"


def of_score(lines: Sequence[Line], score: str, methods: Sequence[str]) -> str:
    """Return a table of means over splits, with mean rank and distance to the best where that says something."""
    found = grid(lines, score, methods)
    if not found.values.size:
        return ""
    rows = [[t, *map(number, column)] for t, column in zip(found.tables, found.means.T, strict=True)]
    for row, column in zip(rows, found.means.T, strict=True):
        best = column.min() if score in COMPARED else column.max()
        row[1:] = [f"**{text}**" if value == best else text for text, value in zip(row[1:], column, strict=True)]
    if score in COMPARED:
        rows += [["mean rank", *(f"{rank:.1f}" for rank in ranks(found.means))]]
        rows += [["of the best's", *(f"{ratio:.2f}" for ratio in beside_best(found.means, score))]]
    title = f"{SCORES[score][0]}; means of {found.values.shape[2]} splits"
    return f"{title}\n\n{markdown(['table', *found.methods], rows)}\n"


def pair(lines: Sequence[Line], score: str, ours: str, theirs: str) -> Iterator[list[str]]:
    """Yield for each table both means, their difference, its standard error over splits, and what that says.

    A difference of more than 1 % is noise within the 95 % around 0 of Student's t.
    """
    found = grid(lines, score, [ours, theirs])
    if len(found.methods) < 2 or found.values.shape[2] < 2:
        return
    mean, beyond = found.means[1], student_t.ppf(0.975, found.values.shape[2] - 1)
    difference = found.values[0] - found.values[1]
    error = difference.std(axis=1, ddof=1) / math.sqrt(difference.shape[1])
    for i, table in enumerate(found.tables):
        of = mean[i] or 1.0
        relative, noise = difference[i].mean() / of, error[i] / of
        said = "" if relative <= 0.01 else "within noise" if relative <= beyond * noise else "**worse**"
        yield [table, number(found.means[0, i]), number(mean[i]), f"{relative:+.1%}", f"{noise:.1%}", said]
    above = shifted(found.means, score)
    logs = np.log(above[0] / above[1])
    spread = logs.std(ddof=1) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan
    yield ["all", "", "", f"{math.expm1(logs.mean()):+.1%}", f"{spread:.1%}", ""]


def report(lines: Sequence[Line], rows: int, methods: Sequence[str]) -> str:
    """Return all tables of so many training rows at most."""
    lines = [line for line in lines if line["rows"] == rows and line["method"] in methods]
    parts = [of_score(lines, score, methods) for score in SCORES]
    head = ["table", "ours", "theirs", "difference", "its standard error", ""]
    for ours, theirs in PAIRS:
        for score in COMPARED:
            if body := list(pair(lines, score, ours, theirs)):
                parts.append(f"{SCORES[score][0]}: {ours} beside {theirs}\n\n{markdown(head, body)}\n")
    return "\n".join(part for part in parts if part)
