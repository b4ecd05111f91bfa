"""Activations as machine code: passes over a block in memory, compiled for those in use.

`functions_of` says how a layer's row of a plan has g and g' made: by a product in its registers, where the micro-kernel
knows how, or by a pass.
"""

import functools
from typing import Any, NamedTuple

from ..compile.passes import Pass, row_pass
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.microkernel import GATE, RECTIFY, SCALE
from .registry import Activation

# Vectors side by side where there is an exponential: the time falls to 0.55 … 0.95 of that of one after another.
ABREAST = 4
# Activations that a product applies in its registers, and those that make nothing of z
_RECTIFIED, _LINEAR = "relu", "identity"


class Functions(NamedTuple):
    """How an activation is computed, as a row of a plan has it.

    finish, differentiate : flags of `simd.microkernel` that make g and g' part of a product; 0 where none does
    activate : address of the pass ``c = g(c)``, with g' beside it where it is stored and wanted; 0 where none is needed
    apply_slope : address of the pass ``c = c * g'(z)``, with ``a = g(z)`` below and g' beside; 0 where g' is 1
    """

    finish: int
    differentiate: int
    activate: int
    apply_slope: int


def activate(activation: Activation, with_slope: bool) -> Pass:
    """Return the pass that makes g(z) of z, and with the slope g'(z) beside it where that is stored."""
    return _activate(activation, with_slope and activation.stores_slope)


@functools.cache
def _activate(activation: Activation, with_slope: bool) -> Pass:

    def value(v: Lanes, z: Vec) -> Vec:
        return activation.formula(v, z)[0]

    formula = activation.formula if with_slope else value
    abreast = ABREAST if activation.stores_slope else 1
    made = lanewise(formula, reads=1, writes=1 + with_slope, abreast=abreast)
    name = f"{activation.name}_with_slope" if with_slope else f"{activation.name}_alone"
    return row_pass(activation.formula, name, made, "at_c, at_c, at_beside" if with_slope else "at_c, at_c")


def _times(v: Lanes, da: Vec, slope: Vec) -> Vec:
    return da * slope


_times_slope = row_pass(_times, "times_slope", lanewise(_times, reads=2, writes=1), "at_c, at_beside, at_c")


@functools.cache
def apply_slope(activation: Activation) -> Pass:
    """Return the pass that makes ``dz = da * g'(z)`` of da."""
    if activation.gradient is None:
        return _times_slope
    formula = lanewise(activation.gradient, reads=2, writes=1)
    return row_pass(activation.formula, f"{activation.name}_gradient", formula, "at_c, at_below, at_c")


def functions_of(activation: Activation, dtype: Any, with_slope: bool) -> Functions:
    """Return how an activation is computed for a Numba type of elements; compile or load what that takes.

    with_slope : whether the backward pass is to follow
    """
    if activation.name == _LINEAR:
        return Functions(0, 0, 0, 0)
    slope = apply_slope(activation).address(dtype) if with_slope else 0
    if activation.name == _RECTIFIED:
        return Functions(RECTIFY, GATE, 0, slope)
    differentiate = SCALE if activation.stores_slope else 0
    return Functions(0, differentiate, activate(activation, with_slope).address(dtype), slope)
