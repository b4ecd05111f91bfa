"""Residual connections."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fastbp._base.guard import set_unguarded
from fastbp.kernels.ops.kinds.residual import RESIDUAL
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn.layer import Layer, check_chain, described, known, made, settle, shapes_of

__all__ = ["Residual"]

Array = NDArray[Any]


@known
class Residual(Layer):
    """A residual connection: ``y = x + layers(x)``.

    Parameters
    ----------
    *layers : layer
        Each takes what the one before gives; the last gives as many features as the first takes.

    Attributes
    ----------
    layers : tuple of layer

    Raises
    ------
    TypeError, ValueError
        If something is no layer, if sizes or dtypes do not fit, or a layer belongs to a model already.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> block = fastbp.Residual(fastbp.LayerNorm(8), fastbp.Dense(8, 8, "relu", rng=1))
    >>> model = fastbp.Sequential(fastbp.Dense(4, 8, rng=0), block, fastbp.Dense(8, 3, rng=2))
    >>> list(model.parameters())[2:4]
    ['1.0.weight', '1.0.bias']
    """

    layers: Final[tuple[Layer, ...]]
    in_features: int | None
    out_features: int | None
    dtype: np.dtype[Any] | None

    _compiled: ClassVar = ("in_features", "out_features", "dtype", "__call__", "forward", "backward", "trainable")

    def __init__(self, *layers: Layer) -> None:
        first, last, dtype = check_chain(layers, "Residual")
        if layers[0]._reads_codes:
            raise ValueError(f"Residual expects layers whose input can be added to, got codes for {layers[0]}")
        if first != last:
            raise ValueError(f"Residual expects layers that give as many features as they take, {first}; got {last}")
        self.layers = tuple(layers)
        self.in_features, self.out_features, self.dtype = first, last, dtype
        for layer in layers:
            layer._adopt(self)

    @property
    def trainable(self) -> bool:
        """Whether any of its layers is trainable; setting it sets that of all, see `Layer.trainable`."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def _inside(self, name: str) -> Iterator[tuple[str, Layer]]:
        yield name, self
        for i, layer in enumerate(self.layers):
            yield from layer._inside(f"{name}.{i}")

    def _adopt(self, owner: Any) -> None:
        super()._adopt(owner)
        for layer in self.layers:
            layer._adopt(owner)

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        for name, value in (("in_features", width), ("out_features", width), ("dtype", dtype)):
            set_unguarded(self, name, value)
        settle(self.layers, width, dtype)

    def _named(self) -> dict[str, tuple[Array, Array]]:
        return {f"{i}.{name}": pair for i, layer in enumerate(self.layers) for name, pair in layer._named().items()}

    def _move(self, params: Array, grads: Array) -> None:
        start = 0
        for layer in self.layers:
            end = start + layer._size
            layer._move(params[start:end], grads[start:end])
            start = end

    def _tensors(self) -> dict[str, Array]:
        return {f"{i}.{name}": value for i, layer in enumerate(self.layers) for name, value in layer._tensors().items()}

    @property
    def _cells(self) -> int:
        return sum(layer._cells for layer in self.layers)

    def _move_buffers(self, cells: Array) -> None:
        start = 0
        for layer in self.layers:
            end = start + layer._cells
            layer._move_buffers(cells[start:end])
            start = end

    def _extend(self, rows: list[Row], source: int) -> int:
        top = source
        for layer in self.layers:
            top = layer._extend(rows, top)
        assert self.in_features is not None
        rows.append(Row(self.in_features, self.in_features, kind=RESIDUAL, sources=(top, source)))
        return len(rows) - 1

    def _lines(self, name: str) -> list[tuple[str, str, int | None, int]]:
        inner = [line for i, layer in enumerate(self.layers) for line in layer._lines(f"{name}.{i}")]
        return [*inner, (name, "Residual", self.out_features, 0)]

    def _config(self) -> dict[str, Any]:
        return {"kind": "Residual", "layers": [described(layer) for layer in self.layers]}

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", "layers"} or not isinstance(config["layers"], list):
            raise ValueError("damaged, the header describes no Residual")
        return {
            f"{i}.{name}": shape for i, inner in enumerate(config["layers"]) for name, shape in shapes_of(inner).items()
        }

    @classmethod
    def _tensor_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        cls._shapes(config)
        return {
            f"{i}.{name}": shape
            for i, inner in enumerate(config["layers"])
            for name, shape in shapes_of(inner, buffers=True).items()
        }

    @classmethod
    def _made(cls, config: dict[str, Any]) -> Layer:
        return cls(*map(made, config["layers"]))

    def __repr__(self) -> str:
        return f"Residual({', '.join(map(repr, self.layers))})"
