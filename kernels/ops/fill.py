"""Addresses of compiled functions, written into a plan and a trainer's settings before their first use.

They differ in each process and are in no pickle. What is not in use is not compiled, nor loaded.
"""

import numpy as np

from ..activations import BY_CODE as ACTIVATIONS
from ..activations.compiled import functions_of
from ..compile.functions import element_type_of
from ..losses import LOSSES
from ..losses.compiled import op_of_loss
from ..optimizers import RULES
from ..optimizers.compiled import update
from ..run.frame import HITS, LABELLED, LOSS, OPTIMIZER, RUN_LOSS, TERMS, UPDATE
from ..run.plan import (
    ACTIVATE,
    ACTIVATION,
    APPLY_SLOPE,
    DIFFERENTIATE,
    FINISH,
    FORWARD,
    INPUT_GRADIENT,
    NOTHING,
    WEIGHT_GRADIENT,
)
from . import dense

_LOSSES = {loss.code: loss for loss in LOSSES.values()}
_RULES = {rule.code: rule for rule in RULES.values()}


def fill(plan: np.ndarray, dtype: np.dtype, *, train: bool) -> None:
    """Write the addresses of a chain of dense layers into its plan; those of the way back where it is to `train`."""
    real = element_type_of(dtype)
    plan[:, FORWARD] = dense.dense_forward.address(real)
    plan[:, [INPUT_GRADIENT, WEIGHT_GRADIENT]] = NOTHING
    if train:
        plan[:, WEIGHT_GRADIENT] = dense.dense_weight_gradient.address(real)
        plan[:, INPUT_GRADIENT] = dense.dense_input_gradient.address(real)
    for row in plan:
        row[[FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE]] = functions_of(ACTIVATIONS[row[ACTIVATION]], real, train)


def fill_settings(settings: np.ndarray, outs: int, dtype: np.dtype) -> None:
    """Write what the loss and the optimizer of a trainer's settings are to kernels, for a network of `outs` outputs."""
    loss, real = _LOSSES[settings[LOSS]], element_type_of(dtype)
    settings[[TERMS, LABELLED, HITS]] = loss.terms(outs), loss.labelled, loss.hits
    settings[RUN_LOSS] = op_of_loss(loss).address(real)
    settings[UPDATE] = update(_RULES[settings[OPTIMIZER]]).address(real)


def address_of_hook(dtype: np.dtype) -> int:
    """Return the address of the hook that clips by the global norm."""
    from ..run.clipping import clip_norm

    return clip_norm.address(element_type_of(dtype))
