"""The softmax cross-entropy of planes, (classes, places) each, such as images whose pixels have a class each.

The rows of a loss are the places, one plane's after another's. In memory the logits of a row are `ld` apart, the places
of a plane, and those of neighbouring rows are neighbours: a block of them is copied, not turned, a lane a row.
"""

from typing import Any

from ..compile.functions import kernel
from ..compile.pointers import at, lanes_of
from ..simd.packing import pack, unpack
from .narrow import narrow_scratch, softmax_block


@kernel
def block_of_planes(r, first, width):
    """Where the block of rows that begins with row `first` stands in the planes, and how many rows it has."""
    plane, place = first // r.ld, first % r.ld
    return plane * r.n * r.ld + place, min(width, r.ld - place, r.stop - first)


def planes_of(gradient: bool) -> Any:
    """Make the kernel of class labels, of at most NARROW classes, unsmoothed: losses, and gradients, of some rows."""
    of_block = softmax_block(gradient)

    @kernel
    def of_rows(r):
        width = lanes_of(r.z)
        block = narrow_scratch(r.z)
        panel = at(block, 5 * width)
        first = r.start
        while first < r.stop:
            place, count = block_of_planes(r, first, width)
            pack(at(r.z, place), r.ld, r.n, count, panel, width)
            of_block(r, first, count, block, panel, width)
            if gradient:
                unpack(at(r.d, place), r.ld, r.n, count, panel, width)
            first += count

    return of_rows
