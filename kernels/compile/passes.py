"""Passes over a finished block in memory: compiled functions of one signature, called by their addresses.

An activation, its slope on the way back, and an optimizer's update each are such a pass. A product knows the address
alone (`linalg.matrix.Finish`), so it serves those that are added later, and only those in use are compiled.
"""

from collections.abc import Callable
from typing import Any

from numba import types

from ..simd.lanes import make_intrinsic
from .outlined import Outlined, called_by_address
from .pointers import at
from .sources import function_of


def _pass_types(dtype: types.Float) -> Any:
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, p, p, types.CPointer(types.float64), i, i, i, i)


class Pass(Outlined):
    """A compiled ``f(c, below, beside, numbers, n, ld, rows, cols)``; nothing calls it by its name.

    c, below, beside : blocks of (rows, cols), their rows `ld` apart
    numbers, n : what an optimizer needs beside them
    """


# run_pass(address, c, below, beside, numbers, n, ld, rows, cols): call the pass at an address
run_pass = make_intrinsic(
    "run_pass",
    ["address", "c", "below", "beside", "numbers", "n", "ld", "rows", "cols"],
    lambda address, p, *rest: types.void(types.int64, *_pass_types(p.dtype).args),
    called_by_address,
)

# Rows without room between them are one long row.
_SOURCE = """
def {name}(c, below, beside, numbers, n, ld, rows, cols):
    {prepare}
    if ld == cols:
        rows, cols = 1, rows * cols
    for i in range(rows):
        at_c, at_below, at_beside = at(c, i * ld), at(below, i * ld), at(beside, i * ld)
        formula({operands}, cols)
"""


def row_pass(
    origin: Callable[..., Any], name: str, formula: Any, operands: str, prepare: str = "", **used: Any
) -> Pass:
    """Make the pass that applies a formula to each row of a block.

    origin : the function in whose file the formula is
    name : of the pass, its own in that file
    formula : an intrinsic of `simd.lanes.lanewise`
    operands : of a row, such as "at_c, at_below, at_c"
    prepare : a statement before the rows, with what it and the operands name in `used`
    """
    source = _SOURCE.format(name=name, operands=operands, prepare=prepare or "pass")
    return Pass(function_of(source, name, origin, {"formula": formula, "at": at, **used}), _pass_types)
