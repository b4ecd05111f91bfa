"""Activations as machine code: passes over a block in memory, compiled for those in use."""

import functools
from collections.abc import Callable
from typing import Any

from ..compile.passes import Pass, row_pass
from ..simd.lanes import Lanes, Vec, lanewise
from .registry import Activation

# Vectors side by side where there is an exponential: the time falls to 0.55 … 0.95 of that of one after another.
ABREAST = 4


@functools.cache
def activate(activation: Activation, name: str, with_slope: bool) -> Pass:
    """Return the pass that makes g(z) of z; with the slope g'(z) beside it."""

    def value(v: Lanes, z: Vec) -> Vec:
        return activation.formula(v, z)[0]

    formula = activation.formula if with_slope else value
    abreast = ABREAST if activation.stores_slope else 1
    made = lanewise(formula, reads=1, writes=1 + with_slope, abreast=abreast)
    return row_pass(activation.formula, name, made, "at_c, at_c, at_beside" if with_slope else "at_c, at_c")


def _times(v: Lanes, da: Vec, slope: Vec) -> Vec:
    return da * slope


times_slope = row_pass(_times, "times_slope", lanewise(_times, reads=2, writes=1), "at_c, at_beside, at_c")


@functools.cache
def gradient(formula: Callable[..., Any], name: str) -> Pass:
    """Return the pass that makes ``dz = da * g'(z)`` of da, where a tells the slope."""
    return row_pass(formula, name, lanewise(formula, reads=2, writes=1), "at_c, at_below, at_c")
