"""The table of activations: one entry for each, made by its own file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..registry import add

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec

    Formula = Callable[[Lanes, Vec], tuple[Vec, Vec]]
    Gradient = Callable[[Lanes, Vec, Vec], Vec]


@dataclass(frozen=True)
class Activation:
    """An activation ``a = g(z)``.

    name : what users call it
    code : what the kernels call it; the table is in this order
    formula : (lanes, z) to g(z) and g'(z), as vector instructions. Where only g(z) is wanted, LLVM drops what makes g'.
    value, slope : g and g' in NumPy, the twins of the formula
    gradient : (lanes, da, a) to ``dz = da * g'(z)`` where a tells the slope; without it the slope is stored beside a
    gradient_twin : (da, a) to dz in NumPy
    """

    name: str
    code: int
    formula: Formula
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    gradient: Gradient | None = None
    gradient_twin: Callable[[Any, Any], Any] | None = None

    @property
    def stores_slope(self) -> bool:
        """Whether g'(z) is stored in training: an exponential is at hand then, and backward is one product."""
        return self.gradient is None


ACTIVATIONS: dict[str, Activation] = {}


def activation(name: str, code: int, *rest: Any, **named: Any) -> Activation:
    """Register an activation; see `Activation` for the arguments."""
    return add(ACTIVATIONS, Activation(name, code, *rest, **named))
