"""The table of activations: one entry for each, made by its own file."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..registry import add

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec

    Formula = Callable[[Lanes, Vec], tuple[Vec, Vec]]
    Gradient = Callable[[Lanes, Vec, Vec], Vec]


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation ``a = g(z)``.

    name : what users call it
    code : what the kernels call it; the table is in this order
    formula : (lanes, z) to g(z) and g'(z), as vector instructions. Where only g(z) is wanted, LLVM drops what makes g'.
    value, slope : g and g' in NumPy, the twins of the formula, in any format
    exact : (mp, z) to g(z), by mpmath: what the twins are tested with
    torch, torch_options : the module of ``torch.nn`` that computes g, and the options that it has then
    sklearn : scikit-learn's name, where it is another
    rectifies : whether negative z count for little, so that initial weights are larger (He's rule, else Glorot's)
    ulp : the largest error of g and of g' in ULP, over all finite numbers
    near_zero : an interval where g' crosses zero, as a small difference of larger terms, and the largest error of g'
        there in ``eps / 2``, in place of the one in ULP
    gradient : (lanes, da, a) to ``dz = da * g'(z)`` where a tells the slope; without it the slope is stored beside a
    gradient_twin : (da, a) to dz in NumPy
    """

    name: str
    code: int
    formula: Formula
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    exact: Callable[[Any, Any], Any]
    torch: str
    torch_options: Mapping[str, Any] = field(default_factory=dict)
    sklearn: str | None = None
    rectifies: bool = False
    ulp: tuple[float, float] = (4.0, 4.0)
    near_zero: tuple[float, float, float] | None = None
    gradient: Gradient | None = None
    gradient_twin: Callable[[Any, Any], Any] | None = None

    @property
    def stores_slope(self) -> bool:
        """Whether g'(z) is stored in training: an exponential is at hand then, and backward is one product."""
        return self.gradient is None


ACTIVATIONS: dict[str, Activation] = {}
# Those and users' own, whose codes are of this process and belong to no file
BY_CODE: dict[int, Activation] = {}
_own_codes = itertools.count(1000)


def activation(name: str, code: int, formula: Formula, value: Any, slope: Any, **more: Any) -> Activation:
    """Register an activation; see `Activation` for the arguments."""
    return add(ACTIVATIONS, Activation(name, code, formula, value, slope, **more))


@functools.cache
def own_activation(name: str, formula: Formula) -> Activation:
    """Return the activation of a user's formula: without twins, and unknown to PyTorch and scikit-learn."""
    nothing: Any = None
    found = Activation(name, next(_own_codes), formula, nothing, nothing, nothing, nothing)
    BY_CODE[found.code] = found
    return found
