"""The op of a loss by name, and compiling a user's own ahead."""

import importlib
from typing import Any

from ..code import Code
from .registry import Loss


def _compiled() -> Any:
    return importlib.import_module(".compiled", __package__)


def op_of_loss(loss: Loss) -> Code:
    """Return the op of a loss. It writes `losses`, `hits` and dz of the plan's last row; a piece is some rows."""
    name = f"loss_{loss.name}"
    return Code(loss.twin.__module__, name, lambda: _compiled().op_of_loss(loss, name))


def value_op_of_loss(loss: Loss) -> Code:
    """Return the op for a call that wants no gradient: one of the value alone, if the loss has it."""
    return other_op_of_loss(loss, "value") if "value" in loss.others else op_of_loss(loss)


def other_op_of_loss(loss: Loss, what: str) -> Code:
    """Return another op of a loss, one of its `others`, to be called by hand.

    "value" writes `losses` alone, to the same bits, without a gradient. "planes" is the op for planes, see there, of at
    most NARROW classes and without smoothing; "value_of_planes" is that without a gradient.
    """
    name = f"{what}_{loss.name}"
    return Code(loss.twin.__module__, name, lambda: _compiled().other_op_of_loss(loss, what, name))
