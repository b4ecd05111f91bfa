"""``g(z) = z s(z)``, s the logistic function; also called swish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..simd.elementary import scaled_exp
from .gates import gate, logistic, slope_of_gate
from .registry import activation

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def silu(v: Lanes, z: Vec) -> tuple[Vec, Vec]:
    t = v.abs(z)
    e = scaled_exp(v, -t)
    a, _, rest = gate(v, z, e)
    # s (1 - t rest) with s as e * rest, which has one rounding less than the quotient
    return a, slope_of_gate(v, z, e * v.fma(-t, rest, 1.0) * rest)


def value(z):
    return z * logistic(z)


def slope(z):
    return logistic(z) * (1 + z * logistic(-z))


activation(
    "silu",
    7,
    silu,
    value,
    slope,
    exact=lambda mp, z: z / (1 + mp.exp(-z)),
    torch="SiLU",
    rectifies=True,
    near_zero=(-2.0, -0.75, 1.0),
)
