"""Vector operations on one row that end in a number: maximum, sums, and losses summed beside their gradients."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from . import elementary
from .lanes import I64, Lanes, Variable, Vec, make_intrinsic, vector_loop


def _sum_type(real: Any, sums: int) -> Any:
    return real if sums == 1 else types.UniTuple(real, sums)


def summed(
    formula: Callable[..., Any],
    *,
    reads: int,
    writes: int,
    numbers: int = 0,
    doubles: int | None = None,
    sums: int = 1,
    in_float64: bool = True,
    keeps: bool = True,
) -> Any:
    """Make the intrinsic ``f(*read pointers, *write pointers, *numbers, count) -> sum``.

    The formula is ``formula(lanes, *inputs, *numbers)`` and returns a tuple: the Vec to be summed over the row, then
    one Vec for each written pointer. Lanes are summed apart, in float64, and folded in a fixed tree, so the sum depends
    on the row alone. Where `doubles` is given, a pointer to so many float64 comes before the count: they are more
    numbers of the formula's. With several `sums` the tuple begins with as many, which may be widened, and a tuple of
    sums is returned. Without `in_float64` they are made in the element type. Without `keeps` nothing is written.
    """
    pointers = reads + writes
    scalars_end = pointers + numbers

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        lanes = Lanes(b, signature.args[0].dtype)
        scalars = [lanes.splat(a) for a in args[pointers:scalars_end]]
        if doubles is not None:
            scalars += splat_doubles(lanes, args[scalars_end], doubles)
        wide = lanes.widened() if in_float64 else lanes
        totals = [Variable(wide, wide.constant(0.0)) for _ in range(sums)]

        def body(offset: ir.Value, mask: ir.Value | None) -> None:
            inputs = [lanes.load(b.gep(p, [offset]), mask) for p in args[:reads]]
            found = formula(lanes, *inputs, *scalars)
            for result, pointer in zip(found[sums:], args[reads:pointers] if keeps else [], strict=keeps):
                lanes.store(result, b.gep(pointer, [offset]), mask)
            for total, term in zip(totals, found[:sums], strict=True):
                term = term if mask is None else term.lanes.select(mask, term, 0.0)
                total.set(total.get() + (lanes.widen(term) if wide.bits == 64 else term))

        vector_loop(lanes, args[-1], body)
        values = [wide.sum_lanes(total.get()) for total in totals]
        return values[0] if sums == 1 else context.make_tuple(b, signature.return_type, values)

    return make_intrinsic(
        formula.__name__,
        [f"p{i}" for i in range(pointers)]
        + [f"s{i}" for i in range(numbers)]
        + ["own"] * (doubles is not None)
        + ["count"],
        lambda p, *rest: _sum_type(types.float64 if in_float64 else p.dtype, sums)(
            *[p] * pointers, *[p.dtype] * numbers, *[types.CPointer(types.float64)] * (doubles is not None), types.int64
        ),
        codegen,
    )


def splat_doubles(lanes: Lanes, pointer: ir.Value, count: int) -> list[Vec]:
    """Return so many float64 that stand at a pointer, each in all lanes."""
    wide = lanes.widened()
    places = [lanes.builder.gep(pointer, [I64(i)]) for i in range(count)]
    return [lanes.narrowed(wide.splat(lanes.builder.load(place))) for place in places]


def _row_max_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    x, count = args
    lanes = Lanes(b, signature.args[0].dtype)
    lowest = lanes.constant(-math.inf)
    top = Variable(lanes, lowest)

    def body(offset: ir.Value, mask: ir.Value | None) -> None:
        value = lanes.load(b.gep(x, [offset]), mask)
        if mask is not None:
            value = lanes.select(mask, value, lowest)
        top.set(lanes.maximum(top.get(), value))

    vector_loop(lanes, count, body)
    return lanes.max_lanes(top.get())


# row_max(x, count): the largest of the numbers that are not NaN
row_max = make_intrinsic("row_max", ["x", "count"], lambda p, n: p.dtype(p, types.int64), _row_max_codegen)


def _log_codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    lanes = Lanes(b, signature.args[0])
    return lanes.extract_first(elementary.log(lanes, lanes.splat(args[0])))


# log(x) of one positive number, by the vector formula
log = make_intrinsic("log", ["x"], lambda x: x(x), _log_codegen)


def of_one(formula: Callable[..., Any], numbers: int, results: int) -> Any:
    """Make the intrinsic ``f(*numbers) -> results`` that applies a formula of vectors to numbers of its type."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        lanes = Lanes(b, signature.args[0])
        found = [lanes.extract_first(result) for result in formula(lanes, *(lanes.splat(a) for a in args))]
        return context.make_tuple(b, signature.return_type, found)

    return make_intrinsic(
        formula.__name__,
        [f"s{i}" for i in range(numbers)],
        lambda x, *rest: types.UniTuple(x, results)(*[x] * numbers),
        codegen,
    )


def exp_shifted(v: Lanes, z: Vec, top: Vec) -> tuple[Vec, Vec]:
    """e = exp(z - top), summed."""
    e = elementary.exp_of_negative(v, z - top)
    return e, e


def exp_rows(rows: int, *, kept: bool) -> Any:
    """Make ``f(z, e, ld, count, tops, sums)`` of so many rows, `ld` apart: their largest, and sums of exp(z - top).

    e : exp(z - top), written where it is `kept`
    tops, sums : a number for each row, written; what `row_max` and `summed` make of it, whatever rows are beside it

    A short row's maximum and sum are chains that the CPU waits for. Of several rows at once they are side by side.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        z, e, ld, count, tops, sums = args
        lanes = Lanes(b, signature.args[0].dtype)
        wide, lowest = lanes.widened(), lanes.constant(-math.inf)
        starts = [b.mul(ld, I64(i)) for i in range(rows)]
        largest = [Variable(lanes, lowest) for _ in starts]
        totals = [Variable(wide, wide.constant(0.0)) for _ in starts]

        def maximum(offset: ir.Value, mask: ir.Value | None) -> None:
            for start, top in zip(starts, largest, strict=True):
                value = lanes.load(b.gep(z, [b.add(start, offset)]), mask)
                if mask is not None:
                    value = lanes.select(mask, value, lowest)
                top.set(lanes.maximum(top.get(), value))

        def exponentials(offset: ir.Value, mask: ir.Value | None) -> None:
            for start, top, total in zip(starts, found, totals, strict=True):
                place = b.add(start, offset)
                term = elementary.exp_of_negative(lanes, lanes.load(b.gep(z, [place]), mask) - top)
                if kept:
                    lanes.store(term, b.gep(e, [place]), mask)
                term = term if mask is None else lanes.select(mask, term, 0.0)
                total.set(total.get() + lanes.widen(term))

        vector_loop(lanes, count, maximum)
        numbers = [lanes.max_lanes(top.get()) for top in largest]
        found = [lanes.splat(number) for number in numbers]
        vector_loop(lanes, count, exponentials)
        for i in range(rows):
            total = wide.sum_lanes(totals[i].get())
            b.store(numbers[i], b.gep(tops, [I64(i)]))
            b.store(total if lanes.bits == 64 else b.fptrunc(total, lanes.scalar), b.gep(sums, [I64(i)]))
        return context.get_dummy_value()

    return make_intrinsic(
        f"exp_rows_{rows}{'_kept' * kept}",
        ["z", "e", "ld", "count", "tops", "sums"],
        lambda p, *rest: types.void(p, p, types.int64, types.int64, p, p),
        codegen,
    )


def _itself(v: Lanes, x: Vec) -> tuple[Vec]:
    return (x,)


def _weighted(v: Lanes, x: Vec, weight: Vec) -> tuple[Vec]:
    return (x * weight,)


# Sums of many rows' numbers: as they are, and each times its weight
added_up = summed(_itself, reads=1, writes=0)
weighted = summed(_weighted, reads=2, writes=0)
