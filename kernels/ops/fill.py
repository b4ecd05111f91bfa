"""Addresses of compiled functions, written into a plan and a trainer's settings before their first use.

They differ in each process and are in no pickle. What is not in use is not compiled, nor loaded.
"""

import numpy as np

from ..activations import BY_CODE as ACTIVATIONS
from ..activations.compiled import functions_of
from ..compile.functions import element_type_of
from ..losses import BY_CODE as LOSSES
from ..losses.compiled import op_of_loss
from ..optimizers import BY_CODE as RULES
from ..optimizers.compiled import update
from ..run.frame import HITS, HOOK, LABELLED, LOSS, OPTIMIZER, RUN_LOSS, SPLIT, TERMS, UPDATE
from ..run.plan import (
    ACTIVATE,
    ACTIVATION,
    APPLY_SLOPE,
    DIFFERENTIATE,
    FINISH,
    FORWARD,
    INPUT_GRADIENT,
    KIND,
    NOTHING,
    WEIGHT_GRADIENT,
)
from .registry import kind_of_code


def fill(plan: np.ndarray, dtype: np.dtype, *, train: bool) -> None:
    """Write the addresses of a network's ops into its plan; those of the way back where it is to `train`."""
    real = element_type_of(dtype)
    for row in plan:
        functions = kind_of_code(row[KIND]).functions()
        if not train:
            functions = functions._replace(input_gradient=None, weight_gradient=None)
        row[[FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT]] = [
            NOTHING if op is None else op.address(real) for op in functions
        ]
        row[[FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE]] = functions_of(ACTIVATIONS[row[ACTIVATION]], real, train)


def fill_loss(settings: np.ndarray, outs: int, dtype: np.dtype) -> None:
    """Write what the loss of a trainer's settings is to kernels, for a network of `outs` outputs."""
    loss = LOSSES[settings[LOSS]]
    settings[[TERMS, LABELLED, HITS]] = loss.terms(outs), loss.labelled, loss.hits
    settings[RUN_LOSS] = op_of_loss(loss).address(element_type_of(dtype))


def fill_update(settings: np.ndarray, dtype: np.dtype, *, clips: bool) -> None:
    """Write what the optimizer of a trainer's settings is to kernels, and whether gradients are clipped before."""
    real = element_type_of(dtype)
    settings[UPDATE] = update(RULES[settings[OPTIMIZER]]).address(real)
    settings[SPLIT], settings[HOOK] = clips, 0
    if clips:
        from ..run.clipping import clip  # not needed by a run that clips nothing

        settings[HOOK] = clip.address(real)
