"""Columns by strips of vectors: numbers of each column stay in registers while the rows of matrices go by.

Whatever the matrices hold, it is float64 in registers: it is widened where it is read, and rounded where it is written.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from .isa import isa
from .lanes import I64, Lanes, Variable, Vec, count_loop, make_intrinsic, vector_loop

# Rows are added up in so many chains, row i in chain i % CHAINS. The bits of a sum depend on it.
CHAINS = 2
# Columns of vectors side by side: their two sums, each of two registers in float64, take half of the registers.
ABREAST = isa().registers // (2 * 2 * 2 * CHAINS)


class Strip(NamedTuple):
    """Some vectors' worth of columns, whose numbers are in registers while the rows go by.

    places : which columns, a vector each; mask : of the last one, None for whole vectors
    """

    lanes: Lanes
    places: list[ir.Value]
    mask: ir.Value | None

    @property
    def wide(self) -> Lanes:
        return self.lanes.widened()

    def read(self, pointer: ir.Value) -> list[Vec]:
        """Read a number of each column, of the element type."""
        b = self.lanes.builder
        return [self.wide.widen(self.lanes.load(b.gep(pointer, [place]), self.mask)) for place in self.places]

    def read_doubles(self, pointer: ir.Value) -> list[Vec]:
        """Read a float64 of each column."""
        return [self.wide.load(self.lanes.builder.gep(pointer, [place]), self.mask) for place in self.places]

    def number(self, integer: ir.Value) -> Vec:
        return self.wide.splat(self.lanes.builder.sitofp(integer, self.wide.scalar))

    def has(self, flags: ir.Value, flag: int) -> ir.Value:
        b = self.lanes.builder
        return b.icmp_signed("!=", b.and_(flags, I64(flag)), I64(0))

    def read_if(self, flags: ir.Value, flag: int, pointer: ir.Value, other: float) -> list[Vec]:
        """Read a number of each column where the flags have this one; else all of them are the other number."""
        wide = self.wide
        found = [Variable(wide, wide.constant(other)) for _ in self.places]
        with self.lanes.builder.if_then(self.has(flags, flag)):
            for variable, value in zip(found, self.read(pointer), strict=True):
                variable.set(value)
        return [variable.get() for variable in found]

    def write(self, vectors: Sequence[Vec], pointer: ir.Value) -> None:
        """Write a number of each column, rounded to the element type."""
        for place, vector in zip(self.places, vectors, strict=True):
            self.lanes.store(self.lanes.narrowed(vector), self.lanes.builder.gep(pointer, [place]), self.mask)

    def write_doubles(self, vectors: Sequence[Vec], pointer: ir.Value) -> None:
        """Write a float64 of each column."""
        for place, vector in zip(self.places, vectors, strict=True):
            self.wide.store(vector, self.lanes.builder.gep(pointer, [place]), self.mask)

    def sums(self, rows: ir.Value, terms: Callable[[ir.Value, list[Vec]], list[Vec]], count: int) -> list[Vec]:
        """Return so many sums over the rows: ``terms(i, sums)`` adds what row i has to them."""
        b, wide = self.lanes.builder, self.wide
        chains = [[Variable(wide, wide.constant(0.0)) for _ in range(count)] for _ in range(CHAINS)]

        def add(i: ir.Value, chain: list[Variable]) -> None:
            for variable, value in zip(chain, terms(i, [variable.get() for variable in chain]), strict=True):
                variable.set(value)

        whole = b.mul(b.sdiv(rows, I64(CHAINS)), I64(CHAINS))
        with count_loop(b, I64(0), whole, CHAINS) as i:
            for c, chain in enumerate(chains):
                add(b.add(i, I64(c)), chain)
        with b.if_then(b.icmp_signed("<", whole, rows)):
            add(whole, chains[0])
        return [one.get() + other.get() for one, other in zip(*chains, strict=True)]


def _each_strip(lanes: Lanes, cols: ir.Value, body: Callable[[Strip], None]) -> None:
    """Run `body` for all columns, ABREAST vectors of them at a time while there are as many."""
    b, wide = lanes.builder, ABREAST * lanes.width
    done = b.mul(b.sdiv(cols, I64(wide)), I64(wide))
    with count_loop(b, I64(0), done, wide) as j:
        body(Strip(lanes, [b.add(j, I64(c * lanes.width)) for c in range(ABREAST)], None))
    vector_loop(lanes, b.sub(cols, done), lambda j, mask: body(Strip(lanes, [b.add(done, j)], mask)))


def by_columns(name: str, *, matrices: int, ints: int, pointers: int, doubles: int, formula: Any) -> Any:
    """Make the intrinsic ``f(*matrices, cols, *ints, *pointers, *doubles)``.

    matrices : a pointer and the distance between its rows, each
    ints : integers
    pointers, doubles : a number of each column, of the element type and float64, each
    formula : ``formula(strip, *matrices, *the others)``; a matrix is a function of i to where row i stands
    """

    def pointer_of(args: Sequence[Any]) -> Any:
        return next(arg for arg in args if isinstance(arg, types.CPointer))

    parameters = [f"{what}{i}" for i in range(matrices) for what in ("matrix", "ld")] + ["cols"]
    parameters += [f"{what}{i}" for what, n in (("i", ints), ("p", pointers), ("d", doubles)) for i in range(n)]

    def typing(*args: Any) -> Any:
        p, i, double = pointer_of(args), types.int64, types.CPointer(types.float64)
        return types.void(*[p, i] * matrices, i, *[i] * ints, *[p] * pointers, *[double] * doubles)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        places, (cols, *others) = args[: 2 * matrices], args[2 * matrices :]

        def matrix(data: ir.Value, ld: ir.Value) -> Callable[[ir.Value], ir.Value]:
            return lambda i: b.gep(data, [b.mul(i, ld)])

        found = [matrix(*pair) for pair in zip(places[::2], places[1::2], strict=True)]
        lanes = Lanes(b, pointer_of(signature.args).dtype)
        _each_strip(lanes, cols, lambda strip: formula(strip, *found, *others))
        return context.get_dummy_value()

    return make_intrinsic(name, parameters, typing, codegen)
