"""The cross-entropy of logits: value and gradient in one visit to each row."""

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fastbp.kernels import entries
from fastbp.kernels import losses as kernels
from fastbp.kernels.losses import by_hand
from fastbp.nn.loss import REDUCTIONS, WORK_PER_ELEMENT
from fastbp.torch.conditions import LIKE, contiguous, eager, readable, tasks, watched

__all__ = ["CrossEntropyLoss"]

# Where no gradient is wanted, so many logits at a time have theirs written into the same scratch, in a cache.
SCRATCH = 1 << 17
# Bytes from which the system gives memory back and clears it anew for each call.
LARGE = 1 << 20


class Options(NamedTuple):
    """The numbers of a loss, as they were at the forward pass."""

    reduction: str
    ignore_index: int
    label_smoothing: float


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
    - A second backward pass, and one with ``create_graph=True``, reads logits and target again. If they have been
      changed in place since, that is PyTorch's error, also where PyTorch itself has kept a copy.

    Targets and weights that want a gradient and negative weights are left to PyTorch, and so is what `fastbp.torch`
    names.

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
        options, weight = Options(self.reduction, self.ignore_index, self.label_smoothing), self.weight
        differentiable = torch.is_grad_enabled() and input.requires_grad
        rows, problem = None, None
        if _ours(input, target, weight, options) and not (differentiable and _unsavable(target, weight)):
            shape = input.shape if target.is_floating_point() else _without_classes(input)
            if target.shape == shape:
                rows = _rows(input)
                problem = _problem(rows, _target_rows(target), weight, options)
        if rows is None or problem is None:
            return super().forward(input, target)
        if differentiable:
            copied = _copied_by_torch(input, target, options)
            value = _apply(self, problem, rows, target, weight, options, copied)
        else:
            value = _value(rows, problem)
        return value.view(_without_classes(input)) if options.reduction == "none" else value


def _ours(z: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> bool:
    """Return whether the kernel can compute: else PyTorch is to, or to say what is wrong."""
    if not (z.dtype in LIKE and readable(z, z.dtype) and z.dim() > 0 and eager()):
        return False
    if not (options.reduction in REDUCTIONS and 0.0 <= options.label_smoothing <= 1.0):
        return False
    if weight is not None:
        if weight.requires_grad or not readable(weight, z.dtype):
            return False
        if not bool(((weight >= 0) & weight.isfinite()).all()):
            return False
    return (readable(target, torch.int64) or readable(target, z.dtype)) and not target.requires_grad


def _unsavable(target: Tensor, weight: Tensor | None) -> bool:
    """Return whether one of them cannot be saved for a backward pass: those of `torch.inference_mode` cannot."""
    return target.is_inference() or (weight is not None and weight.is_inference())


def _copied_by_torch(z: Tensor, target: Tensor, options: Options) -> bool:
    """Return whether PyTorch's loss keeps a copy of the target for its backward pass, so that it may be changed."""
    if target.is_floating_point():
        return options.label_smoothing > 0
    return not (z.dim() in (1, 2, 4) or target.is_contiguous())


def _rows(z: Tensor) -> Tensor:
    """Return the logits as (rows, classes), contiguous."""
    if z.dim() > 2:
        z = z.movedim(1, -1).flatten(0, -2)
    return contiguous(z if z.dim() == 2 else z.unsqueeze(0))


def _target_rows(target: Tensor) -> Tensor:
    """Return probabilities as (rows, classes), labels as (rows,), contiguous."""
    return _rows(target) if target.is_floating_point() else contiguous(target.flatten())


def _without_classes(z: Tensor) -> tuple[int, ...]:
    return () if z.dim() == 1 else (z.shape[0], *z.shape[2:])


def _problem(z: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Problem | None:
    """Return what the kernel takes for rows of logits and of a target; None where the shapes do not fit."""
    like, classes = LIKE[z.dtype], z.shape[1]
    probabilities = target.is_floating_point()
    if target.shape != (z.shape if probabilities else z.shape[:1]):
        return None
    class_weight = like[:0]
    if weight is not None:
        if weight.shape != (classes,):
            return None
        class_weight = contiguous(weight).detach().numpy()
    elif probabilities or options.label_smoothing > 0:
        class_weight = np.ones(classes, like.dtype)
    numbers = np.zeros(kernels.OPTIONS_SIZE)
    numbers[kernels.REDUCTION] = REDUCTIONS[options.reduction]
    numbers[kernels.IGNORE_INDEX] = options.ignore_index
    numbers[kernels.LABEL_SMOOTHING] = options.label_smoothing
    if probabilities:
        return Problem(kernels.SOFTMAX_PROBABILITIES, np.empty(0, np.int64), target.numpy(), class_weight, numbers)
    labels = target.numpy()
    at = entries.first_wrong_label(labels, classes, options.ignore_index)
    if at >= 0:
        raise IndexError(
            f"CrossEntropyLoss expects targets in 0..{classes - 1} (or ignore_index {options.ignore_index}), "
            f"got {labels[at]} in row {at}"
        )
    return Problem(kernels.SOFTMAX_LABELS, labels, like[:0].reshape(0, 0), class_weight, numbers)


def _compute(z: NDArray[Any], problem: Problem, gradient: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    rows = np.empty((3, len(z)))
    value = by_hand.loss_and_gradient(
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
    def forward(
        ctx: Any,
        loss: CrossEntropyLoss,
        problem: Problem,
        z: Tensor,
        target: Tensor,
        weight: Tensor | None,
        options: Options,
        copied: bool,
    ) -> Tensor:
        gradient = loss.room_for(z)
        value, rows = _compute(z.detach().numpy(), problem, gradient.numpy())
        ctx.gradient, ctx.options = gradient, options
        ctx.save_for_backward(z, target, weight)
        # Those that have to be as they were although the gradient is there: PyTorch's loss reads them only now.
        kept = (None if copied else target, weight)
        ctx.versions = [(t, t._version) for t in kept if t is not None]
        return _as_tensor(problem, value, rows, z.dtype)

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
            return None, None, _gradient_by_torch(saved, ctx.options, dvalue), None, None, None, None
        # Autograd may take the gradient as it is: nobody else has it. A second backward pass computes it anew.
        gradient, ctx.gradient, ctx.versions = ctx.gradient, None, None
        if gradient is None:
            gradient = _gradient(saved, ctx.options)
            if gradient is None:
                return None, None, _gradient_by_torch(saved, ctx.options, dvalue), None, None, None, None
        if dvalue.dim() > 0:
            gradient *= dvalue.unsqueeze(1)
        elif dvalue.item() != 1.0:
            gradient *= dvalue
        return None, None, gradient, None, None, None, None


# As in `chains`.
_apply = super(torch.autograd.Function, _Function).apply

# What a loss saves: rows of logits, the target and the weight as they were given.
Saved = tuple[Tensor, Tensor, Tensor | None]


def _gradient(saved: Saved, options: Options) -> Tensor | None:
    """Return the gradient of saved tensors, looked at again as for the forward pass; None where PyTorch is to compute.

    Hooks on saved tensors, and whoever shares memory with one, change them without a new version.
    """
    z, target, weight = saved
    if z.dim() != 2 or not _ours(z, target, weight, options):
        return None
    z = contiguous(z)
    problem = _problem(z, _target_rows(target), weight, options)
    if problem is None:
        return None
    gradient = torch.empty_like(z)
    _compute(z.detach().numpy(), problem, gradient.numpy())
    return gradient


def _gradient_by_torch(saved: Saved, options: Options, dvalue: Tensor) -> Tensor:
    z, target, weight = saved
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        value = functional.cross_entropy(
            z, _target_rows(target), weight, ignore_index=options.ignore_index, reduction=options.reduction,
            label_smoothing=options.label_smoothing,
        )  # fmt: skip
    (gradient,) = torch.autograd.grad(value, z, dvalue, create_graph=create_graph)
    return gradient
