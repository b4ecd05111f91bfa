"""Clipping of gradients, by value and by their norm: a hook between the weight gradients and the update of a step."""

import math

from numba import carray, types

from ..compile.pointers import at, doubles_at, pointer_to
from ..compile.region import shared
from ..linalg.tasks import MOVED, share, worth
from ..ops.call import op
from ..optimizers.registry import CLIP_NORM, CLIP_VALUE, FACTOR
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.rows import summed
from .frame import GRADS, HYPER, LAYOUT, PARAMETERS, WORK
from .plan import NORM_BLOCK, NORMS


def _squared(v: Lanes, g: Vec) -> tuple[Vec]:
    return (g * g,)


squares = summed(_squared, reads=1, writes=0)


def _clamped(v: Lanes, g: Vec, least: Vec, most: Vec) -> Vec:
    return v.minimum(v.maximum(g, least), most)


clamp = lanewise(_clamped, reads=1, writes=1, numbers=2)


def _types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, types.CPointer(i), types.CPointer(types.float64), i, i)


@shared(_types)
def clip_blocks(x, frame, sums, pieces, piece):
    """One piece of all gradients clipped by value, and the sums of squares of NORM_BLOCK of them each.

    Blocks are the same for any number of pieces.
    """
    grads, n, hyper = pointer_to(x, frame[GRADS]), frame[PARAMETERS], doubles_at(frame[HYPER])
    most = carray(x, 1).dtype.type(hyper[CLIP_VALUE])
    blocks = (n + NORM_BLOCK - 1) // NORM_BLOCK
    for block in range(share(blocks, 1, pieces, piece), share(blocks, 1, pieces, piece + 1)):
        g, count = at(grads, block * NORM_BLOCK), min(NORM_BLOCK, n - block * NORM_BLOCK)
        if most > 0.0:
            clamp(g, g, -most, most, count)
        if hyper[CLIP_NORM] > 0.0:
            sums[block] = squares(g, count)


@op
def clip(x, frame, row, span, pieces, piece):
    """Clip all gradients to at most CLIP_VALUE; write the factor that takes their norm to at most CLIP_NORM.

    As PyTorch's `clip_grad_value_` and then `clip_grad_norm_` do. It is called once, with as many pieces as it may
    share its work out to.
    """
    n, hyper = frame[PARAMETERS], doubles_at(frame[HYPER])
    sums = doubles_at(frame[WORK] + pointer_to(frame, frame[LAYOUT])[NORMS])
    clip_blocks(x, frame, sums, worth(MOVED * n, pieces), pieces)
    if hyper[CLIP_NORM] > 0.0:
        total = 0.0
        for block in carray(sums, (n + NORM_BLOCK - 1) // NORM_BLOCK):
            total += block
        factor = hyper[CLIP_NORM] / (math.sqrt(total) + 1e-6)
        hyper[FACTOR] = 1.0 if factor >= 1.0 else factor  # NaN where the norm is, so that it shows in all parameters
