"""How a layer's row of a plan has g and g' made: by a product in its registers, where the micro-kernel knows how, or by
a pass, whose address it holds.
"""

import importlib
from typing import Any, NamedTuple

import numpy as np

from ..code import Code
from ..simd.modes import GATE, RECTIFY, SCALE
from .registry import Activation

# Activations that a product applies in its registers, and those that make nothing of z
_RECTIFIED, _LINEAR = "relu", "identity"


class Functions(NamedTuple):
    """How an activation is computed, as a row of a plan has it.

    finish, differentiate : flags of `simd.modes` that make g and g' part of a product; 0 where none does
    activate : address of the pass ``c = g(c)``, with g' beside it where it is stored and wanted; 0 where none is needed
    apply_slope : address of the pass ``c = c * g'(z)``, with ``a = g(z)`` below and g' beside; 0 where g' is 1
    """

    finish: int
    differentiate: int
    activate: int
    apply_slope: int


def _compiled() -> Any:
    return importlib.import_module(".compiled", __package__)


def activate(activation: Activation, with_slope: bool) -> Code:
    """Return the pass that makes g(z) of z; `with_slope`, for an activation that stores it, g'(z) beside it."""
    name = f"{activation.name}_with_slope" if with_slope else f"{activation.name}_alone"
    return Code(activation.formula.__module__, name, lambda: _compiled().activate(activation, name, with_slope))


def apply_slope(activation: Activation) -> Code:
    """Return the pass that makes ``dz = da * g'(z)`` of da."""
    formula, name = activation.gradient, f"{activation.name}_gradient"
    if formula is None:
        return Code(f"{__package__}.compiled", "times_slope", lambda: _compiled().times_slope)
    return Code(formula.__module__, name, lambda: _compiled().gradient(formula, name))


def passes_of(activation: Activation, with_slope: bool) -> list[Code]:
    """Return the passes that an activation takes; `with_slope`, where the backward pass is to follow."""
    if activation.name == _LINEAR:
        return []
    forward = [] if activation.name == _RECTIFIED else [activate(activation, with_slope and activation.stores_slope)]
    return [*forward, apply_slope(activation)] if with_slope else forward


def functions_of(activation: Activation, dtype: np.dtype, with_slope: bool) -> Functions:
    """Return how an activation is computed for a type of elements; compile or load what that takes.

    with_slope : whether the backward pass is to follow
    """
    if activation.name == _LINEAR:
        return Functions(0, 0, 0, 0)
    slope = apply_slope(activation).address(dtype) if with_slope else 0
    if activation.name == _RECTIFIED:
        return Functions(RECTIFY, GATE, 0, slope)
    stored = with_slope and activation.stores_slope
    differentiate = SCALE if activation.stores_slope else 0
    return Functions(0, differentiate, activate(activation, stored).address(dtype), slope)
