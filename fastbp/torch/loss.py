"""The cross-entropy of logits: value and gradient in one visit to each row."""

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fastbp.kernels import losses as kernels
from fastbp.kernels.losses import first_wrong_label, loss_and_gradient
from fastbp.losses import REDUCTIONS, WORK_PER_ELEMENT
from fastbp.torch.conditions import LIKE, contiguous, eager, readable, tasks

__all__ = ["CrossEntropyLoss"]

# Where no gradient is wanted, so many logits at a time have theirs written into the same scratch, in a cache.
SCRATCH = 1 << 17
# Bytes from which the system gives memory back and clears it anew for each call.
LARGE = 1 << 20


class Problem(NamedTuple):
    """What the kernel takes beside the logits, (rows, classes)."""

    code: int
    labels: NDArray[np.int64]
    values: NDArray[Any]
    class_weight: NDArray[Any]
    options: NDArray[np.float64]


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
    Where this is not PyTorch's value, and why:

    - ``0 log 0`` is 0: a class of target or weight 0 costs nothing although its logit is -inf, as a masked class's is.
      PyTorch's loss is NaN then.
    - An ignored row has the gradient 0 whatever its logits; PyTorch's is NaN for logits of NaN or +inf. Where all
      rows are ignored the mean is NaN, as there, and the gradient is 0.

    Targets that want a gradient and negative weights are left to PyTorch, and so is what `fastbp.torch` names.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import CrossEntropyLoss
    >>> loss = CrossEntropyLoss(label_smoothing=0.1)
    >>> loss(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    def room_for(self, z: Tensor) -> Tensor:
        """Return an uninitialised tensor like z: that of the call before, if it is large and nobody holds it any more.

        The system hands out large memory page by page and cleared, which takes longer than the loss.
        """
        if z.numel() * z.itemsize < LARGE:
            return torch.empty_like(z)
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
        rows, problem = None, None
        if _ours(input, target, self.weight, self.label_smoothing) and self.reduction in REDUCTIONS:
            rows = _rows(input)
            problem = _problem(self, input, target, rows)
        if rows is None or problem is None:
            return super().forward(input, target)
        if torch.is_grad_enabled() and rows.requires_grad:
            value = _Function.apply(self, rows, problem)
        else:
            value = _value(rows, problem)
        if self.reduction != "none":
            return value
        return value.view(target.shape if problem.code == kernels.SOFTMAX_LABELS else _without_classes(input))


def _ours(z: Tensor, target: Tensor, weight: Tensor | None, smoothing: float) -> bool:
    if not (z.dtype in LIKE and readable(z, z.dtype) and z.dim() > 0 and eager() and 0.0 <= smoothing <= 1.0):
        return False
    if weight is not None and not (readable(weight, z.dtype) and bool(((weight >= 0) & weight.isfinite()).all())):
        return False
    return not target.requires_grad


def _rows(z: Tensor) -> Tensor:
    """Return the logits as (rows, classes), contiguous."""
    if z.dim() > 2:
        z = z.movedim(1, -1).flatten(0, -2)
    return contiguous(z if z.dim() == 2 else z.unsqueeze(0))


def _without_classes(z: Tensor) -> tuple[int, ...]:
    return () if z.dim() == 1 else (z.shape[0], *z.shape[2:])


def _problem(loss: CrossEntropyLoss, z: Tensor, target: Tensor, rows: Tensor) -> Problem | None:
    """Return what the kernel takes; None where PyTorch is to compute, or to say what is wrong."""
    like = LIKE[z.dtype]
    classes = rows.shape[1]
    class_weight = like[:0]
    if loss.weight is not None:
        if loss.weight.shape != (classes,):
            return None
        class_weight = contiguous(loss.weight).detach().numpy()
    options = np.zeros(kernels.OPTIONS_SIZE)
    options[kernels.REDUCTION] = REDUCTIONS[loss.reduction]
    options[kernels.IGNORE_INDEX] = loss.ignore_index
    options[kernels.LABEL_SMOOTHING] = loss.label_smoothing
    probabilities = target.shape == z.shape and readable(target, z.dtype)
    if loss.weight is None and (probabilities or loss.label_smoothing > 0):
        class_weight = np.ones(classes, like.dtype)
    if probabilities:
        values = _rows(target).numpy()
        return Problem(kernels.SOFTMAX_PROBABILITIES, np.empty(0, np.int64), values, class_weight, options)
    if target.shape != _without_classes(z) or not readable(target, torch.int64):
        return None
    labels = contiguous(target.flatten()).numpy()
    at = first_wrong_label(labels, classes, loss.ignore_index)
    if at >= 0:
        raise IndexError(
            f"CrossEntropyLoss expects targets in 0..{classes - 1} (or ignore_index {loss.ignore_index}), "
            f"got {labels[at]} in row {at}"
        )
    return Problem(kernels.SOFTMAX_LABELS, labels, like[:0].reshape(0, 0), class_weight, options)


def _compute(z: NDArray[Any], problem: Problem, gradient: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    rows = np.empty((3, len(z)))
    value = loss_and_gradient(
        problem.code, z, problem.labels, problem.values, problem.class_weight, problem.options, z.reshape(-1)[:0], rows,
        tasks(WORK_PER_ELEMENT * z.size), gradient,
    )  # fmt: skip
    return float(value), rows


def _as_tensor(problem: Problem, value: float, rows: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
    if problem.options[kernels.REDUCTION] == kernels.NONE:
        return torch.from_numpy(rows[0] * rows[1]).to(dtype)
    return torch.tensor(value, dtype=dtype)


def _value(z: Tensor, problem: Problem) -> Tensor:
    """Return the loss alone, some rows at a time, so that the gradients that come with them stay in a cache."""
    logits = z.detach().numpy()
    batch, classes = logits.shape
    step = max(1, SCRATCH // classes)
    scratch = np.empty((min(step, batch), classes), logits.dtype)
    each = problem.options.copy()
    each[kernels.REDUCTION] = kernels.NONE
    rows = np.empty((2, batch))
    for start in range(0, batch, step):
        stop = min(start + step, batch)
        part = problem._replace(labels=problem.labels[start:stop], values=problem.values[start:stop], options=each)
        rows[:, start:stop] = _compute(logits[start:stop], part, scratch[: stop - start])[1][:2]
    total = float((rows[0] * rows[1]).sum())
    if problem.options[kernels.REDUCTION] == kernels.MEAN:
        counts = rows[0]
        if problem.code == kernels.SOFTMAX_LABELS and problem.class_weight.size:
            counts = counts * problem.class_weight[np.where(counts > 0, problem.labels, 0)]
        divisor = float(counts.sum())
        total = total / divisor if divisor > 0 else float("nan")
    return _as_tensor(problem, total, rows, z.dtype)


class _Function(torch.autograd.Function):
    """The loss with a gradient that waits for the backward pass."""

    @staticmethod
    def forward(ctx: Any, loss: CrossEntropyLoss, z: Tensor, problem: Problem) -> Tensor:
        gradient = loss.room_for(z)
        value, rows = _compute(z.detach().numpy(), problem, gradient.numpy())
        ctx.loss, ctx.problem, ctx.gradient = loss, problem, gradient
        ctx.save_for_backward(z)
        return _as_tensor(problem, value, rows, z.dtype)

    @staticmethod
    def backward(ctx: Any, dvalue: Tensor) -> tuple[Any, ...]:
        problem = ctx.problem
        if torch.is_grad_enabled():  # create_graph: this gradient is to be differentiated too
            (z,) = ctx.saved_tensors
            target = problem.labels if problem.code == kernels.SOFTMAX_LABELS else problem.values
            loss = ctx.loss
            value = functional.cross_entropy(
                z, torch.from_numpy(target), loss.weight, ignore_index=loss.ignore_index, reduction=loss.reduction,
                label_smoothing=loss.label_smoothing,
            )  # fmt: skip
            return None, *torch.autograd.grad(value, z, dvalue, create_graph=True), None
        gradient, ctx.gradient = ctx.gradient, None  # autograd may take it as it is: nobody else has it
        if gradient is None:  # a second backward pass
            (z,) = ctx.saved_tensors
            gradient = torch.empty_like(z)
            _compute(z.detach().numpy(), problem, gradient.numpy())
        if dvalue.dim() > 0:
            gradient *= dvalue.unsqueeze(1)
        elif dvalue.item() != 1.0:
            gradient *= dvalue
        return None, gradient, None
