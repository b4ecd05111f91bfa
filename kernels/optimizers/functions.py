"""The pass of an update rule by name."""

import importlib

from ..code import Code
from .registry import Rule


def update(rule: Rule, averages: bool = False) -> Code:
    """Return the pass that updates parameters in place from their gradients, and the optimizer's state with them.

    averages : whether averages of the parameters are the last array of that state
    """
    name = f"update_{rule.name}{'_and_averages' if averages else ''}"
    return Code(
        rule.formula.__module__,
        name,
        lambda: importlib.import_module(".compiled", __package__).update(rule, name, averages),
    )
