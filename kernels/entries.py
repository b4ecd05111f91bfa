"""What Python calls of the compiled rooms, each loaded when it is first asked for: ``entries.predict(...)``.

A process that has not computed anything yet has no use for Numba, which takes a while to import and may be absent where
machine code comes with the package. So the rooms above import this module and those of `kernels` that are plain
Python: plans, frames, tables of names and codes.
"""

import importlib
from typing import Any

from .compile.late import late_import

_HOMES = {
    "compile.pool": ["most_threads", "threading_layer"],
    "compile.watch": ["watch_compiling"],
    "limits": ["copy", "fma_peak"],
    "losses.compiled": ["compile_loss"],
    "losses.entries": ["first_wrong_label", "gaussian_nll", "loss_and_gradient"],
    "ops.by_hand": ["activation_backward", "dense_backward", "dense_forward"],
    "ops.fill": ["fill", "fill_loss", "fill_update"],
    "run.chain": ["chain_backward", "chain_forward", "fill_chain"],
    "run.penalized": ["train_penalized"],
    "run.phases": ["backward_batch", "forward_batch", "update_parameters"],
    "run.predict": ["predict"],
    "run.train": ["train_on_labels", "train_on_targets", "train_steps"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module that has an entry; from then on the entry is a global of this module, found at once."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with late_import():
        found = getattr(importlib.import_module(f".{_HOME_OF[name]}", __package__), name)
    globals()[name] = found
    return found
