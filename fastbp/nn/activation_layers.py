"""Activations as layers of their own, and those with learned shares and slopes."""

from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import DTypeLike

from fastbp._base import check, memory
from fastbp._base.docs import listed, with_lists
from fastbp._base.guard import set_unguarded
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.ops.kinds.activation import ACTIVATION
from fastbp.kernels.ops.kinds.blend import BLEND
from fastbp.kernels.ops.kinds.prelu import PRELU
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn.layer import WITHOUT_PARAMETERS, Layer, known
from fastbp.nn.own_activations import OwnActivation, chosen_activation
from fastbp.nn.weighted import Weighted

__all__ = ["Activation", "PReLU", "ParametricActivation"]


@known
@with_lists(activations=listed(ACTIVATIONS))
class Activation(Layer):
    """An activation as a layer of its own: ``y = g(x)``.

    After a `Dense` without one it computes what ``Dense(..., activation)`` does, to the bit and in the same time.

    Parameters
    ----------
    activation : str or OwnActivation
        g: {activations}; or one of your own by `fastbp.activation`.

    Raises
    ------
    ValueError
        If there is no such activation.

    Examples
    --------
    >>> import fastbp
    >>> norm = fastbp.Dense(4, 8, rng=0), fastbp.LayerNorm(8), fastbp.Activation("relu")
    >>> model = fastbp.Sequential(*norm, fastbp.Dense(8, 3, rng=1))
    >>> model.predict([[0, 0, 0, 0]]).shape
    (1, 3)
    """

    activation: Final[str]
    in_features: Final[int | None]  # type: ignore[misc]
    out_features: Final[int | None]  # type: ignore[misc]
    dtype: Final[np.dtype[Any] | None]  # type: ignore[misc]

    _compiled: ClassVar = WITHOUT_PARAMETERS

    def __init__(self, activation: str | OwnActivation) -> None:
        self._kind, self._given = chosen_activation(activation, "Activation"), activation
        self.activation = self._kind.name
        self.in_features = self.out_features = self.dtype = None

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        for name, value in (("in_features", width), ("out_features", width), ("dtype", dtype)):
            set_unguarded(self, name, value)

    def _extend(self, rows: list[Row], source: int) -> int:
        n = self.in_features
        assert n is not None
        rows.append(Row(n, n, self._kind, kind=ACTIVATION, sources=(source,)))
        return len(rows) - 1

    def _lines(self, name: str) -> list[tuple[str, str, int | None, int]]:
        return [(name, self.activation, self.out_features, 0)]

    def _config(self) -> dict[str, Any]:
        return {"kind": "Activation", "activation": self._given}

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", "activation"}:
            raise ValueError("damaged, the header describes no Activation")
        return {}

    def __repr__(self) -> str:
        return f"Activation({self.activation!r})"


@known
@with_lists(activations=listed(ACTIVATIONS))
class ParametricActivation(Weighted):
    """An activation and its input, mixed in a learned share for each feature: ``y = w * g(x) + (1 - w) * x``.

    Parameters
    ----------
    features : int
        Features of a row.
    activation : str or OwnActivation
        g: {activations}; or one of your own by `fastbp.activation`.
    init : float, default 1.0
        What the shares begin as.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.

    Attributes
    ----------
    weight : ndarray of shape (features,)
        The shares w, a live view of the memory that the kernels read.
    weight_grad : ndarray of shape (features,)
        What the last backward pass or training step left.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import fastbp
    >>> layer = fastbp.ParametricActivation(8, "mish", init=0.5)
    >>> model = fastbp.Sequential(fastbp.Dense(4, 8, rng=0), layer, fastbp.Dense(8, 3, rng=1))
    >>> model.predict([[0, 0, 0, 0]]).shape
    (1, 3)
    """

    in_features: Final[int]  # type: ignore[misc]
    out_features: Final[int]  # type: ignore[misc]
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]
    activation: Final[str]

    def __init__(
        self, features: int, activation: str | OwnActivation, init: float = 1.0, *, dtype: DTypeLike = "float32"
    ) -> None:
        who = "ParametricActivation"
        n = self.in_features = self.out_features = check.integer(features, who, "features")
        self._kind, self._given = chosen_activation(activation, who), activation
        self.activation = self._kind.name
        self._init = check.number(init, who, "init", -np.inf)
        self.dtype = check.float_dtype(dtype, who)
        self._bind(memory.zeros(n, self.dtype), memory.zeros(n, self.dtype), (n,))
        self._w[...] = self._init

    def _extend(self, rows: list[Row], source: int) -> int:
        n = self.in_features
        rows.append(Row(n, n, self._kind, kind=ACTIVATION, sources=(source,)))
        rows.append(Row(n, n, kind=BLEND, sources=(len(rows) - 1, source), trainable=self._trainable))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        return {
            "kind": "ParametricActivation",
            "features": self.in_features,
            "activation": self._given,
            "init": self._init,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", "features", "activation", "init", "dtype"}:
            raise ValueError("damaged, the header describes no ParametricActivation")
        return {"weight": (check.integer(config["features"], "load", "features"),)}

    def __repr__(self) -> str:
        init = "" if self._init == 1 else f", init={self._init!r}"
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        return f"ParametricActivation({self.in_features}, {self.activation!r}{init}{dtype})"


@known
class PReLU(Weighted):
    """A rectifier with a learned slope: ``y = x`` above zero, ``weight * x`` below.

    Parameters
    ----------
    num_parameters : int, default 1
        1 for one slope, or as many as there are features for a slope of each.
    init : float, default 0.25
        What the slopes begin as.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.

    Attributes
    ----------
    weight : ndarray of shape (num_parameters,)
        The slopes, a live view of the memory that the kernels read.
    weight_grad : ndarray of shape (num_parameters,)
        What the last backward pass or training step left.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import fastbp
    >>> model = fastbp.Sequential(fastbp.Dense(4, 8, rng=0), fastbp.PReLU(8), fastbp.Dense(8, 3, rng=1), fastbp.PReLU())
    >>> model.predict([[0, 0, 0, 0]]).shape
    (1, 3)
    """

    in_features: Final[int | None]  # type: ignore[misc]
    out_features: Final[int | None]  # type: ignore[misc]
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]
    num_parameters: Final[int]

    _torch: ClassVar = "PReLU"

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DTypeLike = "float32") -> None:
        n = self.num_parameters = check.integer(num_parameters, "PReLU", "num_parameters")
        self.in_features = self.out_features = n if n > 1 else None
        self._init = check.number(init, "PReLU", "init", -np.inf)
        self.dtype = check.float_dtype(dtype, "PReLU")
        self._table = np.array([n])
        self._bind(memory.zeros(n, self.dtype), memory.zeros(n, self.dtype), (n,))
        self._w[...] = self._init

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        set_unguarded(self, "in_features", width)
        set_unguarded(self, "out_features", width)

    def _extend(self, rows: list[Row], source: int) -> int:
        n = self.in_features
        assert n is not None
        rows.append(Row(n, n, kind=PRELU, sources=(source,), table=self._table, trainable=self._trainable))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        return {
            "kind": "PReLU",
            "num_parameters": self.num_parameters,
            "init": self._init,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", "num_parameters", "init", "dtype"}:
            raise ValueError("damaged, the header describes no PReLU")
        return {"weight": (check.integer(config["num_parameters"], "load", "num_parameters"),)}

    def __repr__(self) -> str:
        shown = [str(self.num_parameters)] if self.num_parameters > 1 else []
        shown += [f"init={self._init!r}"] if self._init != 0.25 else []
        shown += [f"dtype={self.dtype.name!r}"] if self.dtype != np.float32 else []
        return f"PReLU({', '.join(shown)})"
