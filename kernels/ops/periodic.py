"""Numerical embeddings by waves: ``A = [X, V cos(2 pi w x + b) + c]``, of each feature x by weights of its own.

With ``C = cos(2 pi w x + b)``, S its sine and dU the gradient of ``U = V C + c``: ``dV = dU C``, ``dc = dU``, and of
what is in the cosine ``dT = -S (V.T dU)``, so ``db = dT``, ``dw = 2 pi x dT`` and ``dx = 2 pi w dT``. Features stand
side by side in a vector: what is here for one is done for as many.
"""

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import carray, types

from ..compile.functions import kernel
from ..compile.pointers import at, lanes_of, pointer_to
from ..linalg.tasks import share
from ..run.frame import WORK
from ..run.plan import ACROSS, ADD, FLAGS, IN, LAST, OUT, SAVED, SOURCE, A, D, W
from ..simd.elementary import cos_and_sin
from ..simd.lanes import I64, Lanes, Variable, Vec, count_loop, make_intrinsic, vector_loop
from ..simd.modes import ACCUMULATE
from .call import FIRST, MODE, UPDATES, op
from .gradients import rows_to_sum
from .operands import (
    apply_slope_of,
    attribute_of,
    input_gradient_of,
    input_of,
    rows_at,
    rows_of_piece,
    sums_of,
    update_block,
    wants_gradient,
    weights_of,
)
from .residual import added, copied

TURN = 2 * math.pi


class Rows:
    """Loads and stores vectors of rows of n numbers that follow each other, at some place in each."""

    def __init__(self, lanes: Lanes, n: ir.Value, offset: ir.Value, mask: ir.Value | None) -> None:
        self.lanes, self.n, self.offset, self.mask = lanes, n, offset, mask

    def _at(self, base: ir.Value, row: ir.Value) -> ir.Value:
        b = self.lanes.builder
        return b.gep(base, [b.add(b.mul(row, self.n), self.offset)])

    def load(self, base: ir.Value, row: ir.Value) -> Vec:
        return self.lanes.load(self._at(base, row), self.mask)

    def store(self, x: Vec, base: ir.Value, row: ir.Value) -> None:
        self.lanes.store(x, self._at(base, row), self.mask)

    def add(self, x: Vec, y: Vec | float, base: ir.Value, row: ir.Value) -> None:
        """Add x * y to what stands in a row."""
        self.store(self.lanes.fma(x, y, self.load(base, row)), base, row)


class Parameters:
    """The number of each row of W: frequency and phase of a wave q, V of it and of output j, and c of that."""

    def __init__(self, b: ir.IRBuilder, waves: ir.Value, outputs: ir.Value) -> None:
        self.b, self.waves, self.outputs = b, waves, outputs

    def phase(self, q: ir.Value) -> ir.Value:
        return self.b.add(self.waves, q)

    def linear(self, q: ir.Value, j: ir.Value) -> ir.Value:
        return self.b.add(self.b.add(self.waves, self.waves), self.b.add(self.b.mul(q, self.outputs), j))

    def constant(self, j: ir.Value) -> ir.Value:
        return self.linear(self.waves, j)


def _slope(rows: Rows, own: Parameters, q: ir.Value, w: ir.Value, du: ir.Value, saved: ir.Value) -> Vec:
    """Return dT of wave q: ``-S (V.T dU)``."""
    total = Variable(rows.lanes, rows.lanes.constant(0.0))
    with count_loop(own.b, I64(0), own.outputs, 1) as j:
        total.set(rows.lanes.fma(rows.load(du, j), rows.load(w, own.linear(q, j)), total.get()))
    return -(rows.load(saved, own.phase(q)) * total.get())


def _forward(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    x, w, saved, u, n, waves, outputs = args
    lanes, own = Lanes(b, signature.args[0].dtype), Parameters(b, waves, outputs)

    def features(offset: ir.Value, mask: ir.Value | None) -> None:
        rows = Rows(lanes, n, offset, mask)
        of_x = rows.load(x, I64(0))
        with count_loop(b, I64(0), waves, 1) as q:
            turns = lanes.fma(rows.load(w, q), of_x, rows.load(w, own.phase(q)) * (1 / TURN))
            cosine, sine = cos_and_sin(lanes, turns)
            rows.store(cosine, saved, q)
            rows.store(sine, saved, own.phase(q))
        with count_loop(b, I64(0), outputs, 1) as j:
            total = Variable(lanes, rows.load(w, own.constant(j)))
            with count_loop(b, I64(0), waves, 1) as q:
                total.set(lanes.fma(rows.load(saved, q), rows.load(w, own.linear(q, j)), total.get()))
            rows.store(total.get(), u, j)

    vector_loop(lanes, n, features)
    return context.get_dummy_value()


def _add_dx(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    du, w, saved, dx, n, waves, outputs = args
    lanes, own = Lanes(b, signature.args[0].dtype), Parameters(b, waves, outputs)

    def features(offset: ir.Value, mask: ir.Value | None) -> None:
        rows = Rows(lanes, n, offset, mask)
        total = Variable(lanes, rows.load(dx, I64(0)))
        with count_loop(b, I64(0), waves, 1) as q:
            total.set(lanes.fma(_slope(rows, own, q, w, du, saved) * TURN, rows.load(w, q), total.get()))
        rows.store(total.get(), dx, I64(0))

    vector_loop(lanes, n, features)
    return context.get_dummy_value()


def _add_dw(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    x, du, w, saved, dw, n, cols, waves, outputs = args
    lanes, own = Lanes(b, signature.args[0].dtype), Parameters(b, waves, outputs)

    def features(offset: ir.Value, mask: ir.Value | None) -> None:
        rows = Rows(lanes, n, offset, mask)
        of_x = rows.load(x, I64(0)) * TURN
        with count_loop(b, I64(0), waves, 1) as q:
            cosine = rows.load(saved, q)
            with count_loop(b, I64(0), outputs, 1) as j:
                rows.add(rows.load(du, j), cosine, dw, own.linear(q, j))
            slope = _slope(rows, own, q, w, du, saved)
            rows.add(slope, of_x, dw, q)
            rows.add(slope, 1.0, dw, own.phase(q))
        with count_loop(b, I64(0), outputs, 1) as j:
            rows.add(rows.load(du, j), 1.0, dw, own.constant(j))

    vector_loop(lanes, cols, features)
    return context.get_dummy_value()


def _of_row(name: str, pointers: Sequence[str], codegen: Any, *sizes: str) -> Any:
    """Make an intrinsic of pointers to one row of a batch and to W, and of sizes: n features, waves and outputs."""
    integers = [types.int64] * len(sizes)
    return make_intrinsic(
        name, [*pointers, *sizes], lambda p, *rest: types.void(*[p] * len(pointers), *integers), codegen
    )


# forward_of_row(x, w, saved, u, n, waves, outputs): cosines and sines to saved, (2 waves, n), and U to u, (outputs, n)
forward_of_row = _of_row("forward_of_row", ["x", "w", "saved", "u"], _forward, "n", "waves", "outputs")
# add_dx_of_row(du, w, saved, dx, n, waves, outputs): adds 2 pi w dT to dx, (n)
add_dx_of_row = _of_row("add_dx_of_row", ["du", "w", "saved", "dx"], _add_dx, "n", "waves", "outputs")
# add_dw_of_row(x, du, w, saved, dw, n, cols, waves, outputs): adds the gradients of W to dw, of so many columns alone
add_dw_of_row = _of_row("add_dw_of_row", ["x", "du", "w", "saved", "dw"], _add_dw, "n", "cols", "waves", "outputs")


@kernel
def waves_of(row):
    """Return the waves and the outputs that each feature has."""
    return int(attribute_of(row, 1)), (row[OUT] - row[IN]) // row[ACROSS]


@kernel
def saved_of(x, frame, row, i):
    """Return where cosines and sines of row i of the workspace stand, (2 waves, features)."""
    waves, _ = waves_of(row)
    return at(pointer_to(x, frame[WORK] + row[SAVED]), i * 2 * waves * row[ACROSS])


@op
def periodic_forward(x, frame, row, span, pieces, piece):
    """``A = [X, V cos(2 pi w x + b) + c]``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    w, n, (waves, outputs) = weights_of(x, frame, row).data, row[ACROSS], waves_of(row)
    for i in range(rows):
        of_x = source.element(i, 0)
        copied(of_x, a.element(i, 0), source.cols)
        forward_of_row(of_x, w, saved_of(x, frame, row, start + i), a.element(i, source.cols), n, waves, outputs)


@op
def periodic_input_gradient(x, frame, row, span, pieces, piece):
    """``dX``, added to what other readers of the source have written; and g' where none comes after.

    A piece is some rows.
    """
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    dz, dx = rows_at(x, frame, row, D, start, rows), input_gradient_of(x, frame, row, SOURCE, start, rows)
    w, n, (waves, outputs) = weights_of(x, frame, row).data, row[ACROSS], waves_of(row)
    for i in range(rows):
        d = dx.element(i, 0)
        if row[FLAGS] & ADD:
            added(dz.element(i, 0), d, d, dx.cols)
        else:
            copied(dz.element(i, 0), d, dx.cols)
        add_dx_of_row(dz.element(i, dx.cols), w, saved_of(x, frame, row, start + i), d, n, waves, outputs)
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)


@op
def periodic_weight_gradient(x, frame, row, span, pieces, piece):
    """The gradients of W, part after part of a batch, and the update where a span has UPDATES.

    A piece is some features.
    """
    rows = rows_to_sum(row, span)
    n, (waves, outputs) = row[ACROSS], waves_of(row)
    j0, j1 = share(n, lanes_of(x), pieces, piece), share(n, lanes_of(x), pieces, piece + 1)
    source, dz = input_of(x, frame, row, SOURCE, span[FIRST], rows), rows_at(x, frame, row, D, span[FIRST], rows)
    w, (dw, _) = weights_of(x, frame, row).element(0, j0), sums_of(x, frame, row, span)
    dw = dw.cols_of(j0, j1)
    if span[MODE] & ACCUMULATE == 0:
        for i in range(dw.rows):
            carray(dw.element(i, 0), dw.cols)[:] = 0
    for i in range(rows):
        saved = at(saved_of(x, frame, row, span[FIRST] + i), j0)
        du = dz.element(i, source.cols + j0)
        add_dw_of_row(source.element(i, j0), du, w, saved, dw.data, n, dw.cols, waves, outputs)
    if span[UPDATES]:
        update_block(x, frame, row[W], j0, dw)
