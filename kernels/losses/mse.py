"""Squared error: ``(z - t)**2``, summed over a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .registry import loss

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def mse(v: Lanes, z: Vec, t: Vec, scale: Vec) -> tuple[Vec, Vec]:
    difference = z - t
    return difference * difference, 2.0 * difference * scale


def twin(z, targets, class_weight, options):
    return ((z - targets) ** 2).sum(axis=1), 2 * (z - targets)


def sizes(z, t):
    return z**2 + t**2, 2 * (abs(z) + abs(t))


MSE = loss("mse", 2, twin, outputs_per_term=1, formula=mse, sizes=sizes)
