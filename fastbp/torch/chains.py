"""Chains of dense layers as one autograd function: one compiled call forward, one backward."""

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fastbp.kernels.activations import CODES, FIRST_STORED_SLOPE, IDENTITY
from fastbp.kernels.chain import ABSENT, DB, DW, B, W, chain_backward, chain_forward, chain_partials, make_chain
from fastbp.torch.conditions import LIKE, contiguous, eager, readable, tasks

# What PyTorch computes where fastbp cannot
ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    CODES["identity"]: lambda z: z,
    CODES["relu"]: functional.relu,
    CODES["leaky_relu"]: functional.leaky_relu,
    CODES["elu"]: functional.elu,
    CODES["sigmoid"]: torch.sigmoid,
    CODES["tanh"]: torch.tanh,
    CODES["softplus"]: functional.softplus,
    CODES["silu"]: functional.silu,
    CODES["gelu"]: functional.gelu,
    CODES["gelu_tanh"]: functools.partial(functional.gelu, approximate="tanh"),
}


class Layer(NamedTuple):
    """A dense layer: shapes of its weight and bias, and its activation's code."""

    weight: tuple[int, ...]
    bias: tuple[int, ...] | None
    code: int


class Chain:
    """What stays the same from call to call. Its parameters are a weight and a bias a layer, or one flat tensor of all.

    Raises
    ------
    RuntimeError
        If the layers' shapes do not fit together.
    """

    def __init__(self, layers: Sequence[Layer], flat: bool) -> None:
        for i, layer in enumerate(layers):
            if len(layer.weight) != 2 or layer.bias not in (None, layer.weight[:1]):
                raise RuntimeError(
                    f"a Linear expects weight (out, in) and bias (out,), got {tuple(layer.weight)} and "
                    f"{layer.bias} in layer {i}"
                )
        for i, (below, layer) in enumerate(pairwise(layers), 1):
            if layer.weight[1] != below.weight[0]:
                raise RuntimeError(
                    f"layer {i} of a chain expects in_features {below.weight[0]}, the out_features before it; "
                    f"got {layer.weight[1]}"
                )
        self.layers = layers
        self.flat = flat
        self.in_features, self.out_features = layers[0].weight[1], layers[-1].weight[0]
        self.work = sum(2 * layer.weight[0] * layer.weight[1] for layer in layers)
        last = layers[-1].code
        self.reads_output = last != IDENTITY and last < FIRST_STORED_SLOPE
        # Of each parameter: its layer, its column in the table, and that of its gradient.
        self.rows, self.places, self.gradients = np.array(
            [
                (i, *columns)
                for i, layer in enumerate(layers)
                for columns in ((W, DW), (B, DB))[: 1 if layer.bias is None else 2]
            ]
        ).T
        sizes = [(layer.weight[1], layer.weight[0], layer.code, layer.bias is not None) for layer in layers]
        self.tables = {dtype: make_chain(sizes, like.itemsize) for dtype, like in LIKE.items()}

    def table(self, parameters: Sequence[Tensor]) -> tuple[NDArray[np.int64], int]:
        """Return the kernel's table for these parameters, and the address that it counts from."""
        table = self.tables[parameters[0].dtype][0]
        if self.flat:
            return table, parameters[0].data_ptr()
        table = table.copy()
        table[self.rows, self.places] = [p.data_ptr() for p in parameters]
        return table, 0

    def forward(self, x: Tensor, parameters: Sequence[Tensor], keep: bool) -> tuple[Tensor, Tensor]:
        """Return the output, and the workspace: with `keep` it has what the backward pass needs."""
        table, base = self.table(parameters)
        _, kept, turns = self.tables[x.dtype]
        batch = x.numel() // self.in_features
        # An allocation takes as long as a small product, so the backward pass finds its room here too.
        work = torch.empty(
            batch * turns if not keep else batch * (kept + turns) + _partials(self, batch), dtype=x.dtype
        )
        out = x.new_empty((batch, self.out_features) if x.dim() == 2 else (*x.shape[:-1], self.out_features))
        chain_forward(
            table, LIKE[x.dtype], base, x.data_ptr(), batch, keep, work.data_ptr(), out.data_ptr(),
            tasks(self.work * batch),
        )  # fmt: skip
        return out, work

    def backward(
        self,
        x: Tensor,
        parameters: Sequence[Tensor],
        out: Tensor | None,
        work: Tensor,
        dout: Tensor,
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        """Return the gradients by x and by the parameters, None where one is not wanted."""
        table, base = self.table(parameters)
        dout = contiguous(dout)
        batch = x.numel() // self.in_features
        dx = torch.empty_like(x) if wanted[0] else None
        grads = [torch.empty_like(p) if w else None for p, w in zip(parameters, wanted[1:], strict=True)]
        lowest, grads_base = 0, 0
        if self.flat:
            if grads[0] is not None:
                grads_base = grads[0].data_ptr()
            else:
                table = table.copy()
                table[:, [DW, DB]] = ABSENT
        else:
            table[self.rows, self.gradients] = [ABSENT if g is None else g.data_ptr() for g in grads]
            if dx is None:
                lowest = next(int(row) for row, g in zip(self.rows, grads, strict=True) if g is not None)
        _, kept, turns = self.tables[x.dtype]
        room = work.data_ptr() + batch * kept * x.itemsize
        chain_backward(
            table, LIKE[x.dtype], base, x.data_ptr(), batch, work.data_ptr(), 0 if out is None else out.data_ptr(),
            dout.data_ptr(), grads_base, 0 if dx is None else dx.data_ptr(), room,
            room + batch * turns * x.itemsize, lowest, tasks(2 * self.work * batch),
        )  # fmt: skip
        return [dx, *grads]

    def by_torch(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Return the output by PyTorch's own functions."""
        parts = iter(self.views(parameters[0]) if self.flat else parameters)
        for layer in self.layers:
            weight = next(parts)
            bias = None if layer.bias is None else next(parts)
            x = ACTIVATIONS[layer.code](functional.linear(x, weight, bias))
        return x

    def views(self, flat: Tensor) -> list[Tensor]:
        """Return each weight and bias as a view of a flat tensor."""
        shapes = [shape for layer in self.layers for shape in (layer.weight, layer.bias) if shape is not None]
        pieces = flat.split([int(np.prod(shape)) for shape in shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


@functools.lru_cache(1024)
def _partials(chain: Chain, batch: int) -> int:
    return chain_partials(chain.tables[torch.float32][0], batch)


@functools.lru_cache(1024)
def chain_of(*layers: Layer, flat: bool = False) -> Chain:
    """Return the chain of these layers."""
    return Chain(layers, flat)


class _Function(torch.autograd.Function):
    """A chain with a backward pass."""

    @staticmethod
    def forward(ctx: Any, chain: Chain, x: Tensor, *parameters: Tensor) -> Tensor:
        out, work = chain.forward(x, parameters, keep=True)
        ctx.chain = chain
        ctx.save_for_backward(x, out if chain.reads_output else None, work, *parameters)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Any, ...]:
        x, out, work, *parameters = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # create_graph: this gradient is to be differentiated too
            return None, *_differentiable(ctx.chain, [x, *parameters], dout, wanted)
        return None, *ctx.chain.backward(x, parameters, out, work, dout, wanted)


def _differentiable(
    chain: Chain, inputs: Sequence[Tensor], dout: Tensor, wanted: Sequence[bool]
) -> list[Tensor | None]:
    out = chain.by_torch(inputs[0], inputs[1:])
    chosen = [t for t, w in zip(inputs, wanted, strict=True) if w]
    found = iter(torch.autograd.grad(out, chosen, dout, create_graph=True))
    return [next(found) if w else None for w in wanted]


def run(chain: Chain, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return a chain's output for x, (*, in_features), by fastbp where it can and by PyTorch elsewhere.

    Raises
    ------
    RuntimeError
        If x does not have in_features columns.
    """
    dtype = parameters[0].dtype
    wanted = x.requires_grad
    usable = dtype in LIKE and readable(x, dtype) and x.dim() > 0 and eager()
    for p in parameters:
        usable = usable and readable(p, dtype) and p.is_contiguous()
        wanted = wanted or p.requires_grad
    if not usable:
        return chain.by_torch(x, parameters)
    if x.shape[-1] != chain.in_features:
        raise RuntimeError(f"Linear expects input of shape (..., {chain.in_features}), got {tuple(x.shape)}")
    x = contiguous(x)
    if wanted and torch.is_grad_enabled():
        return _Function.apply(chain, x, *parameters)
    return chain.forward(x, parameters, keep=False)[0]
