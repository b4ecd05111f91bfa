"""Losses of a user's own: by a compiled function of one row, or by a function of whole batches in NumPy."""

import dis
import functools
import importlib
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbp._base import check
from fastbp._base.guard import guarded_record, set_unguarded
from fastbp.kernels import entries
from fastbp.kernels import losses as kernels
from fastbp.nn.loss import Loss, Targets
from fastbp.nn.losses import named_loss

__all__ = ["FunctionLoss", "OwnLoss", "RowLoss", "row_loss"]

Array = NDArray[Any]
Row = Callable[[Array, Array, Array], float]


@guarded_record
@dataclass(frozen=True, kw_only=True)
class OwnLoss(Loss):
    """A loss whose formula is a function of the user's."""

    function: Callable[..., Any]

    _says: ClassVar[str] = "any"

    @property
    def name(self) -> str:
        """The name of the function."""
        return self._who

    def choices(self) -> dict[str, Any]:
        """Return the options beside the function."""
        return {"reduction": self.reduction}

    def check_outputs(self, outputs: int) -> None:
        """Do nothing: whether the outputs suit is known to the function alone."""


class _Inside(threading.local):
    """The losses whose functions a thread is in, by their `id`."""

    def __init__(self) -> None:
        self.losses: set[int] = set()


_inside = _Inside()


def takes_weight(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `sample_weight`."""
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a builtin function
        return False


@guarded_record
@dataclass(frozen=True, kw_only=True)
class FunctionLoss(OwnLoss):
    """A loss by a function of outputs and targets in NumPy, as a `Trainer` makes it of what it is given.

    Attributes
    ----------
    function : callable
        ``function(outputs, targets) -> (loss, doutputs)``.
    """

    _code: ClassVar[int] = -1  # of no kernel
    _of_members = False

    def __post_init__(self) -> None:
        set_unguarded(self, "_who", getattr(self.function, "__name__", type(self.function).__name__))
        super().__post_init__()

    @property
    def takes_weight(self) -> bool:
        """Whether the function has a parameter `sample_weight`."""
        return takes_weight(self.function)

    def not_itself(self) -> RuntimeError:
        """Return the error about a function that uses the trainer whose loss it is."""
        return RuntimeError(
            f"Trainer expects the loss {self.name} to make no steps of this trainer itself, nor to call its evaluate"
        )

    def check_call(self, sample_weight: Any) -> None:
        """Raise TypeError for weights that the function would not see, RuntimeError for a call out of the function."""
        if id(self) in _inside.losses:
            raise self.not_itself()
        if sample_weight is not None and not self.takes_weight:
            raise TypeError(
                f"Trainer expects no sample_weight with the loss {self.name}, which has no parameter of that name: "
                f"write {self.name}(outputs, targets, sample_weight)"
            )

    def target_width(self, outputs: int) -> int:
        """Return 0: the kernels do not see the targets."""
        return 0

    def targets(self, y: Any, batch: int, outputs: int, dtype: DTypeLike) -> Targets:
        """Check that there are as many targets as rows."""
        values = np.asarray(y)
        if values.ndim == 0 or len(values) != batch:
            shape = check.shape_text(values.shape)
            raise ValueError(f"{self.name} expects targets for each of {batch} rows, got an array of shape {shape}")
        return Targets(self._code, np.empty(0, np.int64), values, np.empty(0, dtype))

    def evaluate(
        self, z: Array, y: Any, sample_weight: Any = None, out: Array | None = None, reduction: str | None = None
    ) -> tuple[float, Array]:
        """Return what the function does of outputs (batch, outputs), checked: the loss, and the gradient by them."""
        more = {"sample_weight": sample_weight} if self.takes_weight else {}
        inside = _inside.losses
        inside.add(id(self))
        try:
            result = self.function(z, np.asarray(y), **more)
        finally:
            inside.discard(id(self))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(
                f"Trainer expects the loss {self.name} to return (loss, doutputs), got {type(result).__name__}"
            )
        value = np.asarray(result[0])
        if value.ndim > 0 or value.dtype.kind not in "fiub":
            raise TypeError(
                f"Trainer expects the loss that {self.name} returns to be a number, got {type(result[0]).__name__} of "
                f"shape {check.shape_text(value.shape)}"
            )
        gradient = check.floats(result[1], z.dtype, "Trainer", f"doutputs of {self.name}")
        return float(value), check.exact_shape(gradient, z.shape, "Trainer", f"doutputs of {self.name}")

    def value(self, z: Array, y: Any, sample_weight: Any = None) -> float:
        """Return the loss of outputs (batch, outputs), checked."""
        return self.evaluate(z, y, sample_weight)[0]

    def __repr__(self) -> str:
        return f"FunctionLoss({self.name})"


def loss_of(loss: Any) -> Loss:
    """Return the loss of a name, or of a function of outputs and targets."""
    return FunctionLoss(function=loss) if callable(loss) and not isinstance(loss, type) else named_loss(loss)


@guarded_record
@dataclass(frozen=True, kw_only=True)
class RowLoss(OwnLoss):
    """A loss that `row_loss` made of a function of one row; see there.

    Attributes
    ----------
    function : callable
        ``function(z, target, dz)``, as it was given.
    target_columns : int or None
        Columns of the targets; None for as many as the model has outputs.
    """

    target_columns: int | None = None

    def __post_init__(self) -> None:
        name = getattr(self.function, "__name__", "")
        if not inspect.isfunction(self.function) or not name.isidentifier():
            raise TypeError(f"row_loss expects a function with a name, got {self.function!r}")
        check.choice(self.reduction, ("mean", "sum"), "row_loss", "reduction")
        if len(inspect.signature(self.function).parameters) != 3:
            raise TypeError(
                f"row_loss expects {name} to be a function of (z, target, dz), got {name}"
                f"{inspect.signature(self.function)}"
            )
        if any(step.opname == "RAISE_VARARGS" for step in dis.get_instructions(self.function)):
            raise TypeError(
                f"row_loss expects {name} not to raise errors, as many threads call it: let it return NaN for a row "
                "that has no loss"
            )
        set_unguarded(self, "_who", name)
        super().__post_init__()
        if self.target_columns is not None:
            check.integer(self.target_columns, "row_loss", "target_columns")
        set_unguarded(self, "_code", kernels.own_loss(self.function).code)

    def target_width(self, outputs: int) -> int:
        """Return how many columns the targets of a network with so many outputs have."""
        return self.target_columns or outputs

    def targets(self, y: Any, batch: int, outputs: int, dtype: DTypeLike) -> Targets:
        """Check targets for a network output of shape (batch, outputs); compile the function."""
        entries.compile_loss(self._code, np.dtype(dtype))
        return super().targets(y, batch, outputs, dtype)

    def choices(self) -> dict[str, Any]:
        """Return the options beside the function."""
        return {"reduction": self.reduction, "target_columns": self.target_columns}

    def __reduce__(self) -> Any:
        function = self.function
        if _found(function.__module__, function.__qualname__) is not function:
            raise TypeError(
                f"a pickle keeps {self._who} by its name, and {function.__module__}.{function.__qualname__} is not it: "
                "define it at the top of a module"
            )
        return _rebuild, (function.__module__, function.__qualname__, self.choices())

    def __deepcopy__(self, memo: Any) -> "RowLoss":
        return self

    def __repr__(self) -> str:
        return f"row_loss({self._who}, reduction={self.reduction!r})"


def _found(module: str, name: str) -> Any:
    """Return the function that a name in a module stands for, decorated or not."""
    found = functools.reduce(lambda place, part: getattr(place, part, None), name.split("."), _module(module))
    return found.function if isinstance(found, RowLoss) else found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _rebuild(module: str, name: str, options: dict[str, Any]) -> RowLoss:
    return RowLoss(function=_found(module, name), **options)


@overload
def row_loss(function: Row) -> RowLoss: ...
@overload
def row_loss(*, reduction: str = "mean", target_columns: int | None = None) -> Callable[[Row], RowLoss]: ...


def row_loss(function: Row | None = None, *, reduction: str = "mean", target_columns: int | None = None) -> Any:
    """Make a loss of a function of one row, to be compiled into the training step.

    The function is plain Numba, ``(z, target, dz)``: it fills dz, the gradient of the loss by z, and returns the row's
    loss. There is no Python in the loop, and all threads call it. It can go wherever a loss object can: to a
    `Trainer`, for `step`, `fit` and `evaluate`, and to `gradcheck`, which says whether dz is right.

    It may use numbers, the three arrays, NumPy as Numba knows it, and functions under ``numba.njit``; it may not raise
    errors nor change z or target. dz holds zeros before. Machine code is kept on disk, and is compiled anew when the
    function changes, or a constant or a function that it uses.

    Parameters
    ----------
    function : callable
        Of three arrays of the model's dtype, float32 or float64: z, a row of outputs; target, the row of targets; dz,
        which has z's shape.
    reduction : {"mean", "sum"}, default "mean"
        "mean" divides the sum of the rows' losses by the number of rows, or by the sum of their weights. (`mse_loss`
        divides by the number of elements: divide by ``z.size`` in the function for that.)
    target_columns : int, optional
        Columns of the targets; without it as many as the model has outputs. Class labels go as one column of numbers.

    Returns
    -------
    RowLoss
        A loss object.

    Raises
    ------
    TypeError, ValueError
        If the function is none of three parameters, or another argument does not fit. That the function cannot be
        compiled is a TypeError of the first call that needs it, before anything is changed.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> @fastbp.row_loss
    ... def huber(z, target, dz):
    ...     loss = 0.0
    ...     for i in range(z.size):
    ...         d = z[i] - target[i]
    ...         if abs(d) <= 1:
    ...             loss += d * d / 2
    ...             dz[i] = d
    ...         else:
    ...             loss += abs(d) - z.dtype.type(0.5)
    ...             dz[i] = np.sign(d)
    ...     return loss
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((256, 3))
    >>> y = 2 * x[:, :1] - x[:, 1:2]
    >>> model = fastbp.mlp([3, 16, 1], "tanh", rng=0)
    >>> fastbp.gradcheck(model, huber, x[:8], y[:8]).ok
    True
    >>> trainer = fastbp.Trainer(model, huber, fastbp.Adam(1e-2))
    >>> history = trainer.fit(x, y, epochs=50, batch_size=32, rng=0, progress=False)
    >>> history["loss"][-1] < 0.01
    True
    """
    if function is None:
        return functools.partial(_make, reduction=reduction, target_columns=target_columns)
    return _make(function, reduction=reduction, target_columns=target_columns)


def _make(function: Row, *, reduction: str, target_columns: int | None) -> RowLoss:
    return RowLoss(function=function, reduction=reduction, target_columns=target_columns)
