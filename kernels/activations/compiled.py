"""Activations as machine code: passes over a block in memory, which pick a formula by its code."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from ..simd.lanes import I64, Lanes, Vec, abreast_loop, count_loop, make_intrinsic
from . import ACTIVATIONS, IDENTITY

# Vectors side by side where there is an exponential: the time falls to 0.55 … 0.95 of that of one after another.
ABREAST = 4

_BY_CODE = {activation.code: activation for activation in ACTIVATIONS.values()}


def _switch(builder: ir.IRBuilder, code: ir.Value, codes: Sequence[int], body: Callable[[int], None]) -> None:
    """Run ``body(c)`` for the one c of `codes` that `code` is at run time; nothing for any other."""
    end = builder.append_basic_block("activation.end")
    switch = builder.switch(code, end)
    for c in codes:
        block = builder.append_basic_block(f"activation.{c}")
        switch.add_case(I64(c), block)
        builder.position_at_end(block)
        body(c)
        builder.branch(end)
    builder.position_at_end(end)


def _rows(
    lanes: Lanes,
    ld: ir.Value,
    rows: ir.Value,
    cols: ir.Value,
    abreast: int,
    body: Callable[[Lanes, ir.Value, ir.Value | None], None],
) -> None:
    """Run ``body(lanes, offset, mask)`` over the vectors of a block of rows that stand `ld` elements apart."""
    b = lanes.builder
    # Rows without room between them are one row: a narrow one would not fill several vectors.
    whole = b.icmp_signed("==", ld, cols)
    rows, cols = b.select(whole, I64(1), rows), b.select(whole, b.mul(rows, cols), cols)
    with count_loop(b, I64(0), rows, 1) as i:
        start = b.mul(i, ld)
        abreast_loop(lanes, cols, abreast, lambda v, offset, mask: body(v, b.add(start, offset), mask))


def _make_activate(with_slope: bool) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        code, a, slope, ld, rows, cols = args
        lanes = Lanes(b, signature.args[1].dtype)

        def loop(c: int) -> None:
            stored = _BY_CODE[c].stores_slope

            def body(v: Lanes, offset: ir.Value, mask: ir.Value | None) -> None:
                target = b.gep(a, [offset])
                value, derivative = _BY_CODE[c].formula(v, v.load(target, mask))
                v.store(value, target, mask)
                if with_slope and stored:
                    v.store(derivative, b.gep(slope, [offset]), mask)

            _rows(lanes, ld, rows, cols, ABREAST if stored else 1, body)

        _switch(b, code, [c for c in _BY_CODE if c != IDENTITY], loop)
        return context.get_dummy_value()

    i = types.int64
    return make_intrinsic(
        "activate_with_slope" if with_slope else "activate",
        ["code", "a", "slope", "ld", "rows", "cols"],
        lambda code, p, *rest: types.void(i, p, p, i, i, i),
        codegen,
    )


# f(code, a, slope, ld, rows, cols): a holds z and receives g(z), in place; the first leaves slope alone.
activate = _make_activate(with_slope=False)
activate_with_slope = _make_activate(with_slope=True)


def _make_apply_slope() -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        code, da, a, slope, dz, ld, rows, cols = args
        lanes = Lanes(b, signature.args[1].dtype)

        def derivative(v: Lanes, c: int, offset: ir.Value, mask: ir.Value | None) -> Vec:
            d = v.load(b.gep(da, [offset]), mask)
            gradient = _BY_CODE[c].gradient
            if gradient is None:
                return d * v.load(b.gep(slope, [offset]), mask)
            return gradient(v, d, v.load(b.gep(a, [offset]), mask))

        def loop(c: int) -> None:
            def body(v: Lanes, offset: ir.Value, mask: ir.Value | None) -> None:
                v.store(derivative(v, c, offset, mask), b.gep(dz, [offset]), mask)

            _rows(lanes, ld, rows, cols, 1, body)

        _switch(b, code, list(_BY_CODE), loop)
        return context.get_dummy_value()

    i = types.int64
    return make_intrinsic(
        "apply_slope",
        ["code", "da", "a", "slope", "dz", "ld", "rows", "cols"],
        lambda code, p, *rest: types.void(i, p, p, p, p, i, i, i),
        codegen,
    )


# f(code, da, a, slope, dz, ld, rows, cols): dz = da * g'(z); dz may be da.
apply_slope = _make_apply_slope()
