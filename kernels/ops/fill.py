"""Addresses of compiled functions, written into a plan and a trainer's settings before their first use.

They differ in each process and are in no pickle. What is not in use is not compiled, nor loaded.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..activations.compiled import functions_of
from ..compile.functions import element_type_of
from ..losses.compiled import op_of_loss
from ..losses.registry import Loss
from ..optimizers.compiled import update
from ..optimizers.registry import Rule
from ..run.plan import (
    ACTIVATE,
    APPLY_SLOPE,
    BATCH_ROWS,
    DIFFERENTIATE,
    FINISH,
    FORWARD,
    INPUT_GRADIENT,
    NOTHING,
    SOURCE,
    WEIGHT_GRADIENT,
    Layer,
)
from . import dense


def fill(plan: np.ndarray, layers: Sequence[Layer], dtype: np.dtype, *, train: bool) -> None:
    """Write the addresses of a chain of dense layers into its plan; those of the way back where it is to `train`."""
    real = element_type_of(dtype)
    plan[:, FORWARD] = dense.dense_forward.address(real)
    plan[:, [INPUT_GRADIENT, WEIGHT_GRADIENT]] = NOTHING
    if train:
        plan[:, WEIGHT_GRADIENT] = dense.dense_weight_gradient.address(real)
        plan[plan[:, SOURCE] != BATCH_ROWS, INPUT_GRADIENT] = dense.dense_input_gradient.address(real)
    for row, layer in zip(plan, layers, strict=True):
        row[[FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE]] = functions_of(layer.activation, real, train)


def address_of_loss(loss: Loss, dtype: np.dtype) -> int:
    """Return the address of a loss's op."""
    return op_of_loss(loss).address(element_type_of(dtype))


def address_of_update(rule: Rule, dtype: np.dtype) -> int:
    """Return the address of an optimizer's update."""
    return update(rule).address(element_type_of(dtype))


def address_of_hook(dtype: np.dtype) -> int:
    """Return the address of the hook that clips by the global norm."""
    from ..run.clipping import clip_norm

    return clip_norm.address(element_type_of(dtype))


def address_of_input_gradient(dtype: np.dtype) -> int:
    """Return the address of a dense layer's input gradient, for the first layer too."""
    return dense.dense_input_gradient.address(element_type_of(dtype))
