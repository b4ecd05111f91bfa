"""The loss kernels on PyTorch's tensors: which kernel, where the rows stand, and the call."""

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastbp._base.calls import Calls
from fastbp._base.threads import get_num_threads
from fastbp.kernels import entries
from fastbp.kernels import losses as kernels
from fastbp.kernels.code import Code
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.losses.functions import op_of_loss, other_op_of_loss
from fastbp.nn.loss import REDUCTIONS, WORK_PER_ELEMENT
from fastbp.torch.conditions import LIKE, Shape, contiguous, readable, tasks

# Planes of fewer places are PyTorch's: a vector of rows does not reach from one plane into the next.
FEWEST_PLACES = 8
# A number of each element type
NUMBER = {dtype: torch.empty((), dtype=dtype, device="cpu") for dtype in LIKE}
# Rows up to so many have their numbers in memory that a thread keeps, 12 MB: new memory is cleared each time
MOST_KEPT = 1 << 19
# Labels up to this size are the same numbers in float64, which the kernels' options are.
LARGEST_LABEL = 1 << 53


_of_thread = threading.local()


class Options(NamedTuple):
    """The numbers of a loss, as they were at the forward pass.

    numbers, address : what kernels take, and where it stands in memory; None and 0 where they do not take these
    """

    reduction: str
    ignore_index: int
    label_smoothing: float
    numbers: NDArray[np.float64] | None
    address: int


class Layout(NamedTuple):
    """Where the rows of a loss stand in memory.

    rows, classes : how many
    apart : elements from one row to the next, or in `planes` from one class to the next
    each : the shape of what there is one of for each row
    """

    rows: int
    classes: int
    apart: int
    each: Shape
    planes: bool


def evaluate(
    z: Tensor, target: Tensor, weight: Tensor | None, options: Options, room: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, Tensor | None] | None:
    """Return the loss, and its gradient in the tensor that `room` makes like z, or without it None.

    Return None if PyTorch is to compute, or to say what is wrong.

    Raises
    ------
    IndexError
        If a label is neither a class nor the ignored one.
    """
    dtype = z.dtype
    labelled = target.dtype is torch.int64
    if not (options.address and dtype in LIKE and readable(z, dtype)):
        return None
    if target.requires_grad or not readable(target, torch.int64 if labelled else dtype):
        return None
    smooth = options.label_smoothing > 0
    if not labelled and options.ignore_index >= 0:  # PyTorch's error
        return None
    layout = _layout(z, labelled and not smooth)
    if layout is None or target.shape != (layout.each if labelled else z.shape):
        return None
    rows, classes, apart, each, planes = layout
    if weight is not None:
        if weight.requires_grad or not readable(weight, dtype) or weight.shape != (classes,):
            return None
        weight = contiguous(weight)
    elif smooth or not labelled:
        weight = _ones(classes, dtype)
    logits, target = contiguous(z), contiguous(target)
    at_logits, at_target, at_weight = logits.data_ptr(), target.data_ptr(), 0 if weight is None else weight.data_ptr()
    if not (at_logits and at_target and (at_weight or weight is None)):  # no memory: freed, or zeros that take none
        return None
    gradient = None if room is None else room(z)
    value = z.new_empty(each) if options.reduction == "none" else torch.empty_like(NUMBER[dtype])
    address, calls = _kernel(labelled, planes, room is None, classes, dtype)
    cut, began, kind = calls.begin(rows, WORK_PER_ELEMENT * rows * classes)
    wrong = entries.loss_at(
        address, LIKE[dtype], at_logits, rows, classes, apart,
        at_target if labelled else 0, options.ignore_index, 0 if labelled else at_target,
        at_weight, options.address, _room_of_rows(rows),
        0 if gradient is None else gradient.data_ptr(), value.data_ptr(), cut,
    )  # fmt: skip
    if kind is not None:
        kind.end(cut, began, rows)
    if wrong == kernels.DONE:
        return value, gradient
    if wrong == kernels.UNUSABLE:
        return None
    raise IndexError(
        f"CrossEntropyLoss expects targets in 0..{classes - 1} (or ignore_index {options.ignore_index}), "
        f"got {target.flatten()[wrong]} in row {wrong}"
    )


def _room_of_rows(rows: int) -> NDArray[np.float64]:
    """Return uninitialised room for three numbers of each row."""
    room: NDArray[np.float64] | None = getattr(_of_thread, "room", None)
    if room is None or room.shape[1] < rows:
        room = np.empty((3, rows))
        if rows <= MOST_KEPT:
            _of_thread.room = room
    return room


def _layout(z: Tensor, narrow: bool) -> Layout | None:
    """Return where the rows of logits stand in memory; None if kernels do not read them there.

    narrow : whether the targets are class labels without smoothing, of which planes have to be
    """
    shape = z.shape
    if len(shape) == 2:
        rows, classes = shape
        return Layout(rows, classes, classes, (rows,), False)
    if len(shape) < 2:
        return Layout(1, shape[0], shape[0], (), False) if shape else None
    batch, classes, *places = shape
    rows, each = z.numel() // classes, (batch, *places)
    if rows == batch:
        return Layout(rows, classes, classes, each, False)
    apart = rows // batch
    if not narrow or classes > kernels.NARROW or apart < FEWEST_PLACES or not z.is_contiguous():
        return None
    return Layout(rows, classes, apart, each, True)


@functools.lru_cache(64, typed=True)  # -100.0 is no index
def options_of(reduction: str, ignore_index: int, label_smoothing: float) -> Options:
    """Return the numbers of a loss, for kernels too where they take these."""
    given = reduction, ignore_index, label_smoothing
    if not (isinstance(ignore_index, int) and isinstance(label_smoothing, (int, float)) and reduction in REDUCTIONS):
        return Options(*given, None, 0)
    if not 0.0 <= label_smoothing <= 1.0 or abs(ignore_index) > LARGEST_LABEL:
        return Options(*given, None, 0)
    numbers = np.zeros(kernels.OPTIONS_SIZE)
    numbers[kernels.REDUCTION] = REDUCTIONS[reduction]
    numbers[kernels.IGNORE_INDEX] = ignore_index
    numbers[kernels.LABEL_SMOOTHING] = label_smoothing
    return Options(*given, numbers, numbers.ctypes.data)


@functools.lru_cache(16)
def _ones(classes: int, dtype: torch.dtype) -> Tensor:
    return torch.ones(classes, dtype=dtype, device="cpu")


def _needs(owner: Any, code: Code, dtype: np.dtype[Any]) -> Needed:
    return Needed([code], ["loss_at"], dtype, get_num_threads())


class Kernel(NamedTuple):
    """The address of the op of a loss, and the calls of it."""

    address: int
    calls: Calls


@functools.lru_cache(1024)
def _kernel(labelled: bool, planes: bool, alone: bool, classes: int, dtype: torch.dtype) -> Kernel:
    """Return the kernel of a loss; compile it, and what calls it, at the first time.

    alone : whether there is no gradient beside the loss
    """
    loss = kernels.BY_CODE[kernels.SOFTMAX_LABELS if labelled else kernels.SOFTMAX_PROBABILITIES]
    what = "value" * alone + "_of_" * (alone and planes) + "planes" * planes
    code = other_op_of_loss(loss, what) if what else op_of_loss(loss)
    expect(_needs, _needs, code, LIKE[dtype].dtype)
    return Kernel(code.address(LIKE[dtype].dtype), Calls(tasks))
