"""Compiling a user's loss ahead, so that an error says what is wrong with it."""

import numpy as np

from .._numba import NumbaError
from .functions import op_of_loss
from .registry import BY_CODE


def compile_loss(code: int, dtype: np.dtype) -> None:
    """Compile or load a loss; TypeError that names a user's function that Numba cannot compile."""
    loss = BY_CODE[code]
    try:
        op_of_loss(loss).address(dtype)
    except (NumbaError, TypeError) as error:  # llvmlite raises the latter
        raise TypeError(
            f"row_loss expects {loss.name} to be a function that Numba compiles, (z, target, dz) to a number: it may "
            "use numbers, these arrays, NumPy and functions under numba.njit, and only dz may be changed. For "
            f"{dtype} Numba says: {error}"
        ) from error
