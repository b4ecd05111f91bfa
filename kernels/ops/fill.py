"""Addresses of compiled functions, written into a plan and a trainer's settings before their first use.

They differ in each process and are in no pickle. What is not in use is not compiled, nor loaded.
"""

import importlib
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from .. import activations, losses, optimizers
from ..activations.functions import functions_of, passes_of
from ..code import Code
from ..inputs import ELEMENTS, reader
from ..losses.functions import op_of_loss, other_op_of_loss
from ..optimizers.functions import update
from ..run.frame import HITS, HOOK, LABELLED, LOSS, OPTIMIZER, RUN_LOSS, SPLIT, TERMS, UPDATE
from ..run.plan import (
    ABOVE_FROZEN,
    ACTIVATE,
    ACTIVATION,
    APPLY_SLOPE,
    DEPTH,
    DIFFERENTIATE,
    FINISH,
    FLAGS,
    FORWARD,
    FROZEN,
    INPUT_GRADIENT,
    JOIN,
    JOIN_BACK,
    KIND,
    NOTHING,
    SUMS,
    SUMS_BACK,
    TRACK,
    WEIGHT_GRADIENT,
    Layer,
    frozen_flags,
    without_training,
)
from .kinds import KINDS
from .registry import Kind, kind_of_code

_CLIPPING = "fastbp.kernels.run.clipping"
# Columns of a plan with the ops of a row
OPS = [FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, TRACK, SUMS, JOIN, SUMS_BACK, JOIN_BACK]
CLIP = Code(_CLIPPING, "clip", lambda: importlib.import_module(_CLIPPING).clip)


def fill(plan: np.ndarray, dtype: np.dtype, *, train: bool, to_batch: bool = True) -> None:
    """Write the addresses of a network's ops into its plan; those of the way back where it is to `train`.

    to_batch : whether the gradient of the batch may be wanted, so that the way back does not end where there is
        nothing below to be trained
    """
    for row in plan:
        ops = _ops(kind_of_code(row[KIND]), row[DEPTH], row[FLAGS], train, to_batch)
        row[OPS] = [NOTHING if op is None else op.address(dtype) for op in ops]
        row[[FINISH, DIFFERENTIATE, ACTIVATE, APPLY_SLOPE]] = functions_of(
            activations.BY_CODE[row[ACTIVATION]], dtype, train
        )


def _ops(kind: Kind, depth: int, flags: int, train: bool, to_batch: bool) -> list[Any]:
    """Return the ops that a row of a plan has in the columns OPS; None for none."""
    forward, input_gradient, weight_gradient, *others = kind.functions()
    if not train:
        if kind.couples_rows:
            raise ValueError(f"{kind.name} expects a kind in its place in predictions, as it couples rows in training")
        return [forward, *[None] * (len(OPS) - 1)]
    if flags & ABOVE_FROZEN and not to_batch:
        input_gradient = None
    return [forward, input_gradient, weight_gradient if depth > 0 and not flags & FROZEN else None, *others]


def codes_of(layers: Sequence[Layer], *, train: bool) -> list[Code]:
    """Return the functions of the library whose addresses `fill` writes into a plan of these layers."""
    layers = layers if train else without_training(layers)
    ops = [
        op
        for layer, flags in zip(layers, frozen_flags(layers) if train else [0] * len(layers), strict=True)
        for op in _ops(layer.kind, layer.sizes.depth, flags, train, False)
        if isinstance(op, Code)
    ]
    return [*ops, *(code for layer in layers for code in passes_of(layer.activation, train))]


def fill_loss(settings: np.ndarray, outs: int, dtype: np.dtype, *, members: int = 1) -> None:
    """Write what the loss of a trainer's settings is to kernels, for a network of `outs` outputs."""
    loss = losses.BY_CODE[settings[LOSS]]
    settings[[TERMS, LABELLED, HITS]] = loss.terms(outs) * members, loss.labelled, loss.hits
    settings[RUN_LOSS] = op_of_loss(loss).address(dtype)


def fill_update(settings: np.ndarray, dtype: np.dtype, *, clips: bool, averages: bool = False) -> None:
    """Write what the optimizer of a trainer's settings is to kernels.

    clips, averages : whether gradients are clipped before, and whether parameters are averaged
    """
    settings[UPDATE] = update(optimizers.BY_CODE[settings[OPTIMIZER]], averages).address(dtype)
    settings[SPLIT] = clips
    settings[HOOK] = CLIP.address(dtype) if clips else 0


def all_codes() -> list[Code]:
    """Return every function that is called by its address, for any network, loss, optimizer and input of the tables."""
    ops = [code for kind in KINDS.values() for code in kind.functions() if code is not None]
    kinds = product(activations.ACTIVATIONS.values(), (False, True))
    passes = [code for activation, with_slope in kinds for code in passes_of(activation, with_slope)]
    of_losses = [*map(op_of_loss, losses.LOSSES.values())]
    of_losses += [other_op_of_loss(loss, what) for loss in losses.LOSSES.values() for what in loss.others]
    updates = [update(rule, averages) for rule, averages in product(optimizers.RULES.values(), (False, True))]
    others = [*of_losses, *updates, CLIP]
    readers = map(reader, ELEMENTS.values())
    return list({(code.module, code.name): code for code in [*ops, *passes, *others, *readers]}.values())
