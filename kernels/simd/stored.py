"""Rows of which only some numbers are stored, times a matrix: ``c[j] = sum over the stored k of x[k] * w[k, j]``.

An element is one chain of fused multiply-adds over the stored numbers in the order of their columns, from zero. What is
not stored would add 0 to it, which changes no bit of a finite chain: so the bits are those of `microkernel.tile` on the
same row with its zeros.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from .lanes import I64, Lanes, Variable, count_loop, make_intrinsic
from .modes import BIAS, RECTIFY, ROOM

# Vectors of a row of W side by side: their chains keep both FMA units busy.
ROW_VECTORS = 8


class _Strip:
    """Writes the code for a strip of so many vectors of one row of C, the last of which may not be whole."""

    def __init__(self, lanes: Lanes, vectors: int, masked: bool, operands: Sequence[ir.Value]) -> None:
        self.lanes, self.builder, self.vectors = lanes, lanes.builder, vectors
        self.data, self.indices, first, end, w, ldw, cols, bias, c, mode = operands
        b = self.builder
        edge = lanes.first_lanes(b.sub(cols, I64((vectors - 1) * lanes.width))) if masked else None
        self.masks = [None] * (vectors - 1) + [edge]
        self.sums = [Variable(lanes, lanes.constant(0.0)) for _ in range(vectors)]
        self.grow_chains(first, end, w, ldw)
        with b.if_then(self.asked(mode, BIAS)):
            for j, total in enumerate(self.sums):
                total.set(total.get() + self.column(bias, j))
        with b.if_then(self.asked(mode, RECTIFY)):
            for total in self.sums:
                total.set(lanes.maximum(total.get(), 0.0))
        if not masked:
            self.store(c, self.masks)
            return
        with b.if_else(self.asked(mode, ROOM)) as (then, otherwise):
            with then:
                self.store(c, [None] * vectors)
            with otherwise:
                self.store(c, self.masks)

    def asked(self, mode: ir.Value, flag: int) -> ir.Value:
        """Whether the mode has a flag."""
        return self.builder.icmp_signed("!=", self.builder.and_(mode, I64(flag)), I64(0))

    def place(self, pointer: ir.Value, j: int) -> ir.Value:
        """Return where vector j of a row stands."""
        return self.builder.gep(pointer, [I64(j * self.lanes.width)])

    def column(self, pointer: ir.Value, j: int) -> Any:
        """Load vector j of a row."""
        return self.lanes.load(self.place(pointer, j), self.masks[j])

    def grow_chains(self, first: ir.Value, end: ir.Value, w: ir.Value, ldw: ir.Value) -> None:
        """Add all links to the chains."""
        b = self.builder
        with count_loop(b, first, end, 1) as s:
            row = b.gep(w, [b.mul(b.sext(b.load(b.gep(self.indices, [s])), I64), ldw)])
            number = self.lanes.splat(b.load(b.gep(self.data, [s])))
            for j, total in enumerate(self.sums):
                total.set(self.lanes.fma(number, self.column(row, j), total.get()))

    def store(self, c: ir.Value, masks: Sequence[Any]) -> None:
        """Store the row of C."""
        for j, (total, mask) in enumerate(zip(self.sums, masks, strict=True)):
            self.lanes.store(total.get(), self.place(c, j), mask)


def _codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
    lanes, cols = Lanes(b, signature.args[0].dtype), args[6]
    vectors = b.sdiv(b.add(cols, I64(lanes.width - 1)), I64(lanes.width))
    whole = b.icmp_signed("==", b.mul(vectors, I64(lanes.width)), cols)
    end = b.append_basic_block("strip.end")
    switch = b.switch(b.add(vectors, b.select(whole, I64(0), I64(ROW_VECTORS))), end)
    for masked in (False, True):
        for count in range(1, ROW_VECTORS + 1):
            block = b.append_basic_block(f"strip.{count}")
            switch.add_case(I64(count + masked * ROW_VECTORS), block)
            b.position_at_end(block)
            _Strip(lanes, count, masked, args)
            b.branch(end)
    b.position_at_end(end)
    return context.get_dummy_value()


# stored_strip(data, indices, first, end, w, ldw, cols, bias, c, mode): up to ROW_VECTORS vectors of columns of one row
# of C, from the numbers data[first] to before data[end], whose rows of W are in `indices`. mode: BIAS and RECTIFY, and
# ROOM where C has room up to whole vectors.
stored_strip = make_intrinsic(
    "stored_strip",
    ["data", "indices", "first", "end", "w", "ldw", "cols", "bias", "c", "mode"],
    lambda p, indices, *rest: types.void(
        p, indices, types.int64, types.int64, p, types.int64, types.int64, p, p, types.int64
    ),
    _codegen,
)
