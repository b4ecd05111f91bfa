"""Parameters that are parts of flat memory, of any shapes."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastbp.nn.layer import Layer, set_parameter

__all__ = ["Parted", "parameter"]

Array = NDArray[Any]


class Parted(Layer):
    """A layer whose parameters are live views of flat memory, each a part of it."""

    _parts: Mapping[str, tuple[Array, Array]]

    def _cut(self, flat: Array) -> dict[str, Array]:
        """Return the parameters, or their gradients, by name: views of flat memory that has room for them alone."""
        raise NotImplementedError

    def _bind(self, params: Array, grads: Array) -> None:
        """Take flat memory for the parameters and the gradients."""
        self._params, self._grads = params, grads
        gradients = self._cut(grads)
        self._parts = {name: (value, gradients[name]) for name, value in self._cut(params).items()}

    def _move(self, params: Array, grads: Array) -> None:
        params[...] = self._params
        if self._grads.any():  # zeros that nobody writes take no memory yet
            grads[...] = self._grads
        self._bind(params, grads)

    @property
    def _size(self) -> int:
        return self._params.size

    def _named(self) -> dict[str, tuple[Array, Array]]:
        return dict(self._parts)


def parameter(name: str, *, gradient: bool = False) -> property:
    """Make the attribute that shows a parameter of a `Parted` layer, or its gradient; setting it copies."""
    what = f"{name}_grad" if gradient else name

    def found(self: Parted) -> Array:
        return self._parts[name][gradient]

    def change(self: Parted, value: ArrayLike) -> None:
        set_parameter(found(self), value, type(self).__name__, what)

    return property(found, change, doc=f"{'The gradient of ' * gradient}{name}, a live view.")
