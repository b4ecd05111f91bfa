"""Gradients by finite differences, to check those of a model and a loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check
from fastbp._base.guard import Guarded, guarded_record
from fastbp.nn.layer import in_dtype
from fastbp.nn.loss import Loss
from fastbp.nn.losses import named_loss
from fastbp.nn.member_outputs import each_member
from fastbp.nn.sequential import Sequential

__all__ = ["GradcheckResult", "gradcheck"]

Array = NDArray[Any]


@guarded_record
@dataclass(frozen=True)
class GradcheckResult(Guarded):
    """What `gradcheck` found; true if all gradients are right.

    Attributes
    ----------
    ok : bool
        Whether each error is at most ``atol + rtol * abs(numerical)``.
    name : str
        The parameter with the worst error, as in ``model.parameters()``, or "x", the input.
    index : tuple of int
        Its place there.
    analytical, numerical : float
        Its gradient by back-propagation and by differences.
    error : float
        How far they are apart.
    checked : int
        How many gradients were compared.
    """

    ok: bool
    name: str
    index: tuple[int, ...]
    analytical: float
    numerical: float
    error: float
    checked: int

    def __bool__(self) -> bool:
        return self.ok


def gradcheck(
    model: Sequential,
    loss: str | Loss | Callable[[Array, Any], tuple[float, Array]],
    x: ArrayLike,
    y: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-3,
    most: int | None = None,
    rng: int | np.random.Generator | None = 0,
    raise_exception: bool = True,
) -> GradcheckResult:
    """Compare the gradients of a loss by each parameter and input with central differences, in float64.

    ``(loss(p + eps) - loss(p - eps)) / (2 eps)`` is taken on a float64 copy of the model, which stays as it is. Where
    an activation has a kink (relu at 0), the two may differ although both are right: choose inputs off it.

    Parameters
    ----------
    model : Sequential
    loss : str, loss object or callable
        As a `Trainer` takes it, or a function of outputs and targets that returns the loss and its gradient by the
        outputs, such as `fastbp.mse_loss` or your own.
    x : array_like of shape (batch, in_features)
    y
        Targets as the loss takes them.
    eps : float, default 1e-6
        How far to move a parameter.
    atol, rtol : float, default 1e-6 and 1e-3
        Errors up to ``atol + rtol * abs(numerical)`` pass. A loss is rounded to some 1e-16 of itself, so differences
        are right to some 1e-10 times the loss: sums over many rows want a larger `atol`.
    most : int, optional
        Check so many parameters and inputs, drawn at random; without it all, each at the price of two forward passes.
    rng : int or numpy.random.Generator, default 0
        Seed of that draw.
    raise_exception : bool, default True
        Whether a wrong gradient is an error.

    Returns
    -------
    GradcheckResult

    Raises
    ------
    RuntimeError
        If a gradient is wrong: which, its value, and what it should be.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, fastbp
    >>> rng = np.random.default_rng(0)
    >>> model = fastbp.mlp([4, 5, 3], "tanh", rng=0)
    >>> x, y = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)
    >>> result = fastbp.gradcheck(model, "softmax_cross_entropy", x, y)
    >>> result.ok, result.checked, result.error < 1e-8
    (True, 67, True)
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"gradcheck expects model to be a Sequential, got {type(model).__name__}")
    for name, value in (("eps", eps), ("atol", atol), ("rtol", rtol)):
        if check.number(value, "gradcheck", name) == 0 and name == "eps":
            raise ValueError("gradcheck expects eps greater than 0, got 0")
    if isinstance(loss, str):
        loss = named_loss(loss)
    if not isinstance(loss, Loss) and not callable(loss):
        raise TypeError(f"gradcheck expects loss to be a loss or a function, got {type(loss).__name__}")
    x = check.rows(x, model.in_features, np.dtype(np.float64), "gradcheck").copy()
    twin = _in_float64(model)

    def evaluate(z: Array) -> tuple[Any, Array]:
        if not isinstance(loss, Loss):
            found: tuple[Any, Array] = loss(z, y)
            return found
        value, dz = loss.evaluate(*each_member(loss, z, y, None, model.members)[:2])
        return value, dz.reshape(z.shape)

    value, dz = evaluate(twin.forward(x))
    if np.ndim(value) > 0:
        raise ValueError("gradcheck expects a loss that is one number: reduction 'mean' or 'sum'")
    analytical = {"x": twin.backward(dz)} | {name: np.array(g) for name, g in twin.gradients().items()}
    places = [(name, index) for name, gradient in analytical.items() for index in np.ndindex(gradient.shape)]
    if model._codes is not None:  # next to a code there is none
        codes = set(model._codes.columns)
        places = [(name, index) for name, index in places if name != "x" or index[1] not in codes]
    if most is not None and most < len(places):
        most = check.integer(most, "gradcheck", "most")
        draw = check.generator(rng, "gradcheck").choice(len(places), most, replace=False)
        places = [places[i] for i in sorted(draw)]

    moved = {"x": x} | twin.parameters()
    run = twin.forward if twin._coupling else twin.predict  # a prediction takes no statistics of the batch
    worst, result = -1.0, None
    for name, index in places:
        here = moved[name][index]
        sides = []
        for there in (here + eps, here - eps):
            moved[name][index] = there
            sides.append(evaluate(run(x))[0])
        moved[name][index] = here
        numerical = float((sides[0] - sides[1]) / ((here + eps) - (here - eps)))
        gradient = float(analytical[name][index])
        error = abs(gradient - numerical)
        tolerance = max(atol + rtol * abs(numerical), np.finfo(float).tiny)
        excess = error / tolerance
        if not excess <= worst:  # NaN is the worst
            worst = np.inf if np.isnan(excess) else excess
            result = GradcheckResult(bool(excess <= 1), name, index, gradient, numerical, error, len(places))
    assert result is not None
    if raise_exception and not result.ok:
        raise RuntimeError(
            f"gradcheck expects the gradient {result.numerical:.9g} of {result.name}{list(result.index)}, got "
            f"{result.analytical:.9g}"
        )
    return result


def _in_float64(model: Sequential) -> Sequential:
    twin = Sequential(*(type(layer)._made(in_dtype(layer._config(), "float64")) for layer in model))
    twin._params[...] = model._params
    given = model.buffers()
    for name, value in twin.buffers().items():
        value[...] = given[name]
    return twin
