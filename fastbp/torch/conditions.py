"""When fastbp's kernels may compute on a tensor, and on how many threads."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd import forward_ad

from fastbp._threads import tasks_for

# An array of each element type that kernels are compiled for.
LIKE: dict[torch.dtype, NDArray[Any]] = {torch.float32: np.empty(1, np.float32), torch.float64: np.empty(1, np.float64)}
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def eager() -> bool:
    """Return whether operations run as they are written: no autocast, transform, compilation or tracing."""
    return not (
        torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
    )


def readable(x: Any, dtype: torch.dtype) -> bool:
    """Return whether kernels may read the memory of a tensor, once it is contiguous."""
    return type(x) in _PLAIN and x.dtype is dtype and x.is_cpu and x.layout is torch.strided and x.numel() > 0


def contiguous(x: torch.Tensor) -> torch.Tensor:
    """Return the tensor itself, or a contiguous copy where it is not."""
    return x if x.is_contiguous() and not x.is_neg() else x.contiguous().resolve_neg()


def tasks(work: float) -> int:
    """Return into how many tasks to cut so many floating-point operations; ``torch.set_num_threads`` counts too."""
    most = tasks_for(work)
    return most if most == 1 else min(most, torch.get_num_threads())
