"""What Python calls of the compiled rooms, each found when it is first asked for: ``entries.predict(...)``.

An entry that is prebuilt is a door to it; else the module that has it is imported, and Numba with that. A process that
has not computed anything yet has no use for Numba, which takes a while to import and may be absent. So the rooms above
import this module and those of `kernels` that are plain Python: plans, frames, tables of names and codes.
"""

from typing import Any

from . import native
from .code import jit

# Where the compiled entries are. All of them are prebuilt, see ``native/``.
COMPILED = {
    "inputs.entries": ["read_rows"],
    "limits": ["copy", "fma_peak"],
    "losses.entries": ["first_wrong_label", "gaussian_nll", "loss_at", "loss_of_rows"],
    "ops.layer": ["layer_backward", "layer_forward", "layer_slope"],
    "run.chain": ["chain_backward", "chain_forward"],
    "run.codes": ["first_wrong_code"],
    "run.derivatives": ["input_gradients"],
    "run.penalized": ["train_penalized"],
    "run.phases": ["backward_batch", "forward_batch", "update_parameters"],
    "run.predict": ["predict"],
    "run.sparse": ["first_wrong_row", "predict_sparse"],
    "run.train": ["train_on_labels", "train_on_targets", "train_steps"],
}
# What needs Numba itself
_NUMBAS = {"compile.jobs": ["compile_all"], "losses.own": ["compile_loss"]}
_HOME_OF = {name: home for homes in (COMPILED, _NUMBAS) for home, names in homes.items() for name in names}


def __getattr__(name: str) -> Any:
    """Find an entry; from then on it is a global of this module, found at once."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = native.entry(name) or compiled(name)
    globals()[name] = found
    return found


def compiled(name: str) -> Any:
    """Return an entry as Numba has it, whether it is prebuilt or not."""
    return getattr(jit(_HOME_OF[name]), name)
