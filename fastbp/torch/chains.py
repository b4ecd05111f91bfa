"""Chains of dense layers as one autograd function: one compiled call forward, one backward."""

import functools
import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fastbp._base import memory
from fastbp._base.calls import Calls
from fastbp._base.threads import get_num_threads
from fastbp.kernels import entries
from fastbp.kernels.activations import BY_CODE, FIRST_STORED_SLOPE, IDENTITY, LEAKY_RELU, RELU
from fastbp.kernels.compile.expected import Needed, expect
from fastbp.kernels.ops.fill import codes_of
from fastbp.kernels.run.chain_plan import chain_partials, chain_room, fill_chain, make_chain
from fastbp.kernels.run.plan import ABSENT, Layer
from fastbp.torch.activations import FUNCTIONS
from fastbp.torch.conditions import LIKE, PLAIN, Shape, contiguous, eager, look, tasks, watched

# A single layer of fewer multiplications is PyTorch's, by its activation: an autograd function written in Python costs
# more than it saves where PyTorch itself calls one function or two cheap ones.
FEWEST = {IDENTITY: 3_000_000, RELU: 1_500_000, LEAKY_RELU: 1_500_000}

# So is a chain of more weights for a single row: nothing is done but to read them.
MOST_FOR_A_ROW = 1 << 16

# Bytes of workspace that each thread keeps for calls that need no more, and that nothing outlives: an allocation takes
# as long as a small product.
KEPT = 1 << 18

# A weight and a bias for each layer, None for no bias; or one flat tensor of all.
Parameters = Sequence[Tensor | None]


class _Workspace(threading.local):
    """The workspace that this thread keeps."""

    def __init__(self) -> None:
        self.memory = memory.zeros(KEPT, "uint8")
        self.address: int = self.memory.__array_interface__["data"][0]


_workspace = _Workspace()


class Form(NamedTuple):
    """A chain for one element type: what its kernels take, and the elements of workspace for each row of a batch."""

    like: NDArray[Any]
    kept: NDArray[np.int64]  # the plan where a backward pass is to follow, and where none is
    passing: NDArray[np.int64]
    places: NDArray[np.int64]  # of the parameters in a flat tensor
    kept_size: int
    turns: int


def _needs(chain: "Chain", dtype: np.dtype[Any]) -> Needed:
    codes = [code for train in (True, False) for code in codes_of(chain.layers, train=train)]
    return Needed(codes, ["chain_forward", "chain_backward"], dtype, min(get_num_threads(), torch.get_num_threads()))


class Chain:
    """What stays the same from call to call: the activations' codes, and the shapes of weight and bias of each layer.

    Raises
    ------
    RuntimeError
        If the layers' shapes do not fit together.
    """

    def __init__(self, codes: Sequence[int], shapes: Sequence[Shape | None], flat: bool) -> None:
        sizes: list[Layer] = []
        for i, (code, weight, bias) in enumerate(zip(codes, shapes[::2], shapes[1::2], strict=True)):
            if weight is None or len(weight) != 2 or bias not in (None, weight[:1]):
                raise RuntimeError(
                    f"a Linear expects weight (out, in) and bias (out,), got {weight and tuple(weight)} and "
                    f"{bias and tuple(bias)} in layer {i}"
                )
            outs, ins = weight
            if sizes and sizes[-1][1] != ins:
                raise RuntimeError(
                    f"layer {i} of a chain expects in_features {sizes[-1][1]}, the out_features before it; got {ins}"
                )
            sizes.append(Layer(ins, outs, BY_CODE[code], bias is not None))
        self.codes, self.shapes, self.flat = codes, shapes, flat
        size = sum(math.prod(shape) for shape in shapes if shape is not None)
        self.parameters = [(size,)] if flat else list(shapes)  # the shapes of what is handed over
        self.in_features, self.out_features = sizes[0][0], sizes[-1][1]
        self.work = sum(2 * layer.in_features * layer.out_features for layer in sizes)
        self.reads_output = IDENTITY < codes[-1] < FIRST_STORED_SLOPE
        self.layers = sizes
        self.forms: dict[torch.dtype, Form] = {}
        self.forward_calls, self.backward_calls = Calls(tasks), Calls(tasks)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies share a chain, and a pickle makes it anew: the tables are for the kernels of one version.
        return chain_of, (self.codes, self.shapes, self.flat)

    def form(self, dtype: torch.dtype) -> Form:
        """Return the chain for an element type; compile what it takes at the first time."""
        form = self.forms.get(dtype)
        if form is None:
            like = LIKE[dtype]
            expect(_needs, self, like.dtype)
            form = Form(like, *make_chain(self.layers, like.itemsize))
            fill_chain(form.kept, form.passing, like.dtype)
            self.forms[dtype] = form
        return form

    def room(self, batch: int, form: Form) -> int:
        """Return the elements of workspace that a forward and a backward pass take."""
        return self.plan_room(form) + batch * (form.kept_size + form.turns) + _partials(self, batch)

    def plan_room(self, form: Form) -> int:
        """Return the elements of workspace that the plan of a call takes."""
        return chain_room(len(self.layers), form.like.itemsize)

    def places(self, addresses: list[int], form: Form) -> tuple[int, NDArray[np.int64]]:
        """Return an address and the places of W and b counted from it, for parameters or gradients that are there."""
        if not self.flat:
            return 0, np.array(addresses)
        (base,) = addresses
        return base, form.places if base != ABSENT else np.full_like(form.places, ABSENT)

    def forward(self, x: Tensor, addresses: list[int], keep: bool) -> tuple[Tensor, Tensor | None]:
        """Return the output; and with `keep` the workspace, which has what the backward pass needs.

        The addresses are those of x and of the parameters.
        """
        form = self.form(x.dtype)
        batch = x.numel() // self.in_features
        size = self.room(batch, form) if keep else self.plan_room(form) + batch * form.turns
        # The backward pass finds its room here too.
        work = x.new_empty(size) if keep or size * x.itemsize > KEPT else None
        out = x.new_empty(*x.shape[:-1], self.out_features)
        cut, began, kind = self.forward_calls.begin(batch, self.work * batch)
        entries.chain_forward(
            form.kept if keep else form.passing, form.like, *self.places(addresses[1:], form), addresses[0], batch,
            _workspace.address if work is None else work.data_ptr(), out.data_ptr(), cut,
        )  # fmt: skip
        if kind is not None:
            kind.end(cut, began, batch)
        return out, work

    def backward(
        self, x: Tensor, parameters: Parameters, addresses: list[int], batch: int, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return the gradients by x and by the parameters, None where one is not wanted.

        The addresses are those of x, the output, its gradient, the workspace, and of the parameters.
        """
        form = self.form(x.dtype)
        dx, *grads = [torch.empty_like(t) if w else None for t, w in zip((x, *parameters), wanted, strict=True)]
        at_x, at_out, at_dout, work = addresses[:4]
        turns = work + (self.plan_room(form) + batch * form.kept_size) * x.itemsize
        cut, began, kind = self.backward_calls.begin(batch, 2 * self.work * batch)
        entries.chain_backward(
            form.kept, form.like, *self.places(addresses[4:], form), at_x, batch, work, at_out, at_dout,
            *self.places([ABSENT if g is None else g.data_ptr() for g in grads], form),
            0 if dx is None else dx.data_ptr(), turns, turns + batch * form.turns * x.itemsize, cut,
        )  # fmt: skip
        if kind is not None:
            kind.end(cut, began, batch)
        return [dx, *grads]


@functools.lru_cache(1024)
def _partials(chain: Chain, batch: int) -> int:
    return chain_partials(chain.form(torch.float32).kept, batch)


@functools.lru_cache(1024)
def chain_of(codes: tuple[int, ...], shapes: tuple[Shape | None, ...], flat: bool) -> Chain:
    """Return the chain of layers with these activations, and these shapes of weight and bias for each."""
    return Chain(codes, shapes, flat)


class _Function(torch.autograd.Function):
    """A chain with a backward pass."""

    @staticmethod
    def forward(ctx: Any, chain: Chain, addresses: list[int], x: Tensor, *parameters: Tensor | None) -> Tensor:
        out, work = chain.forward(x, addresses, keep=True)
        ctx.chain = chain
        ctx.save_for_backward(x, out if chain.reads_output else None, work, *parameters)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Any, ...]:
        chain, wanted = ctx.chain, ctx.needs_input_grad[2:]
        x, out, work, *parameters = ctx.saved_tensors
        # With create_graph this gradient is to be differentiated too.
        if dout.layout is torch.strided and not (torch.is_grad_enabled() or watched()):
            dout = contiguous(dout)
            batch = dout.numel() // chain.out_features
            # Looked at again: ``.data =``, or a hook on saved tensors, may have changed any of them.
            found = look((x, out, dout, work, *parameters), dout.dtype)
            if (
                found is not None
                and x.numel() == batch * chain.in_features
                and (out is None or out.numel() == dout.numel())
                and work.numel() == chain.room(batch, chain.form(dout.dtype))
                and found[0][4:] == chain.parameters
            ):
                return None, None, *chain.backward(x, parameters, found[1], batch, wanted)
        return None, None, *_gradients_by_torch(chain, [x, *parameters], dout, wanted)


# `torch.autograd.Function.apply` adds what tensors of transforms need, which never come here, and two microseconds.
_apply = super(torch.autograd.Function, _Function).apply


def _gradients_by_torch(
    chain: Chain, inputs: Sequence[Tensor | None], dout: Tensor, wanted: Sequence[bool]
) -> list[Tensor | None]:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, each by itself: layers may share a weight, and x may be made of one.
        inputs = [t.view_as(t) if w and t is not None else t for t, w in zip(inputs, wanted, strict=True)]
        x, *parameters = inputs
        out = by_torch(chain.codes, x, views(chain.shapes, *parameters) if chain.flat else parameters)
    chosen = [t for t, w in zip(inputs, wanted, strict=True) if w]
    found = iter(torch.autograd.grad(out, chosen, dout, create_graph=create_graph))
    return [next(found) if w else None for w in wanted]


def by_torch(codes: Sequence[int], x: Tensor, parameters: Parameters) -> Tensor:
    """Return the output of layers, of which the parameters are a weight and a bias each, by PyTorch's own functions."""
    for code, weight, bias in zip(codes, parameters[::2], parameters[1::2], strict=True):
        x = FUNCTIONS[code](functional.linear(x, weight, bias))
    return x


def flat_by_torch(codes: Sequence[int], shapes: Sequence[Shape | None], x: Tensor, flat: Tensor) -> Tensor:
    """Return what `by_torch` does for parameters that are one flat tensor."""
    return by_torch(codes, x, views(shapes, flat))


torch.fx.wrap("flat_by_torch")  # one node of a symbolic trace, where the views would be constants


def views(shapes: Sequence[Shape | None], flat: Tensor) -> list[Tensor | None]:
    """Return views of these shapes, one after another, of a flat tensor."""
    pieces = iter(flat.split([math.prod(shape) for shape in shapes if shape is not None]))
    return [None if shape is None else next(pieces).view(shape) for shape in shapes]


def run(codes: tuple[int, ...], x: Tensor, parameters: Parameters) -> Tensor:
    """Return the output of layers for x, (*, in_features), by fastbp where it can and by PyTorch elsewhere.

    The parameters are a weight and a bias for each layer.

    Raises
    ------
    RuntimeError
        If the shapes do not fit together.
    """
    return run_eagerly(codes, x, parameters) if eager() else by_torch(codes, x, parameters)


def run_eagerly(codes: tuple[int, ...], x: Tensor, parameters: Parameters) -> Tensor:
    """Return what `run` does, where it is known that nothing traces it; see `conditions.eager`."""
    if not _is_readable(x) or _is_torchs(codes, x, parameters):
        return by_torch(codes, x, parameters)
    x, found = _look(x, parameters)
    if found is None:
        return by_torch(codes, x, parameters)
    (_, *shapes), addresses = found
    return _compute(chain_of(codes, tuple(shapes), False), addresses, x, parameters)


def run_flat(chain: Chain, x: Tensor, flat: Tensor) -> Tensor:
    """Return what `run` does for a chain of one flat parameter."""
    x, found = _look(x, (flat,)) if eager() and _is_readable(x) else (x, None)
    if found is None or found[0][1:] != chain.parameters:
        return flat_by_torch(chain.codes, chain.shapes, x, flat)
    return _compute(chain, found[1], x, (flat,))


def _is_readable(x: Tensor) -> bool:
    """Whether x is such a tensor as kernels read."""
    return type(x) in PLAIN and x.dtype in LIKE and x.layout is torch.strided and x.dim() > 0 and not x.is_nested


def _is_torchs(codes: tuple[int, ...], x: Tensor, parameters: Parameters) -> bool:
    """Whether PyTorch computes layers as fast."""
    if len(codes) == 1:
        weight = parameters[0]
        return weight is not None and is_small(codes[0], x.numel() * weight.shape[0])
    return x.numel() == x.shape[-1] and sum(w.numel() for w in parameters[::2] if w is not None) > MOST_FOR_A_ROW


def is_small(code: int, multiplications: int) -> bool:
    """Whether a single layer with this activation is PyTorch's."""
    return code in FEWEST and multiplications < FEWEST[code]


def _look(x: Tensor, parameters: Parameters) -> tuple[Tensor, tuple[list[Shape | None], list[int]] | None]:
    x = contiguous(x)
    return x, look((x, *parameters), x.dtype)


def _compute(chain: Chain, addresses: list[int], x: Tensor, parameters: Parameters) -> Tensor:
    if x.shape[-1] != chain.in_features:
        raise RuntimeError(f"Linear expects input of shape (..., {chain.in_features}), got {tuple(x.shape)}")
    if torch.is_grad_enabled() and (x.requires_grad or any(p is not None and p.requires_grad for p in parameters)):
        return _apply(chain, addresses, x, *parameters)
    return chain.forward(x, addresses, keep=False)[0]
