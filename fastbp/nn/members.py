"""Members: each row becomes several, which share the layers that follow; and dense layers of each member's own."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check, memory
from fastbp.kernels.ops.kinds.member_dense import MEMBER_DENSE
from fastbp.kernels.ops.kinds.members import MEMBERS
from fastbp.kernels.ops.registry import Kind
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn.layer import known
from fastbp.nn.parts import Parted, parameter

__all__ = ["MOST_MEMBERS", "MemberDense", "Members"]

Array = NDArray[Any]
Shape = tuple[int, ...]
MOST_MEMBERS = 256
# How the factors of `Members` may begin
SCALES: dict[str, Callable[[np.random.Generator, Shape], Array]] = {
    "signs": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "ones": lambda rng, shape: np.ones(shape),
}


class OfMembers(Parted):
    """A layer with parameters for each member, made of some whole numbers."""

    in_features: Final[int]  # type: ignore[misc]
    out_features: Final[int]  # type: ignore[misc]
    members: Final[int]  # type: ignore[misc]
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]

    _kind: ClassVar[Kind]
    _sizes: ClassVar[tuple[str, ...]]  # the names of these numbers, which are the constructor's first arguments

    @classmethod
    def _stored(cls, *sizes: int) -> dict[str, Shape]:
        """Return the shapes of the parameters as they are stored, in the order in which they are."""
        raise NotImplementedError

    @classmethod
    def _checked(cls, given: dict[str, Any], who: str) -> dict[str, int]:
        """Return the numbers that make the layer, by name."""
        most = {"members": MOST_MEMBERS}
        return {name: check.integer(given[name], who, name, 1, most.get(name, 2**53)) for name in cls._sizes}

    def _begin(self, given: dict[str, Any], dtype: DTypeLike) -> None:
        """Take the numbers and the memory that follows from them."""
        for name, value in self._checked(given, type(self).__name__).items():
            setattr(self, name, value)
        self.dtype = check.float_dtype(dtype, type(self).__name__)  # type: ignore[misc]
        size = sum(map(math.prod, self._own_shapes().values()))
        self._bind(memory.zeros(size, self.dtype), memory.zeros(size, self.dtype))

    def _own_shapes(self) -> dict[str, Shape]:
        return self._stored(*(getattr(self, name) for name in self._sizes))

    def _cut(self, flat: Array) -> dict[str, Array]:
        shapes = self._own_shapes()
        parts = np.split(flat, np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1])
        return {name: self._shown(part.reshape(shapes[name])) for part, name in zip(parts, shapes, strict=True)}

    @staticmethod
    def _shown(stored: Array) -> Array:
        """Return a parameter as users see it: what is stored as (in, out) of each member is (out, in)."""
        return stored.swapaxes(1, 2) if stored.ndim == 3 else stored

    def _extend(self, rows: list[Row], source: int) -> int:
        row = Row(self.in_features, self.out_features, kind=self._kind, sources=(source,))
        rows.append(row._replace(attributes=(float(self.members),), trainable=self._trainable))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        sizes = {name: getattr(self, name) for name in self._sizes}
        return {"kind": type(self).__name__, **sizes, "dtype": self.dtype.name}

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, Shape]:
        if config.keys() != {"kind", *cls._sizes, "dtype"}:
            raise ValueError(f"damaged, the header describes no {cls.__name__}")
        shapes = cls._stored(*cls._checked(config, "load").values())
        return {name: (s[0], s[2], s[1]) if len(s) == 3 else s for name, s in shapes.items()}

    def __repr__(self) -> str:
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        return f"{type(self).__name__}({', '.join(str(getattr(self, name)) for name in self._sizes)}{dtype})"


@known
class Members(OfMembers):
    """Each row becomes several, the members, each scaled in its own way: member m has ``y = x * weight[m]``.

    The layers that follow take each member as a row of its own, so that all share their parameters: one network on
    ``members`` times as many rows, until a `MemberDense` with parameters for each. That is TabM-mini (Gorishniy et al.
    2025), an ensemble at the cost of one network. What `Sequential.predict` returns has the outputs of member 0, then
    of member 1, and so on; `fastbp.average_members` puts them together. A `Trainer` takes the mean of the members'
    losses, each for the row's one target (with the reduction "sum" their sum); metrics judge the average.

    Parameters
    ----------
    features : int
        Columns of a row.
    members : int, default 32
        At most 256.
    init : {"signs", "normal", "ones"} or callable, default "signs"
        What the factors begin as: 1 or -1, N(0, 1) or 1; or a function ``f(rng, shape)``.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.
    rng : int or numpy.random.Generator, optional
        Seed of the initial factors; without it they differ from run to run.

    Attributes
    ----------
    weight : ndarray of shape (members, features)
        A live view of the memory that the kernels read.
    weight_grad : ndarray of shape (members, features)
        What the last backward pass or training step left.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import fastbp
    >>> model = fastbp.Sequential(
    ...     fastbp.Members(4, 8, rng=0), fastbp.Dense(4, 16, "relu", rng=1), fastbp.MemberDense(16, 3, 8, rng=2)
    ... )
    >>> model.members, model.predict([[0, 0, 0, 0]]).shape
    (8, (1, 24))
    """

    features: Final[int]  # type: ignore[misc]

    weight, weight_grad = parameter("weight"), parameter("weight", gradient=True)

    _kind = MEMBERS
    _sizes = ("features", "members")
    _torch = "Members"
    _compiled: ClassVar = ("forward", "backward", "__call__", "call", "weight", "weight_grad", "trainable")

    def __init__(
        self,
        features: int,
        members: int = 32,
        init: str | Callable[[np.random.Generator, Shape], Array] = "signs",
        *,
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self._begin({"features": features, "members": members}, dtype)
        self.in_features = self.out_features = self.features  # type: ignore[misc]
        self._spreads = self.members
        make = init if callable(init) else check.choice(init, SCALES, "Members", "init")
        self.weight = make(check.generator(rng, "Members"), self.weight.shape)

    @classmethod
    def _stored(cls, *sizes: int) -> dict[str, Shape]:
        features, members = sizes
        return {"weight": (members, features)}


@known
class MemberDense(OfMembers):
    """A dense layer of its own for each of the `Members`: member m has ``y = x @ weight[m].T + bias[m]``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of an input row and of an output row.
    members : int, default 32
        As many as the `Members` before it.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.
    rng : int or numpy.random.Generator, optional
        Seed of the initial weights and biases, which are uniform up to ``1 / sqrt(in_features)``, as PyTorch's; without
        it they differ from run to run.

    Attributes
    ----------
    weight : ndarray of shape (members, out_features, in_features)
    bias : ndarray of shape (members, out_features)
        Live views of the memory that the kernels read.
    weight_grad, bias_grad : ndarray
        What the last backward pass or training step left, shaped as the parameters.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import fastbp
    >>> head = fastbp.MemberDense(16, 3, members=8, rng=0)
    >>> head.weight.shape, head.bias.shape
    ((8, 3, 16), (8, 3))
    """

    weight, weight_grad = parameter("weight"), parameter("weight", gradient=True)
    bias, bias_grad = parameter("bias"), parameter("bias", gradient=True)

    _kind = MEMBER_DENSE
    _sizes = ("in_features", "out_features", "members")
    _torch = "MemberDense"
    _compiled: ClassVar = (
        "forward", "backward", "__call__", "call", "weight", "weight_grad", "bias", "bias_grad", "trainable",
    )  # fmt: skip

    def __init__(
        self,
        in_features: int,
        out_features: int,
        members: int = 32,
        *,
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self._begin({"in_features": in_features, "out_features": out_features, "members": members}, dtype)
        generator, edge = check.generator(rng, "MemberDense"), self.in_features**-0.5
        self.weight[...] = generator.uniform(-edge, edge, self.weight.shape)
        self.bias[...] = generator.uniform(-edge, edge, self.bias.shape)

    @classmethod
    def _stored(cls, *sizes: int) -> dict[str, Shape]:
        ins, outs, members = sizes
        return {"weight": (members, ins, outs), "bias": (members, outs)}
