"""Activations: ``a = g(z)`` and ``slope = g'(z)``, written once as vector formulas.

A formula returns both. Where only ``a`` is wanted, LLVM drops what makes the slope. In training the slope is stored
beside ``a`` while its exponential is at hand, so the backward pass is one product, ``dz = da * slope``; identity,
relu and leaky_relu need no stored slope, because the sign of ``a`` tells it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from ..simd.elementary import CUBIC, SCALE, exp_and_rest, exp_of_cubic, log1p, normal_tail, scaled_exp
from ..simd.lanes import I64, Lanes, Vec, abreast_loop, count_loop, make_intrinsic

IDENTITY, RELU, LEAKY_RELU, ELU, SIGMOID, TANH, SOFTPLUS, SILU, GELU, GELU_TANH = range(10)
LEAK = 0.01
# Vectors side by side where there is an exponential: the time falls to 0.55 … 0.95 of that of one after another.
ABREAST = 4

Formula = Callable[[Lanes, Vec], tuple[Vec, Vec]]


def identity(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    return z, v.constant(1.0)


def relu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    return v.maximum(z, 0.0), v.select(z > 0.0, 1.0, 0.0)


def leaky_relu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    positive = z > 0.0
    return v.select(positive, z, LEAK * z), v.select(positive, 1.0, LEAK)


def elu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    e, rest = exp_and_rest(v, v.minimum(z, 0.0))
    positive = z >= 0.0
    one = 2.0 ** -SCALE[v.bits]
    return v.select(positive, z, rest * -one), v.select(positive, 1.0, e * one)


def _near_zero(v: Lanes, z: Vec) -> Vec:
    """Return s(-|z|), which is e / (1 + e) with e = exp(-|z|); the division also takes e back to its true size."""
    e = scaled_exp(v, -v.abs(z))
    return e / (2.0 ** SCALE[v.bits] + e)


def sigmoid(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    s = _near_zero(v, z)
    return v.select(v.negative(z), s, 1.0 - s), v.fma(-s, s, s)


def tanh(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    # With e = exp(-2|z|): t = tanh|z| = (1 - e) / (1 + e), and 1 - t**2 = e (1 + t)**2 without cancellation.
    one = 2.0 ** SCALE[v.bits]
    e, rest = exp_and_rest(v, -2.0 * v.abs(z))
    t = rest / (one + e)
    return v.with_sign(t, z), v.fma(e, v.fma(t, t, t + t), e) * (1 / one)


def softplus(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    one = 2.0 ** SCALE[v.bits]
    e = scaled_exp(v, -v.abs(z))
    s = e / (one + e)
    return v.maximum(z, 0.0) + log1p(v, e, one), v.select(v.negative(z), s, 1.0 - s)


def _gate(v: Lanes, z: Vec, e: Vec) -> tuple[Vec, Vec, Vec]:
    """Return z s(y), s(-|y|) * 2**SCALE and s(|y|), with e = exp(-|y|) * 2**SCALE and y of the sign of z.

    Below zero e is multiplied by z before it goes back to its true size, so that it is rounded once.
    """
    one = 2.0 ** -SCALE[v.bits]
    s = e / v.fma(e, one, 1.0)
    rest = v.fma(s, -one, 1.0)
    return v.select(v.negative(z), z * s * one, z * rest), s, rest


def _slope(v: Lanes, z: Vec, below: Vec) -> Vec:
    """Return g'(z), with below = g'(-|z|) * 2**SCALE, for g(z) - g(-z) = z."""
    one = 2.0 ** -SCALE[v.bits]
    return v.select(v.negative(z), below * one, v.fma(below, -one, 1.0))


def silu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    t = v.abs(z)
    e = scaled_exp(v, -t)
    a, _, rest = _gate(v, z, e)
    # s (1 - t rest) with s as e * rest, which has one rounding less than the quotient
    return a, _slope(v, z, e * v.fma(-t, rest, 1.0) * rest)


def gelu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    # With p = P(N < -|z|): g(z) = max(z, 0) - |z| p, and the slope below zero is p - |z| density.
    t = v.abs(z)
    bell, q, tq = normal_tail(v, t)
    positive_part = z - v.minimum(z, 0.0)  # NaN for -infinity, as PyTorch has it
    a = v.fma(bell * tq, -(2.0 ** -SCALE[v.bits]), positive_part)
    return a, _slope(v, z, bell * v.fma(t, -1 / math.sqrt(2 * math.pi), q))


def gelu_tanh(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    # z/2 (1 + tanh(y/2)) = z s(y), with y = 2 sqrt(2/pi) (z + 0.044715 z**3)
    t = v.minimum(v.abs(z), 40.0)  # s is 0 or 1 from here, and nothing below becomes 0 * infinity
    power, p = exp_of_cubic(v, t)
    a, s, rest = _gate(v, z, v.fma(power, p, power))
    # Below zero the slope is s (1 - |z| dy rest). To round less, s is taken as power (1 + q) and dy rest as dy - s dy:
    # far from zero s is small, q at most 1/2, and so are their roundings. The 2**SCALE of power meets 2**-SCALE in dy
    # and factor, where |z| dy stays finite.
    one = 2.0 ** -SCALE[v.bits]
    minus_s = s * -one
    q = v.fma(p, rest, minus_s)
    dy = v.fma(t * t, 3 * CUBIC * one, 2 * math.sqrt(2 / math.pi) * one)
    factor = v.fma(-v.abs(z), v.fma(minus_s, dy, dy), one)
    below = power * v.fma(factor, q, factor)
    return a, v.select(v.negative(z), below, 1.0 - below)


FORMULAS: dict[int, Formula] = {
    IDENTITY: identity,
    RELU: relu,
    LEAKY_RELU: leaky_relu,
    ELU: elu,
    SIGMOID: sigmoid,
    TANH: tanh,
    SOFTPLUS: softplus,
    SILU: silu,
    GELU: gelu,
    GELU_TANH: gelu_tanh,
}
CODES = {formula.__name__: code for code, formula in FORMULAS.items()}
# Activations whose slope is stored; the others come first in the numbering.
FIRST_STORED_SLOPE = ELU


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
            stored = c >= FIRST_STORED_SLOPE

            def body(v: Lanes, offset: ir.Value, mask: ir.Value | None) -> None:
                target = b.gep(a, [offset])
                value, derivative = FORMULAS[c](v, v.load(target, mask))
                v.store(value, target, mask)
                if with_slope and stored:
                    v.store(derivative, b.gep(slope, [offset]), mask)

            _rows(lanes, ld, rows, cols, ABREAST if stored else 1, body)

        _switch(b, code, [c for c in FORMULAS if c != IDENTITY], loop)
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
            if c == IDENTITY:
                return d
            if c >= FIRST_STORED_SLOPE:
                return d * v.load(b.gep(slope, [offset]), mask)
            value = v.load(b.gep(a, [offset]), mask)
            if c == RELU:
                return v.select(value <= 0.0, 0.0, d)  # a NaN lets the gradient through
            return v.select(value > 0.0, d, LEAK * d)

        def loop(c: int) -> None:
            def body(v: Lanes, offset: ir.Value, mask: ir.Value | None) -> None:
                v.store(derivative(v, c, offset, mask), b.gep(dz, [offset]), mask)

            _rows(lanes, ld, rows, cols, 1, body)

        _switch(b, code, list(FORMULAS), loop)
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
