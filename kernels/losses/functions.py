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
