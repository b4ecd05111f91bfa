"""What every layer of a model declares: its sizes, its parameters, and what it is to the kernels."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.codes import Codes
from fastbp._base.guard import Guarded, refuse_overrides
from fastbp.kernels.run.plan import Layer as Row

Array = NDArray[Any]
# Layers by the name of their class, as files have them
LAYERS: dict[str, type["Layer"]] = {}
# What the kernels take the place of in a layer without parameters; "call" is Keras's name.
WITHOUT_PARAMETERS = ("in_features", "out_features", "dtype", "__call__", "call", "forward", "backward", "trainable")


class Layer(Guarded):
    """A layer of a `Sequential`.

    in_features, out_features and dtype are None where the layer takes those of what comes before it and is in no model
    yet.
    """

    in_features: int | None
    out_features: int | None
    dtype: np.dtype[Any] | None

    # Whether its numbers in training are random
    _draws: ClassVar[bool] = False
    # How many more columns it gives than it takes, where what is beside it says how many these are
    _widens: int = 0
    # Whether columns of what it reads hold codes; in a model it is the first layer then, and `_codes` says which
    _reads_codes: ClassVar[bool] = False
    _codes: Codes | None = None
    # The class of PyTorch, in ``torch.nn`` or `torch_modules`, that takes the same arguments and computes the same
    _torch: ClassVar[str] = ""
    # How many rows, members, it makes of each
    _spreads: int = 1
    # Whether in training a row's result depends on the rows beside it
    _couples: ClassVar[bool] = False
    _owner: weakref.ref[Any] | None = None  # the model whose memory the parameters are in
    _trainable: bool = True

    @property
    def owner(self) -> Any:
        """The model that the layer is part of; None without one, or when it is gone."""
        return None if self._owner is None else self._owner()

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters.

        With False they stay as they are in `Trainer.step`, `fit` and `update`, weight decay included, and the gradients
        are 0. Nothing is computed on the way back for layers below the last one that is trainable. It may be changed
        between steps and by callbacks; files, checkpoints and copies keep it. `Adam` and its kin correct the bias of
        their means by the steps of the trainer, so a layer that was frozen from the first step on begins with steps of
        several times the learning rate: make a new trainer then.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        value = check.flag(value, type(self).__name__, "trainable")
        if value != self._trainable:
            self._trainable = value
            for _, gradient in self._named().values():
                gradient[...] = 0
            self._trainable_changed()

    def _trainable_changed(self) -> None:
        """Let the model know."""
        if self.owner is not None:
            self.owner._trainable_changed()

    def _inside(self, name: str) -> "Iterator[tuple[str, Layer]]":
        """Yield the layer and those in it, with their names."""
        yield name, self

    def _each(self) -> "Iterator[Layer]":
        """Yield the layer and those in it."""
        return (layer for _, layer in self._inside(""))

    def _adopt(self, owner: Any) -> None:
        """Become part of a model."""
        self._owner = weakref.ref(owner)  # a cycle of references would wait for the collector

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        """Take the columns and the dtype of what comes before; they fit."""

    def _named(self) -> dict[str, tuple[Array, Array]]:
        """Return parameters and their gradients by name; live views."""
        return {}

    @property
    def _size(self) -> int:
        """How many parameters it has."""
        return sum(value.size for value, _ in self._named().values())

    def _move(self, params: Array, grads: Array) -> None:
        """Move the parameters and the gradients to flat memory of `_size` numbers each."""

    def _tensors(self) -> dict[str, Array]:
        """Return parameters and `buffers` by name, in PyTorch's order: all that a file has; live views."""
        return {name: value for name, (value, _) in self._named().items()}

    @property
    def _cells(self) -> int:
        """How many times 8 bytes the buffers take."""
        return 0

    def _move_buffers(self, cells: Array) -> None:
        """Move the buffers to flat memory of `_cells` int64."""

    def _extend(self, rows: list[Row], source: int) -> int:
        """Append the layer to a plan's rows, where it reads row `source`; return the row of its output."""
        raise NotImplementedError

    @property
    def _work(self) -> float:
        """Floating-point operations of a pass over one row."""
        rows: list[Row] = []
        self._extend(rows, -1)
        return float(sum(row.sizes.effort for row in rows))

    def _lines(self, name: str) -> list[tuple[str, str, int | None, int]]:
        """Return the lines of a summary: name, activation or kind, columns of the output, parameters."""
        return [(name, type(self).__name__, self.out_features, self._size)]

    def _config(self) -> dict[str, Any]:
        """Return what makes a layer of this shape: "kind", and the arguments."""
        raise NotImplementedError

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shapes that a file's description gives the parameters, by name; an error if it is none."""
        raise NotImplementedError

    @classmethod
    def _tensor_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return those of `_tensors`."""
        return cls._shapes(config)

    @classmethod
    def _made(cls, config: dict[str, Any]) -> "Layer":
        """Return the layer that a description is of."""
        return cls(**{name: value for name, value in config.items() if name != "kind"})

    def __reduce__(self) -> tuple[Callable[..., "Layer"], tuple[Any, ...]]:
        return rebuilt, (described(self), {name: value.copy() for name, value in self._tensors().items()})


Class = TypeVar("Class", bound=type[Layer])


def known(cls: Class) -> Class:
    """Make files know a class of layers by its name."""
    LAYERS[cls.__name__] = cls
    return cls


def described(layer: Layer) -> dict[str, Any]:
    """Return what makes such a layer again, see `made`."""
    return layer._config() | ({} if layer._trainable else {"trainable": False})


def kind_of(config: Any, who: str) -> type[Layer]:
    """Return the class of a described layer; one that says no kind is a Dense, as all of fastbp 0.1.0 were."""
    if not isinstance(config, dict):
        raise ValueError("damaged, the header describes no layers")
    kind: type[Layer] = check.choice(config.get("kind", "Dense"), LAYERS, who, "a layer's kind")
    return kind


def made(config: dict[str, Any]) -> Layer:
    """Return a layer as a description says, its parameters as they begin."""
    layer = kind_of(config, "load")._made(_without_trainable(config))
    if "trainable" in config:
        layer.trainable = config["trainable"]
    return layer


def shapes_of(config: Any, *, buffers: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a file's description of a layer gives the parameters, by name; an error if it is none.

    buffers : whether those of the buffers are wanted too
    """
    kind, own = kind_of(config, "load"), _without_trainable(config)
    return kind._tensor_shapes(own) if buffers else kind._shapes(own)


def _without_trainable(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "trainable"}


def rebuilt(config: dict[str, Any], tensors: dict[str, Array]) -> Layer:
    """Return a layer of a pickle."""
    layer = made(config)
    for name, value in layer._tensors().items():
        value[...] = tensors[name]
    return layer


def in_dtype(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return the description of the same layer with another dtype."""
    found = config | {"dtype": dtype} if "dtype" in config else dict(config)
    return found | {"layers": [in_dtype(inner, dtype) for inner in config["layers"]]} if "layers" in config else found


def set_parameter(target: Array | None, value: ArrayLike, who: str, name: str) -> None:
    """Copy an array to where a layer's parameters or gradients are."""
    if target is None:
        raise ValueError(f"{who} expects no {name} to be set: it was made with bias=False")
    if type(value) is np.ndarray and value.__array_interface__ == target.__array_interface__:
        return  # the end of ``layer.weight -= ...``, which has changed the memory itself
    array = check.exact_shape(check.floats(value, target.dtype, who, name), target.shape, who, name)
    target[...] = array if name.endswith("grad") else check.no_nan(array, who, name)


def check_chain(layers: Sequence[Any], who: str) -> tuple[int | None, int | None, np.dtype[Any] | None]:
    """Return columns of the input and of the output, and the dtype, of layers that follow each other; None: any.

    TypeError or ValueError if they do not fit.
    """
    if not layers:
        raise ValueError(f"{who} expects at least one layer, got none")
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"{who} expects layers, got {type(layer).__name__} at position {i}")
        refuse_overrides(layer, who, "layers", private=False)
        if layer._owner is not None or any(layer is other for other in layers[:i]):
            raise ValueError(f"{who} expects layers that belong to no model, got {layer} at position {i}")
        if layer._reads_codes and i > 0:
            raise ValueError(f"{who} expects {layer} to be the first layer, as it reads codes; got it at position {i}")
    first = _first_width(layers)
    dtype = next((layer.dtype for layer in layers if layer.dtype is not None), None)
    width = first
    for i, layer in enumerate(layers):
        if layer.in_features not in (None, width):
            raise ValueError(
                f"{who} expects in_features {width} at position {i}, the out_features before it; "
                f"got {layer.in_features}"
            )
        if layer.dtype is not None and layer.dtype != dtype:
            raise TypeError(f"{who} expects dtype {dtype} at position {i} as before, got {layer.dtype}")
        if layer.in_features is not None:
            width = layer.out_features
        elif width is not None:
            width += layer._widens
    return first, width, dtype


def _first_width(layers: Sequence[Layer]) -> int | None:
    """Return the columns that the first layer takes, as the first tells that has in_features; None where none has."""
    wider = 0
    for layer in layers:
        if layer.in_features is not None:
            return layer.in_features - wider
        wider += layer._widens
    return None


def settle(layers: Sequence[Layer], width: int, dtype: np.dtype[Any]) -> None:
    """Let layers that follow each other know the columns of the input and the dtype."""
    for layer in layers:
        layer._settle(width, dtype)
        assert layer.out_features is not None
        width = layer.out_features
