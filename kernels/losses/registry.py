"""The table of losses: one entry for each, made by its own file."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..registry import Number, Public, add

# MEAN divides by what the labels' classes weigh, where there are class weights; MEAN_OF_ROWS by the rows.
MEAN, SUM, NONE, MEAN_OF_ROWS = range(4)
# Places in `options`, float64; a loss's own numbers stand from OWN on. Those of gaussian_nll: VARIANCE_EPS bounds a
# variance from below, CONSTANT is added to each term.
REDUCTION, IGNORE_INDEX, LABEL_SMOOTHING, OWN = range(4)
VARIANCE_EPS, CONSTANT, OPTIONS_SIZE = OWN, OWN + 1, OWN + 3
# Rows of up to so many columns are narrow: see `narrow`.
NARROW = 64
# What `loss_at` returns where it is not the row of a wrong label
DONE, UNUSABLE = -1, -2


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss of rows: ``sum_i scale_i * loss_i``.

    name : what it is called in tests and errors
    code : what the kernels call it; the table is in this order
    twin : (z, targets or labels, class_weight, options) to each row's loss and gradient, in NumPy
    outputs_per_term : how many outputs there are for each term of the mean; None where a row is one term
    formula : (lanes, z, t, scale, *own) to the terms and their gradients times scale, as vector instructions; None
        where a row is put together from several passes. With `by_output` it is (lanes, z, t, number, scale, *own)
    rows : makes the kernel of some `compiled.Rows`, where a row takes several passes; called when it is to be compiled,
        and imports Numba then
    numbers : its own, which the formula takes in this order
    by_output : a number for each output; kernels have them as `class_weight`. With class labels it is a weight of the
        row's loss, which does not count in the mean
    repeats : whether the targets are repeated for each of the numbers that users choose `by_output`
    extra : (*numbers) to how many columns the targets have beside one for each output; the last is a class label then
    public : the class and the function that fastbp makes of it; None where those are written by hand, or there are none
    says : what the outputs are: "numbers", "classes" (logits), "labels" (logits of yes or no), or other words, which
        metrics by name do not judge
    drawn : (rng, rows, outputs) to targets as tests draw them, of class labels aside; None for normal numbers
    sizes : (z, t) to the sizes of what is added up in the terms and in their gradients, which their errors are bounded
        by in the tests
    row : (z, target, dz) fills dz and returns the loss of one row, in plain Numba: a user's own
    labelled, hits : whether targets are class labels; whether a row has a class, so that there is an accuracy
    others : what else there is of it beside a step's op, see `functions.other_op_of_loss`, and what makes its kernel,
        as `rows`; "value" alone where that is much less work, as each op costs a wheel seconds
    """

    name: str
    code: int
    twin: Callable[..., Any]
    outputs_per_term: int | None = None
    formula: Callable[..., Any] | None = None
    rows: Callable[[], Any] | None = None
    numbers: tuple[Number, ...] = ()
    by_output: Number | None = None
    repeats: bool = False
    extra: Callable[..., int] | None = None
    public: Public | None = None
    says: str = "numbers"
    drawn: Callable[..., Any] | None = None
    sizes: Callable[[Any, Any], tuple[Any, Any]] | None = None
    row: Callable[..., Any] | None = None
    labelled: bool = False
    hits: bool = False
    others: Mapping[str, Callable[[], Any]] = field(default_factory=dict)

    def terms(self, outputs: int) -> int:
        """Return how many terms of the mean a row of outputs has."""
        return outputs // self.outputs_per_term if self.outputs_per_term else 1


def made_in(module: str, name: str, **options: Any) -> Callable[[], Any]:
    """Return `rows` of a loss that are made by a function of another module here, which imports Numba."""
    return lambda: getattr(importlib.import_module(f".{module}", __package__), name)(**options)


LOSSES: dict[str, Loss] = {}
# Those and users' own, whose codes are of this process and belong to no file
BY_CODE: dict[int, Loss] = {}
_own_codes = itertools.count(1000)


def loss(name: str, code: int, *rest: Any, **named: Any) -> Loss:
    """Register a loss; see `Loss` for the arguments."""
    entry = add(LOSSES, Loss(name, code, *rest, **named))
    BY_CODE[code] = entry
    return entry


def own_loss(row: Callable[..., Any]) -> Loss:
    """Return the loss of a user's function of one row; see `Loss`."""
    found = Loss(row.__name__, next(_own_codes), row, row=row)
    BY_CODE[found.code] = found
    return found
