"""Clipping by the global norm: a hook between the weight gradients and the update of a step."""

import math

from numba import carray, types

from ..compile.pointers import at, doubles_at, pointer_to
from ..compile.region import shared
from ..linalg.tasks import MOVED, share, worth
from ..ops.call import op
from ..optimizers.registry import CLIP_NORM, FACTOR
from ..simd.lanes import Lanes, Vec
from ..simd.rows import summed
from .frame import GRADS, HYPER, LAYOUT, PARAMETERS, WORK
from .plan import NORM_BLOCK, NORMS


def _squared(v: Lanes, g: Vec) -> tuple[Vec]:
    return (g * g,)


squares = summed(_squared, reads=1, writes=0)


def _types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, types.CPointer(i), types.CPointer(types.float64), i, i)


@shared(_types)
def squares_of_gradients(x, frame, sums, pieces, piece):
    """One piece of the sums of squares of NORM_BLOCK gradients each: blocks are the same for any number of pieces."""
    grads, n = pointer_to(x, frame[GRADS]), frame[PARAMETERS]
    blocks = (n + NORM_BLOCK - 1) // NORM_BLOCK
    for block in range(share(blocks, 1, pieces, piece), share(blocks, 1, pieces, piece + 1)):
        first = block * NORM_BLOCK
        sums[block] = squares(at(grads, first), min(NORM_BLOCK, n - first))


@op
def clip_norm(x, frame, row, span, pieces, piece):
    """Write the factor that takes the norm of all gradients to at most CLIP_NORM, as PyTorch's `clip_grad_norm_` does.

    It is called once, with as many pieces as it may share its work out to.
    """
    n, hyper = frame[PARAMETERS], doubles_at(frame[HYPER])
    sums = doubles_at(frame[WORK] + pointer_to(frame, frame[LAYOUT])[NORMS])
    squares_of_gradients(x, frame, sums, worth(MOVED * n, pieces), pieces)
    total = 0.0
    for block in carray(sums, (n + NORM_BLOCK - 1) // NORM_BLOCK):
        total += block
    factor = hyper[CLIP_NORM] / (math.sqrt(total) + 1e-6)
    hyper[FACTOR] = 1.0 if factor >= 1.0 else factor  # NaN where the norm is, so that it shows in all parameters
