"""Dropout: ``A = X * keep / (1 - p)``. The random bits are made anew on the way back; see `kinds.dropout` for them.

Eight counters make a turn of 64 features, and which feature has which bits does not depend on how wide vectors are.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import carray, types

from ..compile.functions import kernel
from ..compile.pointers import address_of, pointer_to
from ..compile.records import INT, POINTER, record, unpacked
from ..run.frame import COUNTER, PLAN, SEED, SETTINGS
from ..run.plan import ADD, COLUMNS, FLAGS, LAST, SOURCE, A, D
from ..simd.lanes import I32, I64, Lanes, Vec, count_loop, make_intrinsic
from .call import FIRST, PLACE, op
from .kinds.dropout import LEVELS, LOW, M0, M1, QUARTER, ROUNDS, TURN, W0, W1
from .operands import apply_slope_of, attribute_of, input_gradient_of, input_of, rows_at, rows_of_piece, wants_gradient

# Where rows of a matrix get their bits from: `place` is that of the first in the batch, `row` of the plan. A number
# below `limit` of LEVELS is dropped.
Draws = record("Draws", like=POINTER, limit=INT, seed=INT, step=INT, row=INT, place=INT)


class Counters:
    """Lanes of 64 bits with a number of 32 in each: one product has both of its halves then."""

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        self.builder, self.width, self.type = builder, width, ir.VectorType(I64, width)

    def all(self, number: int) -> ir.Constant:
        return ir.Constant(self.type, [number] * self.width)

    def splat(self, scalar: ir.Value) -> ir.Value:
        undefined, zeros = ir.Constant(self.type, ir.Undefined), ir.VectorType(I32, self.width)
        first = self.builder.insert_element(undefined, scalar, I32(0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(zeros, [0] * self.width))

    def keys(self, seed: ir.Value) -> list[tuple[ir.Value, ir.Value]]:
        """Return the keys of all rounds."""
        b = self.builder
        halves = b.and_(seed, I64(LOW)), b.lshr(seed, I64(32))

        def key(half: ir.Value, number: int) -> ir.Value:
            return self.splat(b.and_(b.add(half, I64(number & LOW)), I64(LOW)))

        return [(key(halves[0], r * W0), key(halves[1], r * W1)) for r in range(ROUNDS)]

    def philox(self, c: list[ir.Value], keys: list[tuple[ir.Value, ir.Value]]) -> list[ir.Value]:
        """Return the four words of each counter, in the low halves of lanes; the high halves hold anything."""
        b = self.builder
        for k0, k1 in keys:
            p0 = b.mul(b.and_(c[0], self.all(LOW)), self.all(M0))
            p1 = b.mul(b.and_(c[2], self.all(LOW)), self.all(M1))
            high0, high1 = b.lshr(p0, self.all(32)), b.lshr(p1, self.all(32))
            c = [b.xor(b.xor(high1, c[1]), k0), p1, b.xor(b.xor(high0, c[3]), k1), p0]
        return c

    def pairs(self, even: ir.Value, odd: ir.Value) -> ir.Value:
        """Return the words of two vectors by turns, as lanes of 32 bits."""
        b = self.builder
        both = b.or_(b.and_(even, self.all(LOW)), b.shl(odd, self.all(32)))
        return b.bitcast(both, ir.VectorType(I32, 2 * self.width))


def _kept(lanes: Lanes, words: ir.Value, limit: ir.Value, upper: bool) -> list[ir.Value]:
    """Return the masks, a vector's lanes each, of the words whose upper or lower half is not below a limit."""
    b, count = lanes.builder, words.type.count
    bits = words if upper else b.shl(words, ir.Constant(words.type, [16] * count))
    keep = b.icmp_unsigned(">=", bits, limit)
    undefined = ir.Constant(keep.type, ir.Undefined)
    starts = range(0, count, lanes.width)
    orders = [ir.Constant(ir.VectorType(I32, lanes.width), list(range(s, s + lanes.width))) for s in starts]
    return [b.shuffle_vector(keep, undefined, order) for order in orders]


def _drop(adds: bool) -> Any:
    """Make the intrinsic that drops, or one that adds what is kept to what stands there."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
        x, y, draws = (unpacked(b, v, t) for v, t in zip(args[:3], signature.args[:3], strict=True))
        lanes = Lanes(b, signature.args[0].dtype)
        counters = Counters(b, lanes.width * lanes.bits // 64)
        keys, factor = counters.keys(draws.seed), lanes.splat(args[3])
        fixed = [counters.splat(b.and_(v, I64(LOW))) for v in (draws.row, draws.step)]
        limit = b.shl(draws.limit, I64(16))
        limit = counters.splat(b.or_(b.shl(limit, I64(32)), limit))
        limit = b.bitcast(limit, ir.VectorType(I32, 2 * counters.width))
        numbers = ir.Constant(counters.type, list(range(counters.width)))

        def vector(i: ir.Value, j: ir.Value, keep: ir.Value, mask: ir.Value | None) -> None:
            source = lanes.load(b.gep(x.data, [b.add(b.mul(i, x.ld), j)]), mask)
            target = b.gep(y.data, [b.add(b.mul(i, y.ld), j)])
            value: Vec = lanes.select(keep, source * factor, 0.0)
            lanes.store(lanes.load(target, mask) + value if adds else value, target, mask)

        def turn(i: ir.Value, place: ir.Value, j: ir.Value, whole: bool) -> None:
            for part in range(TURN // 8 // counters.width):
                first = b.add(b.sdiv(j, I64(8)), I64(part * counters.width))
                words = counters.philox([b.add(counters.splat(first), numbers), place, *fixed], keys)
                for quarter in range(4):
                    pair = counters.pairs(*words[quarter // 2 * 2 :][:2])
                    for k, keep in enumerate(_kept(lanes, pair, limit, quarter % 2 == 0)):
                        offset = quarter * QUARTER + part * 2 * counters.width + k * lanes.width
                        start = b.add(j, I64(offset))
                        if whole:
                            vector(i, start, keep, None)
                        else:
                            with b.if_then(b.icmp_signed("<", start, x.cols)):
                                vector(i, start, keep, lanes.first_lanes(b.sub(x.cols, start)))

        done = b.mul(b.sdiv(x.cols, I64(TURN)), I64(TURN))
        with count_loop(b, I64(0), x.rows, 1) as i:
            place = counters.splat(b.and_(b.add(draws.place, i), I64(LOW)))
            with count_loop(b, I64(0), done, TURN) as j:
                turn(i, place, j, True)
            with b.if_then(b.icmp_signed("<", done, x.cols)):
                turn(i, place, done, False)
        return context.get_dummy_value()

    return make_intrinsic(
        "drop_and_add" if adds else "drop",
        ["x", "y", "draws", "scale"],
        lambda x, *_: types.void(x, x, Draws.of(x.dtype), x.dtype),
        codegen,
    )


# drop(x, y, draws, scale): y = x * scale where a random number is not below the limit, else 0; both matrices
drop, drop_and_add = _drop(adds=False), _drop(adds=True)


@kernel
def draws_of(x, frame, row, span, start):
    """Return where the rows from `first` of a span on get their bits from."""
    settings = pointer_to(frame, frame[SETTINGS])
    number = (address_of(row) - frame[PLAN]) // (COLUMNS * 8)
    limit = round(attribute_of(row, 0) * LEVELS)
    return Draws(
        x, min(limit, LEVELS - 1), settings[SEED], settings[COUNTER], number, span[PLACE] + start - span[FIRST]
    )


@kernel
def scale_of(x, row):
    """Return what a number that is kept is multiplied by; 0 where none is kept."""
    dropped = round(attribute_of(row, 0) * LEVELS) / LEVELS
    return carray(x, 1).dtype.type(1 / (1 - dropped) if dropped < 1 else 0.0)


@op
def dropout_forward(x, frame, row, span, pieces, piece):
    """``A = X * keep / (1 - p)``. A piece is some rows."""
    start, rows = rows_of_piece(span, pieces, piece)
    source, a = input_of(x, frame, row, SOURCE, start, rows), rows_at(x, frame, row, A, start, rows)
    drop(source, a, draws_of(x, frame, row, span, start), scale_of(x, row))


@op
def dropout_input_gradient(x, frame, row, span, pieces, piece):
    """``dX = dZ * keep / (1 - p)``, added to what other readers have written, and g'. A piece is some rows."""
    if not wants_gradient(frame, row, SOURCE):
        return
    start, rows = rows_of_piece(span, pieces, piece)
    dz, dx = rows_at(x, frame, row, D, start, rows), input_gradient_of(x, frame, row, SOURCE, start, rows)
    if row[FLAGS] & ADD:
        drop_and_add(dz, dx, draws_of(x, frame, row, span, start), scale_of(x, row))
    else:
        drop(dz, dx, draws_of(x, frame, row, span, start), scale_of(x, row))
    if row[FLAGS] & LAST:
        apply_slope_of(x, frame, row, SOURCE, start, rows)
