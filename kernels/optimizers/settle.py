"""What keeps an optimizer's state out of the numbers below the normal ones, which take a CPU a hundred cycles each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec

# What the docstrings say of an eps that is added to the root of a mean square
EPS_TEXT = (
    "greater than 0, where PyTorch takes 0 too. Squares below the normal numbers count as 0 here, so eps counts as at "
    "least their root: 1.1e-19 in float32, 1.5e-154 in float64."
)


def settled(v: Lanes, x: Vec) -> Vec:
    """Zero where x is below the normal numbers.

    The state of a parameter that gets no gradient any more decays to such numbers and stays there, and so does the
    square of a tiny gradient. They move nothing, but on many CPUs each takes a hundred cycles.
    """
    return v.select(v.abs(x) < 2.0 ** (1 - v.bias), 0.0, x)


def square(v: Lanes, g: Vec) -> Vec:
    g = v.select(v.abs(g) < smallest_root(v), 0.0, g)
    return g * g


def smallest_root(v: Lanes) -> float:
    """The root of the smallest normal number: where a mean square is settled to 0, its root counts as this at most."""
    return 2.0 ** ((1 - v.bias) // 2)


def settled_twin(x):
    """NumPy twin of `settled`."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, 0, x)
