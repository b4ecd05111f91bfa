"""Losses of narrow rows, a vector's worth of rows at a time.

Few outputs fill no vector, and a row's maximum and sums would wait on each other. So a block of rows is turned in
registers, a lane a row and a vector a column, and every step of a formula serves all its rows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import carray, types

from ..compile.functions import kernel
from ..compile.pointers import at, lanes_of, stack_block
from ..simd import elementary
from ..simd.isa import WIDEST_LANES, isa
from ..simd.lanes import I64, Lanes, Variable, Vec, count_loop, make_intrinsic
from ..simd.packing import turn, turn_back
from ..simd.rows import splat_doubles
from .registry import IGNORE_INDEX, NARROW, OWN


def _softmax(gradient: bool) -> Any:
    """Make the code of `softmax_columns`."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        panel, classes, labels, own, loss, scale, hit = args
        lanes = Lanes(b, signature.args[0].dtype)
        wide = lanes.widened()
        label, own = lanes.load(labels), lanes.load(own)
        top, first = Variable(lanes, lanes.constant(-math.inf)), Variable(lanes, lanes.constant(-1.0))
        picked, total = Variable(lanes, lanes.constant(0.0)), Variable(wide, wide.constant(0.0))

        def column(c: ir.Value) -> tuple[ir.Value, Vec]:
            return b.gep(panel, [b.mul(c, I64(lanes.width))]), lanes.splat(b.sitofp(c, lanes.scalar))

        with count_loop(b, I64(0), classes, 1) as c:
            z = lanes.load(column(c)[0])
            top.set(lanes.maximum(top.get(), z))
        largest = top.get()
        with count_loop(b, I64(0), classes, 1) as c:
            place, number = column(c)
            z = lanes.load(place)
            picked.set(lanes.select(label.equals(number), z, picked.get()))
            if gradient:
                unseen = b.and_(z.equals(largest), first.get() < 0.0)
                first.set(lanes.select(unseen, number, first.get()))
            e = elementary.exp_of_negative(lanes, z - largest)
            if gradient:
                lanes.store(e, place)
            total.set(total.get() + lanes.widen(e))
        sums = lanes.narrowed(total.get())
        counts = label >= 0.0
        # 0 * infinity is 0: the label weighs nothing
        gap = lanes.select(own.equals(0.0), 0.0, largest - picked.get())
        value = own * (elementary.log(lanes, sums) + gap)
        lanes.store(lanes.select(counts, value, 0.0), loss)
        if not gradient:
            return context.get_dummy_value()
        found = b.and_(counts, label.equals(first.get()))
        lanes.store(lanes.select(found, 1.0, 0.0), hit)
        share = lanes.load(scale) * own
        factor = share / sums
        with count_loop(b, I64(0), classes, 1) as c:
            place, number = column(c)
            d = lanes.load(place) * factor
            d = lanes.select(label.equals(number), d - share, d)
            lanes.store(lanes.select(counts, d, 0.0), place)
        return context.get_dummy_value()

    return codegen


def softmax_columns(gradient: bool) -> Any:
    """Make ``f(panel, classes, labels, own, loss, scale, hit)``, the cross-entropy of a panel of logits.

    ``panel[c * width + i]`` holds the logit of class c in row i, and receives its gradient times ``scale[i]``;
    ``labels[i]`` is a class, or -1 for a row that does not count; ``own[i]`` is the weight of that class. ``loss[i]``
    and ``hit[i]`` are written: the row's loss, and 1 where its label is the first of the largest. Without a `gradient`
    the losses alone are, and their bits are the same.
    """
    return make_intrinsic(
        "softmax_columns",
        ["panel", "classes", "labels", "own", "loss", "scale", "hit"],
        lambda p, n, *rest: types.void(p, types.int64, *[p] * len(rest)),
        _softmax(gradient),
    )


def columns_summed(formula: Callable[..., Any], doubles: int, by_output: bool) -> Any:
    """Make ``f(z, targets, each, scale, own, columns, width, count, sums)`` of a loss of two numbers.

    The formula is ``formula(lanes, z, target, scale, *own)`` and returns the loss and the gradient, as in
    `simd.rows.summed`; `by_output` it takes a number of the column before scale.

    z, targets : panels of `columns` and `width` vectors; z receives the gradient
    each : a number for each column, read `by_output`; the targets are repeated then, until there is one for each
    scale, sums : float64, one number for each of the first `count` lanes, read and written: each row's factor and sum
    own : so many `doubles`, the loss's own numbers
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        z, targets, each, scale, own, columns, width, count, sums = args
        lanes = Lanes(b, signature.args[0].dtype)
        wide = lanes.widened()
        rows = wide.first_lanes(count)
        factor = lanes.narrowed(wide.load(scale, rows))
        numbers = splat_doubles(lanes, own, doubles)
        total = Variable(wide, wide.constant(0.0))
        with count_loop(b, I64(0), columns, 1) as c:
            offset = b.mul(c, I64(lanes.width))
            place = b.gep(z, [offset])
            if by_output:
                offset = b.mul(b.urem(c, width), I64(lanes.width))
            target = lanes.load(b.gep(targets, [offset]))
            of_column = [lanes.splat(b.load(b.gep(each, [c])))] if by_output else []
            term, slope = formula(lanes, lanes.load(place), target, *of_column, factor, *numbers)
            lanes.store(slope, place)
            total.set(total.get() + lanes.widen(term))
        wide.store(total.get(), sums, rows)
        return context.get_dummy_value()

    return make_intrinsic(
        f"columns_{formula.__name__}",
        ["z", "targets", "each", "scale", "own", "columns", "width", "count", "sums"],
        lambda p, q, e, rows, *rest: types.void(p, p, p, rows, rows, types.int64, types.int64, types.int64, rows),
        codegen,
    )


# Room for five vectors of one number a row, and two panels
narrow_scratch = stack_block((2 * (NARROW + WIDEST_LANES) + 5) * isa().vector_bytes)


@kernel
def load_labels(r, first, count, block, width):
    """A vector each of the labels of a block's rows, -1 for one that does not count; of their weights; their scales."""
    real = carray(r.z, 1).dtype.type
    lanes = carray(block, (5, width))
    for i in range(width):
        row = first + min(i, count - 1)
        label = r.labels[row]
        counts = label != r.options[IGNORE_INDEX]
        lanes[0, i] = real(label) if counts else real(-1.0)
        lanes[1, i] = r.class_weight[label] if counts and r.classes > 0 else real(1.0)
        lanes[2, i] = real(r.scales[row])


def softmax_block(gradient: bool) -> Any:
    """Make the kernel of a block of rows whose logits are in a panel, a lane a row: losses, and hits and gradients."""
    of_columns = softmax_columns(gradient)

    @kernel
    def of_block(r, first, count, block, panel, width):
        load_labels(r, first, count, block, width)
        lanes = carray(block, (5, width))
        of_columns(
            panel, r.n, block, at(block, width), at(block, 3 * width), at(block, 2 * width), at(block, 4 * width)
        )
        for i in range(count):
            r.losses[first + i] = lanes[3, i]
            if gradient:
                r.hits[first + i] = lanes[4, i]

    return of_block


def labels_narrow(gradient: bool) -> Any:
    """Make the kernel of class labels, of at most NARROW classes, unsmoothed, for some rows."""
    of_block = softmax_block(gradient)

    @kernel
    def narrow(r):
        width = lanes_of(r.z)
        block = narrow_scratch(r.z)
        panel = at(block, 5 * width)
        for first in range(r.start, r.stop, width):
            count = min(width, r.stop - first)
            turn(at(r.z, first * r.ld), r.ld, r.stored, count, panel, width)
            of_block(r, first, count, block, panel, width)
            if gradient:
                turn_back(at(r.d, first * r.ld), r.ld, r.stored, count, panel, width)

    return narrow


def numbers_narrow(by_columns: Any) -> Any:
    """Make the kernel of a loss of numbers, of at most NARROW columns, for some rows; see `columns_summed`."""

    @kernel
    def narrow(r):
        lanes = lanes_of(r.z)
        panel = narrow_scratch(r.z)
        given = at(panel, (NARROW + WIDEST_LANES) * lanes)
        scales, own = r.scales, at(r.options, OWN)
        for first in range(r.start, r.stop, lanes):
            count = min(lanes, r.stop - first)
            turn(at(r.z, first * r.ld), r.ld, r.n, count, panel, lanes)
            turn(at(r.targets, first * r.width), r.width, r.width, count, given, lanes)
            sums = at(r.losses, first)
            by_columns(panel, given, r.class_weight, at(scales, first), own, r.n, r.width, count, sums)
            turn_back(at(r.d, first * r.ld), r.ld, r.n, count, panel, lanes)

    return narrow
