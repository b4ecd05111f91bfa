"""Layers whose classes are made from the table of kinds: one op each, with as many features out as in."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check, memory
from fastbp._base.guard import set_unguarded
from fastbp._base.made import checked, docstring, parameters_of
from fastbp.kernels.ops.kinds import KINDS
from fastbp.kernels.ops.registry import Buffer, Kind
from fastbp.kernels.registry import Public
from fastbp.kernels.run.plan import Layer as Row
from fastbp.nn import buffers
from fastbp.nn.layer import LAYERS, WITHOUT_PARAMETERS, Layer, known
from fastbp.nn.weighted import Weighted

__all__ = ["MADE", "OfKind", "publish"]


Array = NDArray[Any]
# Attributes of each that stay as the layer was made
FIXED = ("in_features", "out_features", "dtype")


class OfKind(Layer):
    """A layer without parameters; what comes before it says how many features it has, and of which dtype."""

    _kind: ClassVar[Kind]
    _public: ClassVar[Public]
    _parameters: ClassVar[dict[str, inspect.Parameter]]  # of the constructor
    _arguments: dict[str, Any]  # its arguments, checked, by name
    _compiled: ClassVar[tuple[str, ...]] = WITHOUT_PARAMETERS

    def _begin(self, given: dict[str, Any]) -> None:
        """Take the constructor's arguments."""
        who = type(self).__name__
        self._arguments = dict(given)
        varies = self._kind.only_training  # what predicts has to have its numbers without a trainer
        for number in self._kind.numbers:
            value = given[number.name]
            if value is not None or number.none is None:
                found = checked(number, value, who, varies)
                self._arguments[number.name] = value = found if len(found) > 1 else found[0]
            setattr(self, number.name, value)
        self._take_features()

    @property
    def _attributes(self) -> tuple[float, ...]:
        """Its numbers as a plan has them."""
        found: list[float] = []
        for number in self._kind.numbers:
            value = self._arguments[number.name]
            if value is None:
                assert number.none is not None
                value = number.none(self.dtype)
            found += value if isinstance(value, tuple) else [value]
        return tuple(found)

    def _take_features(self) -> None:
        self.in_features = self.out_features = self.dtype = None

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        for name, value in (("in_features", width), ("out_features", width), ("dtype", dtype)):
            set_unguarded(self, name, value)

    def _extend(self, rows: list[Row], source: int) -> int:
        n, named = self.in_features, self._named()
        assert n is not None
        affine = "weight" in named or not self._kind.affine
        row = Row(n, n, bias="bias" in named, kind=self._kind, sources=(source,), attributes=self._attributes)
        rows.append(row._replace(trainable=self._trainable, affine=affine))
        return len(rows) - 1

    def _config(self) -> dict[str, Any]:
        return {"kind": self._public.name, **self._arguments}

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        if config.keys() != {"kind", *cls._parameters}:
            raise ValueError(f"damaged, the header describes no {cls.__name__}")
        return {}

    def __repr__(self) -> str:
        shown = [
            f"{name}={value!r}" if i else repr(value)
            for i, (name, value) in enumerate(self._arguments.items())
            if i == 0 or value != self._parameters[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class WeightedOfKind(Weighted, OfKind):
    """A layer with a weight for each feature and, if the kind has them, a bias and buffers."""

    _buffers: dict[str, Array]

    def _take_features(self) -> None:
        who, name, given = type(self).__name__, self._public.features, self._arguments
        features = given[name]
        if isinstance(features, (tuple, list)):
            if len(features) != 1:
                raise ValueError(f"{who} expects {name} to be one number, got {features!r}")
            features = features[0]
        n = self.in_features = self.out_features = check.integer(features, who, name)
        flags = {flag: check.flag(given[flag], who, flag) for flag in ("affine", "bias") if flag in given}
        self.dtype = check.float_dtype(given["dtype"], who)
        given |= {name: n, "dtype": self.dtype.name} | flags
        affine, biased = flags.get("affine", True), any(flags.values())
        size = n * affine * (1 + biased)
        self._bind(memory.zeros(size, self.dtype), memory.zeros(size, self.dtype), (n * affine,))
        self._w[...] = 1
        self._bind_buffers(memory.zeros(self._cells, np.dtype(np.int64)))
        for buffer in self._kind.buffers:
            self._buffers[buffer.name][...] = buffer.initial

    def _bind_buffers(self, cells: Array) -> None:
        """Take flat memory for the buffers."""
        assert self.dtype is not None
        self._buffers = buffers.views(self._kind.buffers, cells, self.dtype) if cells.size else {}

    @property
    def _cells(self) -> int:
        assert self.in_features is not None
        return len(self._kind.buffers) * self.in_features

    def _move_buffers(self, cells: Array) -> None:
        before = self._buffers
        self._bind_buffers(cells)
        for name, value in before.items():
            self._buffers[name][...] = value

    def _tensors(self) -> dict[str, Array]:
        return super()._tensors() | self._buffers

    @property
    def weight(self) -> Any:
        """The weights, a live view of shape (features,); None without any."""
        return self._w if self._w.size else None

    @weight.setter
    def weight(self, value: ArrayLike) -> None:
        self._set(self.weight, value, "weight")

    @property
    def weight_grad(self) -> Any:
        """The gradient of the weights; None without any."""
        return self._dw if self._w.size else None

    @weight_grad.setter
    def weight_grad(self, value: ArrayLike) -> None:
        self._set(self.weight_grad, value, "weight_grad")

    def _set(self, target: Array | None, value: ArrayLike, name: str) -> None:
        if not self._w.size:
            raise ValueError(f"{type(self).__name__} expects no {name} to be set: it was made with affine=False")
        super()._set(target, value, name)

    def _settle(self, width: int, dtype: np.dtype[Any]) -> None:
        """Do nothing: it has its own."""

    @classmethod
    def _shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        super()._shapes(config)
        shape = (check.integer(config[cls._public.features], "load", cls._public.features),)
        names = ["weight", "bias"] if config.get("bias") or config.get("affine") else ["weight"]
        return dict.fromkeys(names if config.get("affine", True) else [], shape)

    @classmethod
    def _tensor_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        return cls._shapes(config) | buffers.shapes(cls._kind.buffers, config[cls._public.features])


def _attribute(buffer: Buffer) -> property:
    """Return the attribute of a buffer: a live view, and what is assigned to it is copied there."""

    def get(self: WeightedOfKind) -> Array:
        return self._buffers[buffer.name]

    def put(self: WeightedOfKind, value: ArrayLike) -> None:
        current = self._buffers[buffer.name]
        current[...] = buffers.checked(buffer.name, value, current, type(self).__name__)

    return property(get, put, doc=f"{buffer.text} A live view.")


def publish(kind: Kind) -> type[OfKind]:
    """Make the class of a kind of the kernels' table, and make files know it by its name."""
    public = kind.public
    if public is None:
        raise ValueError(f"publish expects an entry with public names, got {kind.name!r} without")
    if kind.sources != 1 or kind.activates or not kind.bias <= kind.depth(2) <= 1:
        raise ValueError(
            f"publish expects a kind that reads one row, applies no activation, and has a row of weights or none, got "
            f"{kind.name!r}"
        )
    if kind.buffers and not kind.depth(2):
        raise ValueError(f"publish expects buffers of a kind with weights alone, got {kind.name!r}")
    if public.name in LAYERS or public.name in globals():
        raise ValueError(f"publish expects a class with a name of its own, got {public.name!r}")
    weighted = kind.depth(2) > 0
    parameters = _parameters(kind, public, weighted)
    body = {
        "__doc__": _docstring(kind, public, weighted),
        "__module__": __name__,
        "__annotations__": dict.fromkeys((*FIXED, *(number.name for number in kind.numbers)), Final),
        "__init__": _constructor(public.name, parameters),
        "_kind": kind,
        "_public": public,
        "_parameters": {parameter.name: parameter for parameter in parameters},
        "_draws": kind.draws,
        "_torch": public.torch,
        "_couples": kind.couples_rows,
        **{buffer.name: _attribute(buffer) for buffer in kind.buffers},
    }
    made: type[OfKind] = type(public.name, (WeightedOfKind if weighted else OfKind,), body)
    globals()[public.name] = made  # pickle looks there
    return known(made)


def _parameters(kind: Kind, public: Public, weighted: bool) -> list[inspect.Parameter]:
    """Return the parameters of the constructor."""
    either, by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    found = [inspect.Parameter(public.features, either)] if weighted else []
    found += [inspect.Parameter(number.name, either, default=number.default) for number in kind.numbers]
    if kind.bias:
        found.append(inspect.Parameter("affine" if kind.affine else "bias", either, default=True))
    if weighted:
        found.append(inspect.Parameter("dtype", by_name, default="float32"))
    return found


def _constructor(name: str, parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """Return the constructor of a class, as `inspect` and `help` show it."""
    signature = inspect.Signature(parameters)

    def __init__(self: OfKind, *arguments: Any, **options: Any) -> None:
        try:
            bound = signature.bind(*arguments, **options)
        except TypeError as error:
            raise TypeError(f"{name} expects {signature}: {error}") from None
        bound.apply_defaults()
        self._begin(dict(bound.arguments))

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = signature.replace(parameters=[own, *parameters])  # type: ignore[attr-defined]
    return __init__


def _docstring(kind: Kind, public: Public, weighted: bool) -> str:
    """Return the docstring of the class."""
    varies = [number.name for number in kind.numbers if kind.only_training]
    said = {"Parameters": parameters_of(kind.numbers, varies)}
    if weighted:
        said["Parameters"].insert(0, (f"{public.features} : int or sequence of one int", "Features of a row."))
    if kind.affine:
        text = "Whether there are weights, which begin at one, and a bias."
        said["Parameters"].append(("affine : bool, default True", text))
    elif kind.bias:
        text = "Whether there is a bias; it begins at zero, and weight at one."
        said["Parameters"].append(("bias : bool, default True", text))
    if weighted:
        names = ("weight, bias", "weight_grad, bias_grad") if kind.bias else ("weight", "weight_grad")
        none = "; None without one" if kind.affine else "; bias is None without one" if kind.bias else ""
        said["Parameters"].append(('dtype : {"float32", "float64"}, default "float32"', "Of parameters and results."))
        said["Attributes"] = [
            (f"{names[0]} : ndarray of shape (features,)", f"Live views of the memory that the kernels read{none}."),
            (f"{names[1]} : ndarray of shape (features,)", "What the last backward pass or training step left."),
            *((f"{buffer.name} : ndarray", f"{buffer.text} A live view.") for buffer in kind.buffers),
        ]
    said["Raises"] = [("TypeError, ValueError", "If an argument is of the wrong kind, or out of range.")]
    layer = f"fastbp.{public.name}({8 if weighted else ''})"
    example = (
        f'>>> model = fastbp.Sequential(fastbp.Dense(4, 8, "relu", rng=0), {layer}, fastbp.Dense(8, 3, rng=1))\n'
        ">>> model.predict([[0, 0, 0, 0]]).shape\n(1, 3)"
    )
    return docstring(f"{public.text}.\n\n{public.more}".strip(), said, example)


MADE = [publish(kind) for kind in KINDS.values() if kind.public]
