"""Embeddings of columns of codes."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check, memory
from fastbp._base.codes import Codes
from fastbp._base.guard import set_unguarded
from fastbp.kernels.ops.kinds.embedding import EMBEDDING, embedding_table
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn.layer import known
from fastbp.nn.parts import Parted

__all__ = ["Embedding"]

Array = NDArray[Any]


@known
class Embedding(Parted):
    """Embeddings of columns of codes: ``y = [other columns of x, weights[0][codes], weights[1][codes], ...]``.

    Each of the named columns of x holds codes, the whole numbers from 0 to below its cardinality. In y come first the
    other columns, in their order, then for each named one, in the order of `columns`, the row of its table that the
    code of the sample names. Numbers that are no codes, NaN and fractions too, are refused wherever x is taken, before
    anything is changed; those of a memory map when their batch is read.

    It is the first layer of a model, and the layers after it say how many columns x has: those that follow have
    ``out_features - sum(dims) + len(columns)``. Codes have no gradient; that of x is 0 there.

    Parameters
    ----------
    cardinalities : sequence of int
        How many codes each column has. In float32, which has no other whole numbers, at most ``2**24``.
    dims : int or sequence of int
        How many numbers a code becomes, for all columns or for each.
    columns : sequence of int
        Which columns of x hold codes, as many as there are cardinalities.
    dtype : {"float32", "float64"}, default "float32"
        Of parameters and results.
    rng : int or numpy.random.Generator, optional
        Seed of the initial weights, which are N(0, 1) as PyTorch's; without it they differ from run to run.

    Attributes
    ----------
    weights, weight_grads : tuple of ndarray of shape (cardinality, dim)
        A table for each column, as of PyTorch's ``nn.Embedding``, and what the last backward pass or training step
        left: live views of the memory that the kernels read. `Sequential.parameters` names them "0.0.weight",
        "0.1.weight", ... . Rows of codes that a batch does not have get a gradient of 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or out of range, or they do not fit together.

    Examples
    --------
    A table of two measures and two codes, of 12 months and of 7 days:

    >>> import numpy as np, fastbp
    >>> codes = fastbp.Embedding([12, 7], dims=[4, 3], columns=[1, 3], rng=0)
    >>> model = fastbp.Sequential(codes, fastbp.Dense(2 + 4 + 3, 5, rng=1))
    >>> model.in_features, codes.out_features
    (4, 9)
    >>> model.predict([[0.5, 11, -1.2, 6], [0.1, 0, 0.4, 2]]).shape
    (2, 5)
    >>> model.predict([[0.5, 12, -1.2, 6]])
    Traceback (most recent call last):
    ValueError: Sequential expects codes in 0..11 in column 1 of x, got 12.0 in row 0
    """

    cardinalities: Final[tuple[int, ...]]
    dims: Final[tuple[int, ...]]
    columns: Final[tuple[int, ...]]
    in_features: int | None
    out_features: int | None
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]

    _reads_codes = True
    _torch = "Embedding"
    _compiled: ClassVar = (
        "in_features", "out_features", "dtype", "__call__", "call", "forward", "backward", "weights", "weight_grads",
        "trainable",
    )  # fmt: skip

    def __init__(
        self,
        cardinalities: Sequence[int],
        dims: int | Sequence[int],
        columns: Sequence[int],
        *,
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.dtype = check.float_dtype(dtype, "Embedding")
        most = 2 ** (1 + np.finfo(self.dtype).nmant)
        self.cardinalities = _integers(cardinalities, "cardinalities", 1, most)
        count = len(self.cardinalities)
        if isinstance(dims, (int, np.integer)):
            dims = [dims] * count
        self.dims, self.columns = _integers(dims, "dims", 1), _integers(columns, "columns", 0)
        if not len(self.dims) == len(self.columns) == count:
            raise ValueError(
                f"Embedding expects as many cardinalities, dims and columns, got {count}, {len(self.dims)} and "
                f"{len(self.columns)}"
            )
        if len(set(self.columns)) < count:
            raise ValueError(f"Embedding expects each column once, got columns {self.columns}")
        self.in_features = self.out_features = None
        self._widens = sum(self.dims) - count
        size = sum(map(math.prod, self._table_shapes()))
        generator = check.generator(rng, "Embedding")
        self._bind(memory.zeros(size, self.dtype), memory.zeros(size, self.dtype))
        for weight in self.weights:
            weight[...] = generator.standard_normal(weight.shape)

    def _table_shapes(self) -> list[tuple[int, int]]:
        return list(zip(self.cardinalities, self.dims, strict=True))

    def _cut(self, flat: Array) -> dict[str, Array]:
        places = np.cumsum([math.prod(shape) for shape in self._table_shapes()])[:-1]
        tables = zip(np.split(flat, places), self._table_shapes(), strict=True)
        return {f"{k}.weight": table.reshape(shape) for k, (table, shape) in enumerate(tables)}

    @property
    def weights(self) -> tuple[Array, ...]:
        """The tables, live views."""
        return tuple(value for value, _ in self._parts.values())

    @property
    def weight_grads(self) -> tuple[Array, ...]:
        """The gradients of the tables."""
        return tuple(gradient for _, gradient in self._parts.values())

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        if width <= max(self.columns):
            raise ValueError(
                f"Embedding expects columns below {width}, which the layers after it leave for x; got {self.columns}"
            )
        set_unguarded(self, "in_features", width)
        set_unguarded(self, "out_features", width + self._widens)
        self._codes = Codes(embedding_table(width, self.cardinalities, self.dims, self.columns))

    def _extend(self, rows: list[Row], source: int) -> int:
        assert self.in_features is not None
        assert self.out_features is not None
        assert self._codes is not None
        table = self._codes.table
        row = Row(self.in_features, self.out_features, kind=EMBEDDING, sources=(source,), table=table)
        rows.append(row._replace(trainable=self._trainable))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        lists = {name: list(getattr(self, name)) for name in ("cardinalities", "dims", "columns")}
        return {"kind": "Embedding", **lists, "dtype": self.dtype.name}

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", "cardinalities", "dims", "columns", "dtype"}:
            raise ValueError("damaged, the header describes no Embedding")
        shapes = zip(*(_integers(config[name], name, 1) for name in ("cardinalities", "dims")), strict=True)
        return {f"{k}.weight": shape for k, shape in enumerate(shapes)}

    def __repr__(self) -> str:
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        lists = (list(values) for values in (self.cardinalities, self.dims, self.columns))
        return f"Embedding({', '.join(map(repr, lists))}{dtype})"


def _integers(values: Any, name: str, smallest: int, largest: int = 2**53) -> tuple[int, ...]:
    """Return whole numbers, at least one."""
    if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)) or len(values) == 0:
        raise TypeError(f"Embedding expects {name} to be a sequence of ints, got {values!r}")
    return tuple(check.integer(value, "Embedding", f"{name}[{i}]", smallest, largest) for i, value in enumerate(values))
