"""A small vector language: formulas over `Vec` values become LLVM vector instructions.

Numba has no vector type, so a kernel that must be vector code is written here as a Python function over `Vec`
values, and `lanewise` (below) or `microkernel` turns it into a Numba intrinsic. Nothing is left to the
auto-vectoriser, no flag allows LLVM to reorder or fuse, and the tail of a row runs the same instructions under a
mask: a value does not depend on where in an array it stands.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._numba import cgutils
from .isa import isa

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class Lanes:
    """Writes vector instructions for one element type at the end of a builder's block."""

    def __init__(self, builder: ir.IRBuilder, dtype: types.Float, width: int | None = None) -> None:
        self.builder = builder
        self.dtype = dtype
        self.bits = dtype.bitwidth
        self.scalar = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.scalar_int = ir.IntType(self.bits)
        self.width = width or isa().lanes(self.bits // 8)
        self.vector = ir.VectorType(self.scalar, self.width)
        self.vector_int = ir.VectorType(self.scalar_int, self.width)
        self.mask = ir.VectorType(I1, self.width)
        self.mantissa_bits, self.bias = (23, 127) if self.bits == 32 else (52, 1023)

    def wrap(self, value: ir.Value) -> "Vec":
        return Vec(self, value)

    def constant(self, number: float) -> "Vec":
        # Rounded to the element type here, so that text and instruction agree.
        rounded = float(np.float32(number)) if self.bits == 32 else float(number)
        return self.wrap(ir.Constant(self.vector, [rounded] * self.width))

    def lift(self, x: "Vec | float") -> "Vec":
        return x if isinstance(x, Vec) else self.constant(x)

    def splat(self, scalar: ir.Value) -> "Vec":
        """Broadcast one IR scalar of the element type to all lanes."""
        return self.wrap(self._spread(scalar, self.vector))

    def _spread(self, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def first_lanes(self, count: ir.Value) -> ir.Value:
        """Return the mask of the lanes below `count`, an I64."""
        lanes = ir.Constant(ir.VectorType(I64, self.width), list(range(self.width)))
        return self.builder.icmp_signed("<", lanes, self._spread(count, lanes.type))

    def call(self, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, [a.type for a in args]), name
        )
        return self.builder.call(function, args)

    @property
    def suffix(self) -> str:
        return f"v{self.width}f{self.bits}"

    def fma(self, x: "Vec | float", y: "Vec | float", z: "Vec | float") -> "Vec":
        """Return ``x * y + z``, rounded once where the hardware can."""
        x, y, z = self.lift(x), self.lift(y), self.lift(z)
        if not isa().fma:
            return x * y + z
        args = (x.value, y.value, z.value)
        return self.wrap(self.call(f"llvm.fma.{self.suffix}", self.vector, *args))

    def select(self, mask: ir.Value, x: "Vec | float", y: "Vec | float") -> "Vec":
        return self.wrap(self.builder.select(mask, self.lift(x).value, self.lift(y).value))

    def sqrt(self, x: "Vec") -> "Vec":
        return self.wrap(self.call(f"llvm.sqrt.{self.suffix}", self.vector, x.value))

    def abs(self, x: "Vec") -> "Vec":
        return self.wrap(self.call(f"llvm.fabs.{self.suffix}", self.vector, x.value))

    def negative(self, x: "Vec") -> ir.Value:
        """Return the mask of the lanes whose sign bit is set."""
        return self.builder.icmp_signed("<", self.builder.bitcast(x.value, self.vector_int), self.integer(0))

    def with_sign(self, x: "Vec", z: "Vec") -> "Vec":
        """Return x, whose sign bit is clear, with the sign of z."""
        b = self.builder
        sign = b.and_(b.bitcast(z.value, self.vector_int), self.integer(-(1 << (self.bits - 1))))
        return self.wrap(b.bitcast(b.or_(b.bitcast(x.value, self.vector_int), sign), self.vector))

    def maximum(self, x: "Vec", y: "Vec | float") -> "Vec":
        """Return the larger; NaN where `x` is NaN."""
        return self.select(x < y, y, x)

    def minimum(self, x: "Vec", y: "Vec | float") -> "Vec":
        """Return the smaller; NaN where `x` is NaN."""
        return self.select(x > y, y, x)

    def polynomial(self, x: "Vec", coefficients: Sequence[float]) -> "Vec":
        """Evaluate a polynomial, the constant coefficient first: c0 + x * (the odd powers + x * the even ones).

        Horner's rule on each half, side by side: one chain of all powers takes twice as long to come through. The
        constant comes last, so that little more than one rounding is seen in the result.
        """
        square = x * x
        constant, *rest = coefficients
        halves = self.fma(x, self._horner(square, rest[1::2]), self._horner(square, rest[::2]))
        return self.fma(x, halves, constant)

    def _horner(self, x: "Vec", coefficients: Sequence[float]) -> "Vec":
        result = self.constant(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            result = self.fma(result, x, c)
        return result

    # Exponents and integers

    def integer(self, number: int) -> ir.Constant:
        return ir.Constant(self.vector_int, [number] * self.width)

    def exponent_shift(self, scale: int) -> float:
        """Return what `round_to_power` adds for 2**(k + scale)."""
        return 1.5 * 2.0**self.mantissa_bits + self.bias + scale

    def round_to_power(self, x: "Vec", factor: float, shift: "Vec | float") -> "tuple[Vec, Vec]":
        """Round ``x * factor`` to a whole number k: return k and 2**(k + scale), `shift` being `exponent_shift(scale)`.

        A number past 2**mantissa_bits has no room for a fraction, and the integer stands in its low bits. What is added
        makes it the exponent field of the power, which one shift of all bits puts in place. So the power has to
        be a normal number; one step below them it is zero.
        """
        shift = self.lift(shift)
        shifted = self.fma(x, factor, shift)
        bits = self.builder.bitcast(shifted.value, self.vector_int)
        power = self.builder.shl(bits, self.integer(self.mantissa_bits))
        return shifted - shift, self.wrap(self.builder.bitcast(power, self.vector))

    def split_exponent(self, x: "Vec") -> "tuple[Vec, Vec]":
        """Split a positive normal x into k, a whole number, and m in [sqrt(1/2), sqrt(2)): x = 2**k * m."""
        b = self.builder
        bits = b.bitcast(x.value, self.vector_int)
        # Measured from sqrt(1/2): the exponent field of the difference is k, the rest belongs to m.
        base = int(np.array(0.5**0.5, f"f{self.bits // 8}").view(f"i{self.bits // 8}"))
        shifted = b.sub(bits, self.integer(base))
        k = b.ashr(shifted, self.integer(self.mantissa_bits))
        m = b.sub(bits, b.shl(k, self.integer(self.mantissa_bits)))
        return self.wrap(b.sitofp(k, self.vector)), self.wrap(b.bitcast(m, self.vector))

    # Memory

    def _vector_pointer(self, pointer: ir.Value) -> ir.Value:
        return self.builder.bitcast(pointer, self.vector.as_pointer())

    def load(self, pointer: ir.Value, mask: ir.Value | None = None) -> "Vec":
        """Load a vector from any address; lanes outside `mask` are zero and not touched."""
        pointer = self._vector_pointer(pointer)
        align = self.bits // 8
        if mask is None:
            return self.wrap(self.builder.load(pointer, align=align))
        zero = ir.Constant(self.vector, None)
        args = (pointer, I32(align), mask, zero)
        return self.wrap(self.call(f"llvm.masked.load.{self.suffix}.p0", self.vector, *args))

    def store(self, x: "Vec", pointer: ir.Value, mask: ir.Value | None = None) -> None:
        """Store a vector to any address; lanes outside `mask` are not touched."""
        pointer = self._vector_pointer(pointer)
        align = self.bits // 8
        if mask is None:
            self.builder.store(x.value, pointer, align=align)
        else:
            args = (x.value, pointer, I32(align), mask)
            self.call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), *args)

    def prefetch(self, pointer: ir.Value) -> None:
        """Fetch the cache line at an address that will be read, or written, soon; any address does no harm."""
        pointer = self.builder.bitcast(pointer, ir.IntType(8).as_pointer())
        self.call("llvm.prefetch.p0", ir.VoidType(), pointer, I32(0), I32(3), I32(1))

    def take(self, pointer: ir.Value) -> None:
        """Begin to take the cache line at an address from other cores: store the element there as it is.

        It has to be this task's to write. A line that this core has a copy of, too, is not taken by the instruction
        that fetches for writing (on AMD's Zen 4), and what waits for it is the store that comes in the end.
        """
        pointer = self.builder.bitcast(pointer, self.scalar_int.as_pointer())
        self.builder.store(opaque(self.builder, self.builder.load(pointer)), pointer)

    # Other formats, and all lanes to one

    def widened(self) -> "Lanes":
        """Return as many lanes of float64."""
        return self if self.bits == 64 else Lanes(self.builder, types.float64, self.width)

    def widen(self, x: "Vec") -> "Vec":
        """Convert to `widened` lanes."""
        return x if x.lanes.bits == 64 else self.widened().wrap(self.builder.fpext(x.value, self.widened().vector))

    def narrowed(self, x: "Vec") -> "Vec":
        """Round `widened` lanes to these."""
        return x if x.lanes.bits == self.bits else self.wrap(self.builder.fptrunc(x.value, self.vector))

    def _fold(self, x: "Vec", combine: "Callable[[Vec, Vec], Vec]") -> ir.Value:
        """Combine all lanes in a fixed tree of halves; return the scalar."""
        half = self.width // 2
        while half:
            order = [(i + half) % self.width for i in range(self.width)]
            mask = ir.Constant(ir.VectorType(I32, self.width), order)
            undefined = ir.Constant(self.vector, ir.Undefined)
            x = combine(x, self.wrap(self.builder.shuffle_vector(x.value, undefined, mask)))
            half //= 2
        return self.extract_first(x)

    def extract_first(self, x: "Vec") -> ir.Value:
        return self.builder.extract_element(x.value, I32(0))

    def sum_lanes(self, x: "Vec") -> ir.Value:
        return self._fold(x, lambda a, b: a + b)

    def max_lanes(self, x: "Vec") -> ir.Value:
        # NaN on either side stays: `maximum` keeps a NaN of its first argument, `select` one of its second.
        return self._fold(x, lambda a, b: self.select(b.isnan(), b, self.maximum(a, b)))


class Vec:
    """One vector register's worth of numbers; arithmetic on it writes instructions."""

    __slots__ = ("lanes", "value")

    def __init__(self, lanes: Lanes, value: ir.Value) -> None:
        self.lanes = lanes
        self.value = value

    def _binary(self, operation: str, x: "Vec | float", y: "Vec | float") -> "Vec":
        lanes = self.lanes
        emit = getattr(lanes.builder, operation)
        return Vec(lanes, emit(lanes.lift(x).value, lanes.lift(y).value))

    def __add__(self, other: "Vec | float") -> "Vec":
        return self._binary("fadd", self, other)

    def __radd__(self, other: float) -> "Vec":
        return self._binary("fadd", other, self)

    def __sub__(self, other: "Vec | float") -> "Vec":
        return self._binary("fsub", self, other)

    def __rsub__(self, other: float) -> "Vec":
        return self._binary("fsub", other, self)

    def __mul__(self, other: "Vec | float") -> "Vec":
        return self._binary("fmul", self, other)

    def __rmul__(self, other: float) -> "Vec":
        return self._binary("fmul", other, self)

    def __truediv__(self, other: "Vec | float") -> "Vec":
        return self._binary("fdiv", self, other)

    def __rtruediv__(self, other: float) -> "Vec":
        return self._binary("fdiv", other, self)

    def __neg__(self) -> "Vec":
        return Vec(self.lanes, self.lanes.builder.fneg(self.value))

    def _compare(self, symbol: str, other: "Vec | float") -> ir.Value:
        return self.lanes.builder.fcmp_ordered(symbol, self.value, self.lanes.lift(other).value)

    def __lt__(self, other: "Vec | float") -> ir.Value:
        return self._compare("<", other)

    def __gt__(self, other: "Vec | float") -> ir.Value:
        return self._compare(">", other)

    def __le__(self, other: "Vec | float") -> ir.Value:
        return self._compare("<=", other)

    def __ge__(self, other: "Vec | float") -> ir.Value:
        return self._compare(">=", other)

    def equals(self, other: "Vec | float") -> ir.Value:
        """Compare; `==` is Python's own."""
        return self._compare("==", other)

    def isnan(self) -> ir.Value:
        return self.lanes.builder.fcmp_unordered("uno", self.value, self.value)


class Variable:
    """A vector that a loop changes; LLVM keeps it in a register."""

    def __init__(self, lanes: Lanes, initial: Vec) -> None:
        self.lanes = lanes
        self.slot = cgutils.alloca_once(lanes.builder, lanes.vector)
        self.set(initial)

    def get(self) -> Vec:
        return self.lanes.wrap(self.lanes.builder.load(self.slot))

    def set(self, x: Vec) -> None:
        self.lanes.builder.store(x.value, self.slot)


@contextmanager
def count_loop(builder: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int) -> Iterator[ir.Value]:
    """Loop an I64 from `start` below `stop`; may run zero times."""
    with cgutils.for_range_slice(builder, start, stop, I64(step), I64) as (index, _):
        yield index


def opaque(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return an integer or a pointer of which LLVM knows nothing: it forms no sums of it ahead of time."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)


def vector_loop(lanes: Lanes, count: ir.Value, body: "Callable[[ir.Value, ir.Value | None], None]") -> None:
    """Run ``body(offset, mask)`` over `count` elements: whole vectors first (mask None), then the tail under a mask."""
    b = lanes.builder
    width = I64(lanes.width)
    whole = b.mul(b.sdiv(count, width), width)
    with count_loop(b, I64(0), whole, lanes.width) as offset:
        body(offset, None)
    with cgutils.if_likely(b, b.icmp_signed("<", whole, count)):
        body(whole, lanes.first_lanes(b.sub(count, whole)))


def abreast_loop(
    lanes: Lanes, count: ir.Value, abreast: int, body: "Callable[[Lanes, ir.Value, ir.Value | None], None]"
) -> None:
    """Run ``body(lanes, offset, mask)`` as `vector_loop` does, but `abreast` vectors at a time while there are as many.

    A CPU looks some 150 vector operations ahead. Where an exponential and a division wait for each other, it finds in
    them too few chains to be busy: they are dozens of operations long. Lanes of several vectors become several
    instructions for each operation, next to each other.
    """
    b = lanes.builder
    done = I64(0)
    if abreast > 1:
        wide = Lanes(b, lanes.dtype, abreast * lanes.width)
        done = b.mul(b.sdiv(count, I64(wide.width)), I64(wide.width))
        with count_loop(b, I64(0), done, wide.width) as offset:
            body(wide, offset, None)
    vector_loop(lanes, b.sub(count, done), lambda offset, mask: body(lanes, b.add(done, offset), mask))


def lanewise(formula: Callable[..., Any], *, reads: int, writes: int, numbers: int = 0, abreast: int = 1) -> Any:
    """Make the intrinsic ``f(*read pointers, *write pointers, *numbers, count)`` that applies a formula to vectors.

    The formula is ``formula(lanes, *inputs, *numbers)`` and returns one Vec, or a tuple of them, for the written
    pointers. All pointers share an element type, the numbers are scalars of that type, count is the number of elements.
    A written pointer may equal a read one. So many vectors are computed `abreast`, see `abreast_loop`.
    """
    pointers = reads + writes

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        lanes = Lanes(builder, signature.args[0].dtype)

        def body(v: Lanes, offset: ir.Value, mask: ir.Value | None) -> None:
            inputs = [v.load(builder.gep(p, [offset]), mask) for p in args[:reads]]
            results = formula(v, *inputs, *scalars[v.width])
            results = results if isinstance(results, tuple) else (results,)
            for result, pointer in zip(results, args[reads:pointers], strict=True):
                v.store(result, builder.gep(pointer, [offset]), mask)

        widths = {lanes.width: lanes, abreast * lanes.width: Lanes(builder, lanes.dtype, abreast * lanes.width)}
        scalars = {width: [v.splat(a) for a in args[pointers:-1]] for width, v in widths.items()}
        abreast_loop(lanes, args[-1], abreast, body)
        return context.get_dummy_value()

    return make_intrinsic(
        getattr(formula, "__name__", "formula"),
        [f"p{i}" for i in range(pointers)] + [f"s{i}" for i in range(numbers)] + ["count"],
        lambda p, *rest: types.void(*[p] * pointers, *[p.dtype] * numbers, types.int64),
        codegen,
    )


def make_intrinsic(
    name: str, parameters: Sequence[str], signature: Callable[..., Any], codegen: Callable[..., Any]
) -> Any:
    """Make a Numba intrinsic with named parameters from a signature and a code generator."""

    def typing(typingctx: Any, *args: Any) -> Any:
        return signature(*args), codegen

    names = ["typingctx", *parameters]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    typing.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])
    typing.__name__ = typing.__qualname__ = name
    return intrinsic(typing)
