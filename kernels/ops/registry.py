"""The table of op kinds: what a network's layers are to the planner, one entry for each, made by its own file.

Nothing here is compiled: an entry finds its compiled functions when a plan that has the kind is filled.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..code import Code
from ..registry import Number, Public, add


class Functions(NamedTuple):
    """The compiled ops of a kind, see `ops.call.op`, or their names; None for one that has nothing to do.

    track : takes what a forward pass has found of its batch into the buffers, once the step is known to be made
    sums, join : of a kind that couples rows, run before `forward`: `sums` for blocks of COUPLED_ROWS rows, and `join`
        once, to put together those of all blocks
    sums_back, join_back : the same before `input_gradient`
    """

    forward: Any
    input_gradient: Any
    weight_gradient: Any = None
    track: Any = None
    sums: Any = None
    join: Any = None
    sums_back: Any = None
    join_back: Any = None


def compiled(module: str, package: str, *names: str | None) -> Callable[[], Functions]:
    """Return how a kind finds its `Functions`: by these names in a module, imported if they are to be compiled."""
    home = importlib.util.resolve_name(module, package)

    def code(name: str | None) -> Code | None:
        return None if name is None else Code(home, name, lambda: getattr(importlib.import_module(home), name))

    return lambda: Functions(*map(code, names))


class Sizes(NamedTuple):
    """What a layer of a plan takes: W is (depth, across); `saved` and `effort` are a `Kind`'s."""

    depth: int
    across: int
    saved: int
    effort: int


class Buffer(NamedTuple):
    """State of a layer that is no parameter: it has no gradient, and `Functions.track` writes it.

    A layer has its buffers in memory of 8 bytes for each of its features and buffers.

    name : as PyTorch's, in attributes and files
    text : what it is, for the docstring
    initial : what its numbers begin with
    least : what they are at least
    counts : whether it is one whole number, int64; else it has a number for each feature
    """

    name: str
    text: str
    initial: float = 0.0
    least: float = -math.inf
    counts: bool = False


class Draw(NamedTuple):
    """What random numbers are made of, beside the place of a number in a row: seed, step, row of the plan, rows."""

    seed: int
    step: int
    row: int
    place: int = 0


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of layers: how one is laid out in a plan, and what computes it.

    Its parameters are W, (depth, out_features) where `sizes` says no other shape, then b, (out_features,) where it has
    one. Of its sources and of its own
    row an op may read on the way back: the sources' outputs, its own dz, and what it saved; not its own output, whose
    place holds gradients by then.

    name : what it is called in files
    code : what a plan calls it; the table is in this order
    functions : () to its `Functions`; called when a plan is filled
    effort : (in_features, out_features) to the floating-point operations of a pass over one row of a batch, as
        `tasks.worth` counts them; None where `sizes` says it
    twin : (inputs, w, b, attributes, draw) to the output before the activation, in NumPy, in any format; a layer that
        has a table gives that in the place of attributes
    depth : in_features to the rows of W; 0 for a kind without parameters
    exchanged : how many numbers a core fetches from others for a weight gradient, for each element of a row of a batch
        that one of these made: 2 where it reads an input and dz
    saved : numbers for each row of a batch that its way back takes from its forward pass
    sizes : a `plan.Layer` to its `Sizes`, for a kind in which they follow from more than columns; `depth`, `saved` and
        `effort` are not looked at then
    saved_of_columns : rows of a batch to the float64 numbers for each feature that are kept from its forward pass on
    sources : how many outputs of rows above it reads, at most two
    numbers : its own, at most two, which users choose; a layer in a plan has them as its attributes
    bias : whether it may have b
    affine : whether it may be without parameters, W and b both
    buffers : its state that is no parameter
    draws : whether its numbers in training are random
    activates : whether it applies an activation to its output
    only_training : whether a prediction goes without it: its output is its input then
    couples_rows : whether in training a row of its output depends on other rows of the batch. It has all `Functions`
        then, of which `weight_gradient` is called once, after `join_back`; and a `prediction`
    prediction : the kind that a prediction has in its place, with the same parameters and buffers, which takes each row
        alone; its twin takes the buffers in the place of `draw`
    sparse : whether it reads a sparse batch, by its stored numbers, and nothing else
    spreads : whether it gives several rows, members, for each that it reads: as many as its first number says
    each_member : whether it has parameters for each member of the rows that it reads: as many as its first number says
    public : what users see of it, where fastbp makes the layer's class from this entry
    """

    name: str
    code: int
    functions: Callable[[], Functions]
    effort: Callable[[int, int], int] | None
    twin: Callable[..., Any]
    depth: Callable[[int], int] = lambda in_features: 0
    exchanged: int = 0
    saved: int = 0
    sizes: Callable[[Any], Sizes] | None = None
    saved_of_columns: Callable[[int], int] = lambda rows: 0
    sources: int = 1
    numbers: tuple[Number, ...] = ()
    bias: bool = False
    affine: bool = False
    buffers: tuple[Buffer, ...] = ()
    draws: bool = False
    activates: bool = False
    only_training: bool = False
    couples_rows: bool = False
    prediction: Kind | None = None
    sparse: bool = False
    spreads: bool = False
    each_member: bool = False
    public: Public | None = None


KINDS: dict[str, Kind] = {}


def kind(name: str, code: int, **more: Any) -> Kind:
    """Register a kind; see `Kind` for the arguments."""
    return add(KINDS, Kind(name, code, **more))


def kind_of_code(code: int) -> Kind:
    """Return the kind that a plan calls by this code."""
    return next(kind for kind in KINDS.values() if kind.code == code)
