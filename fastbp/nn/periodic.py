"""Numerical embeddings by waves."""

import math
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check, memory
from fastbp.kernels.ops.kinds.periodic import PERIODIC
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn.layer import known
from fastbp.nn.parts import Parted, parameter

__all__ = ["Periodic"]

Array = NDArray[Any]
ARGUMENTS = ("features", "frequencies", "dim", "in_features")


@known
class Periodic(Parted):
    """Numerical embeddings: each feature x becomes ``[x, weight @ cos(2 pi frequency x + phase) + bias]``, dim numbers.

    Each feature has its own frequencies, phases and linear map, of `frequencies` waves to ``dim - 1`` numbers: with x
    itself they are `dim` ("PBLD" of the RealMLP paper). In the output come first all columns of the input, then the
    first of these numbers of every feature, then the second, and so on: column ``in_features + j * features + i`` is
    number j of feature i. Phases are in radians. Where the input has more columns than `features`, the first ones are
    the features, and the others go to the output as they are: so numbers and the embeddings of codes can be told apart.

    Parameters
    ----------
    features : int
        How many columns have waves: the first ones.
    frequencies : int, default 16
        Waves of each feature.
    dim : int, default 4
        How many numbers a feature becomes, itself among them; at least 2.
    sigma : float, default 0.1
        Standard deviation of the initial frequencies.
    in_features : int, optional
        Columns of the input, `features` without it.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.
    rng : int or numpy.random.Generator, optional
        Seed of the initial parameters, without which they differ from run to run: frequencies from N(0, sigma**2),
        phases uniform in (-pi, pi), weight and bias uniform within ``frequencies**-0.5``, as of PyTorch's ``Linear``.

    Attributes
    ----------
    frequency, phase : ndarray of shape (features, frequencies)
    weight : ndarray of shape (features, dim - 1, frequencies)
    bias : ndarray of shape (features, dim - 1)
        Live views of the memory that the kernels read. All are trained.
    frequency_grad, phase_grad, weight_grad, bias_grad : ndarray
        What the last backward pass or training step left, shaped as the parameters.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> waves = fastbp.Periodic(3, frequencies=8, dim=4, rng=0)
    >>> model = fastbp.Sequential(waves, fastbp.Dense(12, 2, rng=1))
    >>> model.predict(np.ones((5, 3))).shape
    (5, 2)

    Two measures beside a column of seven codes, whose embedding has no waves:

    >>> codes = fastbp.Embedding([7], dims=[3], columns=[2], rng=0)
    >>> waves = fastbp.Periodic(2, in_features=5, rng=1)
    >>> fastbp.Sequential(codes, waves, fastbp.Dense(11, 2, rng=2)).in_features
    3
    """

    features: Final[int]
    frequencies: Final[int]
    dim: Final[int]
    in_features: Final[int]  # type: ignore[misc]
    out_features: Final[int]  # type: ignore[misc]
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]

    frequency, frequency_grad = parameter("frequency"), parameter("frequency", gradient=True)
    phase, phase_grad = parameter("phase"), parameter("phase", gradient=True)
    weight, weight_grad = parameter("weight"), parameter("weight", gradient=True)
    bias, bias_grad = parameter("bias"), parameter("bias", gradient=True)

    _torch = "Periodic"
    _compiled: ClassVar = (
        "forward", "backward", "__call__", "call", "frequency", "frequency_grad", "phase", "phase_grad", "weight",
        "weight_grad", "bias", "bias_grad", "trainable",
    )  # fmt: skip

    def __init__(
        self,
        features: int,
        frequencies: int = 16,
        dim: int = 4,
        sigma: float = 0.1,
        *,
        in_features: int | None = None,
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.features = n = check.integer(features, "Periodic", "features")
        self.frequencies = k = check.integer(frequencies, "Periodic", "frequencies")
        self.dim = check.integer(dim, "Periodic", "dim", 2)
        self.in_features = check.integer(n if in_features is None else in_features, "Periodic", "in_features", n)
        self.out_features = self.in_features + n * (self.dim - 1)
        self.dtype = check.float_dtype(dtype, "Periodic")
        deviation, generator = check.number(sigma, "Periodic", "sigma"), check.generator(rng, "Periodic")
        size = sum(map(math.prod, self._stored(n, k, self.dim).values()))
        self._bind(memory.zeros(size, self.dtype), memory.zeros(size, self.dtype))
        self.frequency[...] = deviation * generator.standard_normal((n, k))
        self.phase[...] = generator.uniform(-np.pi, np.pi, (n, k))
        for linear in (self.weight, self.bias):
            linear[...] = generator.uniform(-(k**-0.5), k**-0.5, linear.shape)

    @staticmethod
    def _stored(n: int, k: int, dim: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters as they are stored, in the order in which they are."""
        return {"frequency": (k, n), "phase": (k, n), "weight": (k, dim - 1, n), "bias": (dim - 1, n)}

    def _cut(self, flat: Array) -> dict[str, Array]:
        shapes = self._stored(self.features, self.frequencies, self.dim)
        parts = np.split(flat, np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1])
        return {name: part.reshape(shape).T for part, (name, shape) in zip(parts, shapes.items(), strict=True)}

    def _extend(self, rows: list[Row], source: int) -> int:
        numbers = float(self.features), float(self.frequencies)
        row = Row(self.in_features, self.out_features, kind=PERIODIC, sources=(source,), attributes=numbers)
        rows.append(row._replace(trainable=self._trainable))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        return {"kind": "Periodic", **{name: getattr(self, name) for name in ARGUMENTS}, "dtype": self.dtype.name}

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", *ARGUMENTS, "dtype"}:
            raise ValueError("damaged, the header describes no Periodic")
        n, k, dim = (check.integer(config[name], "load", name) for name in ARGUMENTS[:3])
        return {name: shape[::-1] for name, shape in cls._stored(n, k, dim).items()}

    def __repr__(self) -> str:
        more = "" if self.in_features == self.features else f", in_features={self.in_features}"
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        return f"Periodic({self.features}, frequencies={self.frequencies}, dim={self.dim}{more}{dtype})"
