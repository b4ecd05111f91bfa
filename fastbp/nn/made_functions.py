"""Functions of the losses whose classes are made from the kernels' table."""

from collections.abc import Callable
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Any, NamedTuple

from numpy.typing import ArrayLike, NDArray

from fastbp._base.made import docstring
from fastbp.kernels import losses as kernels
from fastbp.nn.array_losses import elementwise, elementwise_by_output, rowwise
from fastbp.nn.losses import MADE
from fastbp.nn.made_losses import MadeLoss, options_of

__all__ = ["FUNCTIONS"]

Array = NDArray[Any]


class _Form(NamedTuple):
    """How a function takes its arrays, as its docstring says it, with an example."""

    arrays: tuple[str, str]
    none: str
    example: str


_ELEMENTS = _Form(
    ("input, target : array_like of one shape", "Predictions and true values."),
    "element",
    "([1.0, 2.0], [1.0, 4.0])",
)
_BY_OUTPUT = _Form(
    ("input, target : array_like", "Predictions and true values, of one shape where there is one prediction for each."),
    "element",
    "([1.0, 2.0], [1.0, 4.0])",
)
_LABELS = _Form(
    ("input, target : array_like of shape (batch, classes) and (batch,)", "Logits and class indices."),
    "row",
    "([[0.5, 1.0, 2.0]], [2])",
)
_ROWS = _Form(
    ("input, target : array_like of shape (batch, outputs)", "Predictions and true values."),
    "row",
    "([[1.0, 2.0]], [[1.0, 4.0]])",
)
_ROWS_AND_LABELS = _Form(
    (
        "input, target : array_like of shape (batch, classes) and (batch, classes + 1)",
        "Logits; a teacher's logits, and a class index behind them.",
    ),
    "row",
    "([[1.0, 2.0]], [[1.0, 4.0, 1.0]])",
)


def _form_of(entry: kernels.Loss) -> _Form:
    if entry.formula is not None:
        return _ELEMENTS if entry.by_output is None else _BY_OUTPUT
    if entry.labelled:
        return _LABELS
    return _ROWS if entry.extra is None else _ROWS_AND_LABELS


def _function_of(kind: type[MadeLoss]) -> Callable[..., tuple[Any, Array]]:
    """Make the function of a loss whose class is made from the kernels' table."""
    entry = kind._entry
    public, form = entry.public, _form_of(entry)
    assert public is not None
    who = public.function

    def function(input: ArrayLike, target: ArrayLike, *, out: Array | None = None, **options: Any) -> tuple[Any, Array]:
        loss = kind(**options)
        if form is _ELEMENTS:
            return elementwise(loss, who, input, target, out)
        if form is _BY_OUTPUT:
            return elementwise_by_output(loss, entry, who, input, target, out)
        return rowwise(loss, who, input, target, out)

    chosen = [Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default) for f in reversed(fields(kind))]
    arrays = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("input", "target")]
    given_out = Parameter("out", Parameter.KEYWORD_ONLY, default=None)
    function.__signature__ = Signature([*arrays, *chosen, given_out])  # type: ignore[attr-defined]
    function.__name__ = function.__qualname__ = who
    divides = (
        'reduction : {"mean", "sum", "none"}, default "mean"',
        f'"mean" divides by the number of {form.none}s, "none" returns each {form.none}\'s own loss and gradient.',
    )
    sections = {
        "Parameters": [form.arrays, *options_of(entry), divides, ("out : ndarray, optional", "Receives the gradient.")],
        "Returns": [('loss : float, or ndarray for "none"', ""), ("gradient : ndarray", "By `input`.")],
        "Raises": [("ValueError", "If shapes do not fit or are empty, or a number or a label is out of range.")],
    }
    example = f">>> loss, gradient = fastbp.{who}{form.example}\n>>> bool(loss >= 0)\nTrue"
    text = "\n\n".join([f"{public.text}, and its gradient by `input`.", *[public.more] * bool(public.more)])
    function.__doc__ = docstring(text, sections, example)
    return function


FUNCTIONS = {kind._who: _function_of(kind) for kind in MADE}
globals().update(FUNCTIONS)  # pickle looks for them here
