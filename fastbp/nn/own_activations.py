"""Activations of a user's own, by a formula in the language that the library's are written in."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from fastbp._base import check
from fastbp._base.guard import Guarded
from fastbp._base.schedule import Schedule
from fastbp._base.schedule_file import Functions, from_file, to_file
from fastbp.kernels import activations as kernels
from fastbp.kernels.ops import by_hand

__all__ = ["OwnActivation", "activation", "activations_by_name", "chosen_activation"]

Formula = Callable[[Any, Any], tuple[Any, Any]]


class OwnActivation(Guarded):
    """An activation that `activation` made of a formula; see there.

    Attributes
    ----------
    name : str
    formula : callable
        As it was given.
    """

    name: Final[str]
    formula: Final[Formula]

    def __init__(self, name: str, formula: Formula) -> None:
        self.name, self.formula = name, formula
        self._kind = kernels.own_activation(name, formula)

    def __reduce__(self) -> Any:
        return OwnActivation, (self.name, self.formula)

    def __repr__(self) -> str:
        return f"activation({self.name!r}, {self.formula.__name__})"


def activation(name: str, formula: Formula) -> OwnActivation:
    """Make an activation of a formula, to be compiled into networks; its slope is checked by differences.

    The formula is ``(v, z)`` to ``(a, slope)``, g(z) and g'(z), for a vector of numbers at a time: sums, differences,
    products and quotients of vectors and constants; ``v.maximum``, ``v.minimum``, ``v.abs``, ``v.select``, ``v.fma``
    and what else ``v`` has; exp, log and more from ``fastbp.kernels.simd.elementary``. The files in
    ``kernels/activations/`` are examples. It is called when code is made of it, not with numbers.

    The result goes where `Dense` and `mlp` take a name. A file that ``save`` or a checkpoint writes has its name as a
    label: `fastbp.load` and `Trainer.load_checkpoint` are given it, ``activations=[...]``.

    Parameters
    ----------
    name : str
        An identifier that is no activation of the library's.
    formula : callable

    Returns
    -------
    OwnActivation

    Raises
    ------
    TypeError
        If code cannot be made of the formula.
    ValueError
        If the name does not fit, or somewhere from -6 to 6 the slope is not that of differences.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> def squared_relu(v, z):
    ...     r = v.maximum(z, 0.0)
    ...     return r * r, 2.0 * r
    >>> mine = fastbp.activation("squared_relu", squared_relu)
    >>> layer = fastbp.Dense(2, 2, mine, init=lambda rng, shape: np.eye(2))
    >>> layer.forward([[3.0, -1.0]])
    array([[9., 0.]], dtype=float32)
    """
    if not isinstance(name, str) or not name.isidentifier() or name in kernels.ACTIVATIONS:
        raise ValueError(f"activation expects name to be an identifier, and none of the library's names, got {name!r}")
    if not callable(formula) or not hasattr(formula, "__code__"):
        raise TypeError(f"activation expects formula to be a function (v, z) to (a, slope), got {formula!r}")
    made = OwnActivation(name, formula)
    _check_slope(made)
    return made


def chosen_activation(given: Any, who: str) -> kernels.Activation:
    """Return what a layer's argument names, or one of a user's own is."""
    if isinstance(given, OwnActivation):
        return given._kind
    kind: kernels.Activation = check.choice(given, kernels.ACTIVATIONS, who, "activation")
    return kind


def activations_by_name(activations: Iterable[Any], who: str) -> Mapping[str, OwnActivation]:
    """Return activations that are given for the names in a file."""
    found = {}
    if not isinstance(activations, Iterable):
        raise TypeError(f"{who} expects activations to be a list of them, got {type(activations).__name__}")
    for made in activations:
        if not isinstance(made, OwnActivation):
            raise TypeError(f"{who} expects activations that fastbp.activation made, got {type(made).__name__}")
        found[made.name] = made
    return found


def with_labels(config: dict[str, Any]) -> dict[str, Any]:
    """Return a layer's description as files have it: names in place of the user's activations, schedules as data."""
    found = {name: to_file(value) if isinstance(value, Schedule) else value for name, value in config.items()}
    if isinstance(config.get("activation"), OwnActivation):
        found["activation"] = config["activation"].name
    if "layers" in config:
        found["layers"] = [with_labels(inner) for inner in config["layers"]]
    return found


def without_labels(config: dict[str, Any], own: Mapping[str, OwnActivation], functions: Functions) -> dict[str, Any]:
    """Return a file's description of a layer with activations of the user's in place of their names, and schedules."""
    found, name = {key: from_file(value, functions) for key, value in config.items()}, config.get("activation")
    if isinstance(name, str) and name not in kernels.ACTIVATIONS:
        if name not in own:
            raise ValueError(f"it has an activation {name!r}, which is none of fastbp's: pass yours, activations=[...]")
        found["activation"] = own[name]
    if "layers" in config:
        found["layers"] = [without_labels(inner, own, functions) for inner in config["layers"]]
    return found


def _values(made: OwnActivation, z: Any) -> tuple[Any, Any]:
    """Return g(z) and g'(z) as the kernels compute them."""
    a, slope = np.empty_like(z), np.empty_like(z)
    by_hand.dense_forward(z, np.ones((1, 1)), np.empty(0), made._kind.code, True, 1, a, slope)
    return a, slope


def _check_slope(made: OwnActivation) -> None:
    z = np.linspace(-6, 6, 241)[:, None] + 0.0123456789  # off the places where kinks are likely
    step = 1e-6
    try:
        _, slope = _values(made, z)
        above, below = _values(made, z + step)[0], _values(made, z - step)[0]
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # whatever the formula does when it is called
        raise TypeError(f"activation expects {made.name} to be a formula (v, z) to (a, slope): {error}") from error
    numerical = (above - below) / ((z + step) - (z - step))
    with np.errstate(invalid="ignore"):
        right = np.abs(slope - numerical) <= 1e-6 + 1e-4 * np.abs(numerical)
    wrong = np.flatnonzero(~(right | (np.isnan(slope) & np.isnan(numerical))))
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"activation expects the slope {numerical[i, 0]:.6g} of {made.name} at {z[i, 0]:.6g}, by differences, got "
            f"{slope[i, 0]:.6g}"
        )
    check.integer(int(np.isfinite(numerical).sum()), "activation", f"places where {made.name} is finite")
