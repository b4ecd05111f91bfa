"""Weights and a bias as live views of flat memory."""

import math
from typing import Any, ClassVar

from numpy.typing import ArrayLike, NDArray

from fastbp.nn.layer import Layer, set_parameter

__all__ = ["Weighted"]

Array = NDArray[Any]


class Weighted(Layer):
    """A layer whose parameters are weights and, where `has_bias`, a bias.

    In flat memory the weights come first, stored as `weight` transposed, then the bias.
    """

    # A model runs on the layers' memory. "call" is Keras's name.
    _compiled: ClassVar[tuple[str, ...]] = (
        "forward", "backward", "weight", "bias", "weight_grad", "bias_grad", "__call__", "call", "trainable",
    )  # fmt: skip

    def _bind(self, params: Array, grads: Array, shape: tuple[int, ...]) -> None:
        """Take flat memory for the parameters and the gradients; `shape` is that of the weights as they are stored."""
        size = math.prod(shape)
        self._params, self._grads = params, grads
        self._w, self._b = params[:size].reshape(shape), params[size:]
        self._dw, self._db = grads[:size].reshape(shape), grads[size:]

    def _move(self, params: Array, grads: Array) -> None:
        params[...] = self._params
        if self._grads.any():  # zeros that nobody writes take no memory yet
            grads[...] = self._grads
        self._bind(params, grads, self._w.shape)

    @property
    def _size(self) -> int:
        return self._params.size

    def _named(self) -> dict[str, tuple[Array, Array]]:
        named = {"weight": (self._w.T, self._dw.T), "bias": (self._b, self._db)}
        return {name: pair for name, pair in named.items() if pair[0].size}

    @property
    def has_bias(self) -> bool:
        """Whether there is a bias."""
        return self._b.size > 0

    def _set(self, target: Array | None, value: ArrayLike, name: str) -> None:
        set_parameter(target, value, type(self).__name__, name)

    @property
    def weight(self) -> Array:
        """The weights, a live view."""
        return self._w.T

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self._set(self.weight, value, "weight")

    @property
    def bias(self) -> Array | None:
        """The bias, a live view of shape (out_features,); None without one."""
        return self._b if self.has_bias else None

    @bias.setter
    def bias(self, value: ArrayLike) -> None:
        self._set(self.bias, value, "bias")

    @property
    def weight_grad(self) -> Array:
        """The gradient of the weights, in their shape."""
        return self._dw.T

    @weight_grad.setter
    def weight_grad(self, value: ArrayLike) -> None:
        self._set(self.weight_grad, value, "weight_grad")

    @property
    def bias_grad(self) -> Array | None:
        """The gradient of the bias; None without one."""
        return self._db if self.has_bias else None

    @bias_grad.setter
    def bias_grad(self, value: ArrayLike) -> None:
        self._set(self.bias_grad, value, "bias_grad")
