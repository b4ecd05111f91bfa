"""The cross-entropy of logits: value and gradient in one visit to each row."""

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fastbp._base.calls import Calls
from fastbp._base.threads import get_num_threads
from fastbp.kernels import entries
from fastbp.kernels import losses as kernels
from fastbp.kernels.code import Code
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.losses.functions import op_of_loss, other_op_of_loss
from fastbp.nn.loss import REDUCTIONS, WORK_PER_ELEMENT
from fastbp.torch.conditions import LIKE, PLAIN, Shape, contiguous, eager, readable, tasks, watched
from fastbp.torch.scripting import refused

__all__ = ["CrossEntropyLoss"]

# Fewer logits than these are PyTorch's: without a gradient, and with one. There its loss takes less than the calls in
# Python here, or, where it has several threads, less than those of a kernel that is not worth a second one. A row that
# is short, less than a vector of PyTorch's, takes PyTorch ten times as long for each logit, and short planes twice.
NEVER = sys.maxsize
FEWEST = {
    "short rows": (200, 320),
    "medium rows": (NEVER, 1 << 16),
    "long rows": (1 << 14, 1 << 14),
    "long rows, threads": (1 << 17, 1 << 16),
    "planes": (1 << 19, 1 << 13),
    "short planes": (1 << 11, 1 << 11),
    "planes of few classes": (NEVER, NEVER),
}
FEW_CLASSES, SHORT_PLANE = 4, 64
MEDIUM = range(kernels.NARROW + 1, 129)
VECTOR_BYTES = {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 16)
# Planes of fewer places are PyTorch's: a vector of rows does not reach from one plane into the next.
FEWEST_PLACES = 8
# A number of each element type
NUMBER = {dtype: torch.empty((), dtype=dtype, device="cpu") for dtype in LIKE}
# Bytes from which the system gives memory back and clears it anew for each call.
LARGE = 1 << 20
# Rows up to so many have their numbers in memory that a thread keeps: 12 MB, for the same reason
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


class Kept(NamedTuple):
    """What a loss keeps for its backward pass beside the logits and the gradient.

    copied : whether PyTorch's loss would have a copy of the target
    """

    target: Tensor
    weight: Tensor | None
    options: Options
    copied: bool


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """``torch.nn.CrossEntropyLoss``, all of its arguments: weight, ignore_index, reduction, label_smoothing.

    Logits are (classes,), (batch, classes) or (batch, classes, d1, ...), targets class indices or probabilities. The
    gradient is made with the value, and not at all where none is wanted.

    Raises
    ------
    IndexError
        If a label is neither a class nor `ignore_index`.

    Notes
    -----
    PyTorch computes where that takes less time: for few logits, and without a gradient for rows of 65 to 128 classes
    and for most planes. Where kernels compute, this is not PyTorch's value, and why:

    - ``0 log 0`` is 0: a class of target or weight 0 costs nothing although its logit is -inf, as a masked class's is.
      PyTorch's loss is NaN then.
    - An ignored row has the gradient 0 whatever its logits; PyTorch's is NaN for logits of NaN or +inf. Where all
      rows are ignored the mean is NaN, as there, and the gradient is 0.
    - A second backward pass, and one with ``create_graph=True``, reads logits and target again. If they have been
      changed in place since, that is PyTorch's error, also where PyTorch itself has kept a copy.

    Left to PyTorch are also logits (batch, classes, d1, ...) that are not contiguous, have more than 64 classes, or
    targets other than class labels without smoothing; targets and weights that want a gradient, negative weights, and
    what `fastbp.torch` names.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import CrossEntropyLoss
    >>> loss = CrossEntropyLoss(label_smoothing=0.1)
    >>> loss(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    __prepare_scriptable__ = refused("script torch.nn.CrossEntropyLoss")

    def room_for(self, z: Tensor) -> Tensor:
        """Return an uninitialised tensor like z: that of the call before, if it is large and nobody holds it any more.

        The system hands out large memory page by page and cleared, which takes longer than the loss.
        """
        if z.numel() * z.itemsize < LARGE:
            return _like(z)
        spare = self.__dict__.setdefault("_spare", [])
        try:
            room = spare.pop()  # another thread finds none
        except IndexError:
            room = None
        # Two references: this name's, and the call's own.
        if room is None or room.shape != z.shape or room.dtype != LIKE[z.dtype].dtype or sys.getrefcount(room) > 2:
            room = np.empty(z.shape, LIKE[z.dtype].dtype)
        spare[:] = [room]
        return torch.from_numpy(room)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_spare"}

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits against class indices or probabilities."""
        try:
            weight = self._buffers["weight"]  # sooner than the attribute
        except KeyError:
            weight = self.weight
        given = self.reduction, self.ignore_index, self.label_smoothing
        if eager() and type(input) in PLAIN and isinstance(target, Tensor):
            wanted = input.requires_grad and torch.is_grad_enabled()
            if not _is_small(input, wanted) and not (wanted and _unsavable(input, target, weight)):
                options = _options(*given)
                found = _evaluate(input, target, weight, options, self.room_for if wanted else None)
                if found is not None:
                    value, gradient = found
                    if gradient is None:
                        return value
                    kept = Kept(target, weight, options, _copied_by_torch(input, target, options))
                    return _apply(found, kept, input)
        return _by_torch(input, target, weight, *given)


def _by_torch(
    z: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int, label_smoothing: float
) -> Tensor:
    return functional.cross_entropy(
        z, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


def _is_small(z: Tensor, wanted: bool) -> bool:
    """Return whether the loss of these logits is PyTorch's for their number, with a gradient that is wanted or not."""
    size, shape = z.numel(), z.shape
    if len(shape) > 2:
        if shape[1] < FEW_CLASSES:
            return size < FEWEST["planes of few classes"][wanted]
        short = size < SHORT_PLANE * shape[0] * shape[1]
        return size < FEWEST["short planes" if short else "planes"][wanted]
    classes = shape[-1] if shape else 1
    if classes * z.itemsize < VECTOR_BYTES:
        return size < FEWEST["short rows"][wanted]
    if size < FEWEST["long rows"][wanted]:
        return True
    if classes in MEDIUM:
        return size < FEWEST["medium rows"][wanted]
    return size < FEWEST["long rows, threads"][wanted] and torch.get_num_threads() > 1


def _unsavable(z: Tensor, target: Tensor, weight: Tensor | None) -> bool:
    """Return whether one of them cannot be saved for a backward pass: those of `torch.inference_mode` cannot."""
    return z.is_inference() or target.is_inference() or (weight is not None and weight.is_inference())


def _copied_by_torch(z: Tensor, target: Tensor, options: Options) -> bool:
    """Return whether PyTorch's loss keeps a copy of the target for its backward pass, so that it may be changed."""
    if target.is_floating_point():
        return options.label_smoothing > 0
    return not (z.dim() in (1, 2, 4) or target.is_contiguous())


def _evaluate(
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
def _options(reduction: str, ignore_index: int, label_smoothing: float) -> Options:
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


class _Function(torch.autograd.Function):
    """The loss with a gradient that waits for the backward pass."""

    @staticmethod
    def forward(ctx: Any, found: tuple[Tensor, Tensor], kept: Kept, z: Tensor) -> Tensor:
        value, ctx.gradient = found
        target, weight, ctx.options, copied = kept
        ctx.save_for_backward(z, target, weight)
        # Those that have to be as they were although the gradient is there: PyTorch's loss reads them only now.
        ctx.versions = [(t, t._version) for t in (None if copied else target, weight) if t is not None]
        return value

    @staticmethod
    def backward(ctx: Any, dvalue: Tensor) -> tuple[Any, ...]:
        # With create_graph this gradient is to be differentiated too; with is_grads_batched there are several at once.
        by_torch = torch.is_grad_enabled() or watched() or torch._C._functorch.is_legacy_batchedtensor(dvalue)
        try:
            saved = ctx.saved_tensors
        except RuntimeError as error:  # the logits may have been changed where they are not read again
            read = by_torch or ctx.gradient is None or any(t._version != version for t, version in ctx.versions)
            if read or "inplace operation" not in str(error):
                raise
        if by_torch:
            return None, None, _gradient_by_torch(saved, ctx.options, dvalue)
        # Autograd may take the gradient as it is: nobody else has it. A second backward pass computes it anew.
        gradient, ctx.gradient, ctx.versions = ctx.gradient, None, None
        if gradient is None:
            # Looked at again: hooks on saved tensors, and whoever shares memory with one, change them.
            z, target, weight = saved
            _, gradient = _evaluate(z, target, weight, ctx.options, _like) or (None, None)
            if gradient is None:
                return None, None, _gradient_by_torch(saved, ctx.options, dvalue)
        if dvalue.dim() > 0:
            gradient *= dvalue.unsqueeze(1)
        elif dvalue.item() != 1.0:
            gradient *= dvalue
        return None, None, gradient


# As in `chains`.
_apply = super(torch.autograd.Function, _Function).apply


def _like(z: Tensor) -> Tensor:
    """Return an uninitialised tensor for the gradient of z: contiguous, as PyTorch's is."""
    return torch.empty_like(z, memory_format=torch.contiguous_format)


def _gradient_by_torch(saved: tuple[Tensor, Tensor, Tensor | None], options: Options, dvalue: Tensor) -> Tensor:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        value = _by_torch(*saved, *options[:3])
    (gradient,) = torch.autograd.grad(value, saved[0], dvalue, create_graph=create_graph)
    return gradient
