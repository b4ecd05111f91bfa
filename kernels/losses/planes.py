"""The softmax cross-entropy of planes, (classes, places) each, such as images whose pixels have a class each.

The rows of a loss are the places, one plane's after another's. In memory the logits of a row are `ld` apart, the places
of a plane, and those of neighbouring rows are neighbours: a block of them is copied, not turned, a lane a row.
"""

from ..compile.functions import kernel
from ..compile.pointers import at, lanes_of
from ..simd.packing import pack, unpack
from .narrow import narrow_scratch, softmax_block, softmax_block_value


@kernel
def block_of_planes(r, first, width):
    """Where the block of rows that begins with row `first` stands in the planes, and how many rows it has."""
    plane, place = first // r.ld, first % r.ld
    return plane * r.n * r.ld + place, min(width, r.ld - place, r.stop - first)


@kernel
def softmax_labels_planes(r):
    """The losses and gradients of class labels, of at most NARROW classes, unsmoothed, for some rows."""
    width = lanes_of(r.z)
    block = narrow_scratch(r.z)
    panel = at(block, 5 * width)
    first = r.start
    while first < r.stop:
        place, count = block_of_planes(r, first, width)
        pack(at(r.z, place), r.ld, r.n, count, panel, width)
        softmax_block(r, first, count, block, panel, width)
        unpack(at(r.d, place), r.ld, r.n, count, panel, width)
        first += count


@kernel
def softmax_labels_planes_value(r):
    """The losses alone."""
    width = lanes_of(r.z)
    block = narrow_scratch(r.z)
    panel = at(block, 5 * width)
    first = r.start
    while first < r.stop:
        place, count = block_of_planes(r, first, width)
        pack(at(r.z, place), r.ld, r.n, count, panel, width)
        softmax_block_value(r, first, count, block, panel, width)
        first += count
