"""The cross-entropy of logits: value and gradient in one visit to each row."""

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastbp.kernels import losses as kernels
from fastbp.torch.conditions import LIKE, PLAIN, eager, watched
from fastbp.torch.loss_kernels import Options, evaluate, options_of
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
# Bytes from which the system gives memory back and clears it anew for each call.
LARGE = 1 << 20


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
                options = options_of(*given)
                found = evaluate(input, target, weight, options, self.room_for if wanted else None)
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
            _, gradient = evaluate(z, target, weight, ctx.options, _like) or (None, None)
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
