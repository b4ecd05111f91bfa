"""What a model is: layers that follow each other, all parameters in one flat buffer."""

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check, memory
from fastbp._base.console import thousands
from fastbp._base.guard import Guarded
from fastbp.kernels.run.fused import fused
from fastbp.kernels.run.plan import Layer as Row
from fastbp.kernels.run.plan import check_members, make_plan, members_of, on_sparse, place_buffers, without_training
from fastbp.nn import buffers
from fastbp.nn.layer import Layer, check_chain, described, settle
from fastbp.nn.own_activations import with_labels

__all__ = ["Stack"]

Array = NDArray[Any]


class Stack(Guarded):
    """The layers of a `Sequential`, their names, shapes and parameters."""

    layers: Final[tuple[Any, ...]]  # type: ignore[misc]
    dtype: Final[np.dtype[Any]]  # type: ignore[misc]
    metadata: dict[str, Any]

    def __init__(self, *layers: Layer) -> None:
        width, _, dtype = check_chain(layers, "Sequential")
        if width is None or dtype is None:
            raise ValueError(f"Sequential expects a layer that has in_features of its own, got {layers}")
        settle(layers, width, dtype)
        size, cells = sum(layer._size for layer in layers), sum(layer._cells for layer in layers)
        flat = memory.zeros(size, dtype), memory.zeros(size, dtype), memory.zeros(cells, np.dtype(np.int64))
        self._hold(layers, *flat, [0])
        start = first = 0
        for layer in layers:
            end, last = start + layer._size, first + layer._cells
            layer._move(self._params[start:end], self._grads[start:end])
            layer._move_buffers(self._buffers[first:last])
            layer._adopt(self)
            start, first = end, last

    def _hold(self, layers: Sequence[Layer], params: Array, grads: Array, buffers: Array, freezes: list[int]) -> None:
        """Take layers that know their sizes, flat memory for them, and how often one's `trainable` has changed."""
        self.layers = tuple(layers)  # type: ignore[misc]
        self._codes = layers[0]._codes
        self._in_features: int = self.layers[0].in_features
        rows = self._rows()
        check_members(rows)
        self._members = members_of(rows)[-1]
        self._outputs = rows[-1].out_features
        self.dtype = params.dtype  # type: ignore[misc]
        self.metadata = {}
        self._params, self._grads, self._buffers, self._freezes = params, grads, buffers, freezes

    def _trainable_changed(self) -> None:
        """Note that a layer's `trainable` has changed."""
        self._freezes[0] += 1

    @property
    def in_features(self) -> int:
        """Columns of the input."""
        return self._in_features

    @property
    def out_features(self) -> int:
        """Columns of the output: those of each member, one after another."""
        return self._outputs * self._members

    @property
    def members(self) -> int:
        """How many members each row becomes, see `Members`; 1 in a model without."""
        return self._members

    def _rows(self) -> list[Row]:
        """Return the layers as the kernels' planner sees them."""
        rows: list[Row] = []
        top = -1
        for layer in self.layers:
            top = layer._extend(rows, top)
        return fused(rows)

    def _rows_for(self, *, sparse: bool, train: bool) -> list[Row]:
        """Return `_rows` as they are for a batch that is sparse, or not."""
        if not sparse:
            return self._rows()
        rows = on_sparse(self._rows() if train else without_training(self._rows()))
        if rows is None:
            raise TypeError(
                f"{type(self).__name__} expects x to be a dense array, as it is read by other layers than Dense ones; "
                "call .toarray() first"
            )
        return rows

    def _plan(self, capacity: int, *, train: bool, target_width: int = 0, sparse: bool = False) -> tuple[Array, Array]:
        rows = self._rows_for(sparse=sparse, train=train)
        plan, layout = make_plan(rows, self.dtype.itemsize, capacity, train=train, target_width=target_width)
        place_buffers(plan, self._buffers)
        return plan, layout

    def parameters(self) -> dict[str, Array]:
        """Return the parameters by name: ``"0.weight"``, ``"0.bias"``, ...; live views."""
        return {name: value for name, (value, _) in self._named().items()}

    def gradients(self) -> dict[str, Array]:
        """Return the gradients by the parameters' names; live views."""
        return {name: gradient for name, (_, gradient) in self._named().items()}

    def _named(self) -> dict[str, tuple[Array, Array]]:
        """Return parameters and gradients by name."""
        return {f"{i}.{name}": pair for i, layer in enumerate(self.layers) for name, pair in layer._named().items()}

    def buffers(self) -> dict[str, Array]:
        """Return the state of layers that is no parameter by name, such as ``"1.running_mean"``; live views.

        Training writes it, and the optimizer does not know of it.

        Examples
        --------
        >>> import fastbp
        >>> model = fastbp.Sequential(fastbp.Dense(4, 8, "relu", rng=0), fastbp.BatchNorm(8), fastbp.Dense(8, 3, rng=1))
        >>> list(model.buffers())
        ['1.running_mean', '1.running_var', '1.num_batches_tracked']
        """
        parameters = self._named()
        return {name: value for name, value in self._tensors().items() if name not in parameters}

    def _tensors(self) -> dict[str, Array]:
        """Return parameters and buffers by name, layer after layer: all that a file has; live views."""
        return {f"{i}.{name}": value for i, layer in enumerate(self.layers) for name, value in layer._tensors().items()}

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the parameters and buffers, each C-contiguous, by name, as PyTorch's."""
        return {name: np.array(value, order="C") for name, value in self._tensors().items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Set all parameters and buffers.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            An array for each name in `parameters` and `buffers`, of the same shape and dtype; torch tensors on the CPU
            will do.

        Raises
        ------
        KeyError
            If a name is missing, or unknown.
        TypeError, ValueError
            If a dtype or a shape differs, a number is NaN, or a variance or a count negative. The model is unchanged
            then.
        """
        current = self._tensors()
        if missing := sorted(current.keys() - state_dict.keys()):
            raise KeyError(f"load_state_dict expects {', '.join(missing)}, which the given names lack")
        if unknown := sorted(state_dict.keys() - current.keys()):
            raise KeyError(f"load_state_dict expects no {', '.join(unknown)}; the names are {', '.join(current)}")
        checked = {}
        for name, value in current.items():
            check.no_mask(state_dict[name], "load_state_dict", name)
            array = check.apart(np.asarray(state_dict[name]), self._params, self._buffers)
            if array.dtype != value.dtype:
                raise TypeError(f"load_state_dict expects {name} of dtype {value.dtype}, got {array.dtype}")
            checked[name] = buffers.checked(name, array, value, "load_state_dict")
        for name, array in checked.items():
            current[name][...] = array

    def _kept(self) -> dict[str, Array]:
        """Return a copy of all that training changes, by name: for `_bring_back`."""
        kept = {"params": self._params.copy()}
        return kept | {"buffers": self._buffers.copy()} if self._buffers.size else kept

    def _bring_back(self, kept: Mapping[str, Array]) -> None:
        """Set all that training changes to what `_kept` returned."""
        self._params[...] = kept["params"]
        if self._buffers.size:
            self._buffers[...] = kept["buffers"]

    def summary(self) -> str:
        """Return a table of the layers, their output shapes and numbers of parameters.

        Where a layer is not `trainable`, there is a column of how many parameters training changes.

        Examples
        --------
        >>> import fastbp
        >>> print(fastbp.mlp([784, 128, 10], rng=0).summary())
        layer  activation  output       parameters
        0      relu        (batch, 128)    100 480
        1      identity    (batch, 10)       1 290
        total  float32                     101 770
        """
        frozen = {
            name
            for i, layer in enumerate(self.layers)
            for name, each in layer._inside(str(i))
            if not each.trainable and each._size
        }
        lines = [("layer", "activation", "output", "parameters", "trainable")]
        changed = 0
        members = itertools.accumulate((layer._spreads for layer in self.layers), operator.mul)
        for i, (layer, each) in enumerate(zip(self.layers, members, strict=True)):
            rows = "batch" if each == 1 else f"batch * {each}"
            for name, what, width, size in layer._lines(str(i)):
                trained = 0 if name in frozen else size
                lines.append((name, what, f"({rows}, {width})", thousands(size), thousands(trained)))
                changed += trained
        lines.append(("total", self.dtype.name, "", thousands(self._params.size), thousands(changed)))
        columns = [*zip(*lines, strict=True)][: 5 if frozen else 4]
        sides = [str.ljust, str.ljust, str.ljust, str.rjust, str.rjust]
        filled = []
        for side, column in zip(sides, columns, strict=False):
            width = max(map(len, column))
            filled.append([side(cell, width) for cell in column])
        return "\n".join(map("  ".join, zip(*filled, strict=True)))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def _config(self) -> list[dict[str, Any]]:
        return [described(layer) for layer in self.layers]

    def _labels(self) -> list[dict[str, Any]]:
        """Return what a file says of the layers: of an activation its name."""
        return [with_labels(described(layer)) for layer in self.layers]
