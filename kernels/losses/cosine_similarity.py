"""How far a row points away from its target: ``1 - z . t / (|z| |t|)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..registry import Number, Public
from .registry import OWN, loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def products(v: Lanes, z: Vec, t: Vec) -> tuple[Vec, Vec, Vec]:
    """z t, z z and t t, in float64."""
    z, t = v.widen(z), v.widen(t)
    return z * t, z * z, t * t


def combined(v: Lanes, z: Vec, t: Vec, of_z: Vec, of_t: Vec) -> Vec:
    return of_z * z + of_t * t


def rows():
    """Make the kernel of some rows."""
    import math

    from numba import carray

    from ..compile.functions import kernel
    from ..compile.pointers import at
    from ..simd.lanes import lanewise
    from ..simd.rows import summed

    sums, combine = summed(products, reads=2, writes=0, sums=3), lanewise(combined, reads=2, writes=1, numbers=2)

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        for i in range(r.start, r.stop):
            z, t, d = at(r.z, i * r.ld), at(r.targets, i * r.width), at(r.d, i * r.ld)
            product, of_z, of_t = sums(z, t, r.n)
            size, of_both = math.sqrt(of_z), math.sqrt(of_t)
            size = r.options[OWN] if size < r.options[OWN] else size  # NaN stays
            of_both = size * (r.options[OWN] if of_both < r.options[OWN] else of_both)
            cosine = product / of_both
            r.losses[i] = 1.0 - cosine
            combine(z, t, d, real(r.scales[i] * cosine / (size * size)), real(-r.scales[i] / of_both), r.n)

    return of_rows


def twin(z, targets, class_weight, options):
    eps = options[OWN]
    size, of_target = (np.sqrt((x**2).sum(axis=1, keepdims=True)) for x in (z, targets))
    size, of_target = np.where(size < eps, eps, size), np.where(of_target < eps, eps, of_target)
    cosine = (z * targets).sum(axis=1, keepdims=True) / (size * of_target)
    return 1 - cosine[:, 0], cosine * z / size**2 - targets / (size * of_target)


def sizes(z, t):
    length = np.sqrt((z**2).sum(axis=1, keepdims=True))
    return np.ones_like(z), np.tile(2 / length, z.shape[1])


COSINE_SIMILARITY = loss(
    "cosine_similarity",
    17,
    twin,
    rows=rows,
    numbers=(Number("eps", 1e-8, "Smallest length that a row is divided by.", positive=True),),
    public=Public(
        "CosineSimilarityLoss",
        "1 minus the cosine between a row of outputs and its target",
        function="cosine_similarity_loss",
        more="The cosine is PyTorch's `cosine_similarity`; for targets that are alike the loss is that of its "
        "`CosineEmbeddingLoss`. The mean is over rows.",
    ),
    sizes=sizes,
)
