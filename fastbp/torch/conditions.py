"""When fastbp's kernels may compute on a tensor, and on how many threads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd import forward_ad

from fastbp._base.threads import SERIAL_WORK, tasks_for
from fastbp.kernels.run.plan import ABSENT

# An array of each element type that kernels are compiled for.
LIKE: dict[torch.dtype, NDArray[Any]] = {torch.float32: np.empty(1, np.float32), torch.float64: np.empty(1, np.float64)}
Shape = tuple[int, ...]
PLAIN = (torch.Tensor, torch.nn.Parameter)

# What every call asks, so without the way through PyTorch's modules
_autocast, compiling, _tracing = torch.is_autocast_enabled, torch.compiler.is_compiling, torch._C._get_tracing_state
_transforms, _modes = torch._C._are_functorch_transforms_active, torch._C._len_torch_dispatch_stack


def eager() -> bool:
    """Return whether operations run as they are written: no autocast, transform, compilation or tracing."""
    return not (
        _autocast("cpu")
        or forward_ad._current_level >= 0
        or compiling()
        or _tracing() is not None
        or _transforms()
        or _modes() > 0
    )


def watched() -> bool:
    """Return whether a transform, or a mode such as that of ``make_fx``, has to see each operation of PyTorch's."""
    return _transforms() or _modes() > 0


def readable(x: Any, dtype: torch.dtype) -> bool:
    """Return whether kernels may read the memory of a tensor, once it is contiguous."""
    return type(x) in PLAIN and x.dtype is dtype and x.is_cpu and x.layout is torch.strided and x.numel() > 0


def look(tensors: Sequence[torch.Tensor | None], dtype: torch.dtype) -> tuple[list[Shape | None], list[int]] | None:
    """Return the shapes and addresses of contiguous tensors, None and ABSENT for None.

    Return None if kernels may not compute on one of them.
    """
    shapes: list[Shape | None] = []
    addresses = []
    try:
        for t in tensors:
            if t is None:
                shapes.append(None)
                addresses.append(ABSENT)
            elif type(t) in PLAIN and t.dtype is dtype and t.is_cpu and t.is_contiguous():
                shapes.append(t.shape)
                addresses.append(t.data_ptr())
            else:
                return None
    except RuntimeError:  # it has no memory of its own: sparse, nested, of a transform that has ended
        return None
    return None if 0 in addresses else (shapes, addresses)  # 0: no elements, or none in memory


def contiguous(x: torch.Tensor) -> torch.Tensor:
    """Return the tensor itself, or a contiguous copy where it is not."""
    return x if x.is_contiguous() and not x.is_neg() else x.contiguous().resolve_neg()


def tasks(work: float) -> int:
    """Return into how many tasks to cut so many floating-point operations; ``torch.set_num_threads`` counts too."""
    if work < SERIAL_WORK:  # sooner than asking
        return 1
    most = tasks_for(work)
    return most if most == 1 else min(most, torch.get_num_threads())
