"""Layer normalization."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp._base import check, memory
from fastbp.kernels.ops.kinds.layer_norm import LAYER_NORM
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn.layer import Layer, set_parameter

__all__ = ["LayerNorm"]

Array = NDArray[Any]


class LayerNorm(Layer):
    """Layer normalization: ``y = (x - mean) / sqrt(var + eps) * weight + bias``, mean and variance of each row.

    The variance is that of a population, as PyTorch's. It is run by the model that it is part of.

    Parameters
    ----------
    normalized_shape : int or sequence of one int
        Features of a row.
    eps : float, default 1e-5
        Added to the variance.
    bias : bool, default True
        Whether there is a bias; it begins at zero, and weight at one.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.

    Attributes
    ----------
    weight, bias : ndarray of shape (features,)
        Live views of the memory that the kernels read; bias is None without one.
    weight_grad, bias_grad : ndarray of shape (features,)
        The gradients that the last backward pass or training step left.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> model = fastbp.Sequential(fastbp.Dense(4, 8, "relu", rng=0), fastbp.LayerNorm(8), fastbp.Dense(8, 3, rng=1))
    >>> model.predict(np.ones((2, 4))).shape
    (2, 3)
    >>> list(model.parameters())
    ['0.weight', '0.bias', '1.weight', '1.bias', '2.weight', '2.bias']
    """

    in_features: Final[int]  # type: ignore[misc]
    out_features: Final[int]  # type: ignore[misc]
    eps: Final[float]
    has_bias: Final[bool]
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]

    _compiled: ClassVar = ("weight", "bias", "weight_grad", "bias_grad", "__call__", "forward", "backward")

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
    ) -> None:
        if isinstance(normalized_shape, (tuple, list)):
            if len(normalized_shape) != 1:
                raise ValueError(f"LayerNorm expects normalized_shape to be one number, got {normalized_shape!r}")
            normalized_shape = normalized_shape[0]
        self.in_features = self.out_features = check.integer(normalized_shape, "LayerNorm", "normalized_shape")
        self.eps = check.number(eps, "LayerNorm", "eps")
        self.has_bias = bool(bias)
        self.dtype = check.float_dtype(dtype, "LayerNorm")
        size = self.in_features * (1 + self.has_bias)
        self._bind(memory.zeros(size, self.dtype), memory.zeros(size, self.dtype))
        self._w[...] = 1

    def _bind(self, params: Array, grads: Array) -> None:
        n = self.in_features
        self._params, self._grads = params, grads
        self._w, self._b, self._dw, self._db = params[:n], params[n:], grads[:n], grads[n:]

    def _move(self, params: Array, grads: Array) -> None:
        params[...], grads[...] = self._params, self._grads
        self._bind(params, grads)

    @property
    def weight(self) -> Array:
        """The weights, a live view of shape (features,)."""
        return self._w

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        set_parameter(self._w, value, "LayerNorm", "weight")

    @property
    def bias(self) -> Array | None:
        """The bias, a live view of shape (features,); None without one."""
        return self._b if self.has_bias else None

    @bias.setter
    def bias(self, value: ArrayLike) -> None:
        set_parameter(self.bias, value, "LayerNorm", "bias")

    @property
    def weight_grad(self) -> Array:
        """The gradient of the weights, (features,)."""
        return self._dw

    @weight_grad.setter
    def weight_grad(self, value: ArrayLike) -> None:
        set_parameter(self._dw, value, "LayerNorm", "weight_grad")

    @property
    def bias_grad(self) -> Array | None:
        """The gradient of the bias, (features,); None without one."""
        return self._db if self.has_bias else None

    @bias_grad.setter
    def bias_grad(self, value: ArrayLike) -> None:
        set_parameter(self.bias_grad, value, "LayerNorm", "bias_grad")

    def _named(self) -> dict[str, tuple[Array, Array]]:
        named = {"weight": (self._w, self._dw), "bias": (self._b, self._db)}
        return named if self.has_bias else {"weight": named["weight"]}

    def _extend(self, rows: list[Row], source: int) -> int:
        n = self.in_features
        rows.append(Row(n, n, bias=self.has_bias, kind=LAYER_NORM, sources=(source,), attributes=(self.eps,)))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        return {
            "kind": "LayerNorm",
            "normalized_shape": self.in_features,
            "eps": self.eps,
            "bias": self.has_bias,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", "normalized_shape", "eps", "bias", "dtype"}:
            raise ValueError("damaged, the header describes no LayerNorm")
        shape = (check.integer(config["normalized_shape"], "load", "normalized_shape"),)
        return {"weight": shape, "bias": shape} if config["bias"] else {"weight": shape}

    def __repr__(self) -> str:
        eps = "" if self.eps == 1e-5 else f", eps={self.eps}"
        bias = "" if self.has_bias else ", bias=False"
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        return f"LayerNorm({self.in_features}{eps}{bias}{dtype})"
