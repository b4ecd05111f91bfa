"""Modules of dense layers: one layer, and a sequence that runs its chains at once."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as _module

from fastbp._base import check
from fastbp._base.docs import listed, with_lists
from fastbp.kernels.activations import ACTIVATIONS, IDENTITY, LEAKY_RELU
from fastbp.nn.in_torch import FROM_TORCH, SEQUENCES, dense_of
from fastbp.torch.activations import PLAIN_CODES, code_of
from fastbp.torch.chains import is_small, run, run_eagerly
from fastbp.torch.conditions import compiling, eager
from fastbp.torch.scripting import refused

__all__ = ["Linear", "Sequential", "has_chain", "parts_of", "run_children"]


@with_lists(activations=listed(name for name in ACTIVATIONS if name != "identity"))
class Linear(nn.Linear):
    """``torch.nn.Linear`` with an activation: ``g(x @ weight.T + bias)``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of an input row and of an output row.
    bias : bool, default True
        Whether there is a bias.
    device, dtype
        As in ``torch.nn.Linear``.
    activation : str, optional
        g: {activations}; None for none.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None
        As PyTorch's in initial values, for the same seed, and in the state_dict.

    Raises
    ------
    ValueError
        If there is no such activation.
    RuntimeError
        If an input does not have `in_features` columns.

    Notes
    -----
    See `fastbp.torch` for where PyTorch's own functions compute.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import Linear
    >>> layer = Linear(3, 2, activation="tanh")
    >>> layer(torch.zeros(5, 4, 3)).shape
    torch.Size([5, 4, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        activation: str | None = None,
    ) -> None:
        self._code: int = IDENTITY
        if activation is not None:
            self._code = check.choice(activation, ACTIVATIONS, "Linear", "activation").code
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = activation

    __prepare_scriptable__ = refused("script torch.nn.Linear, which loads its state_dict, and the activation")

    def forward(self, input: Tensor) -> Tensor:
        """Return ``g(input @ weight.T + bias)`` for an input of shape (*, in_features)."""
        if self._code == IDENTITY and type(input) is Tensor and not compiling():
            size = input.numel()  # a tensor while PyTorch traces
            if type(size) is int and is_small(IDENTITY, size * self.out_features):  # PyTorch's, found out at once
                return functional.linear(input, self.weight, self.bias)
        return run((self._code,), input, (self.weight, self.bias))

    def extra_repr(self) -> str:  # noqa: D102
        own = "" if self.activation is None else f", activation={self.activation!r}"
        return f"{super().extra_repr()}{own}"


class Sequential(nn.Sequential):
    """``torch.nn.Sequential`` whose chains of Linear and activation each run as one call, forward and backward.

    The children are those of PyTorch, or `Linear`, and stay as they are: parameters, state_dict, indexing, and layers
    frozen by ``requires_grad_(False)``. Other modules among them run as always, and so do children with hooks. Dropout
    draws PyTorch's numbers in training and ends a chain there; in evaluation mode chains go through it.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import Sequential
    >>> model = Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> list(model.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> model(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    """

    __prepare_scriptable__ = refused("restore_(model) makes torch.nn.Sequential of it again")

    def forward(self, input: Tensor) -> Tensor:
        """Run the children one after another, chains of them at once."""
        return run_children(list(self._modules.values()), input)


# What `fastbp.from_torch` makes of these two
SEQUENCES.add(Sequential)
FROM_TORCH[Linear] = lambda module: dense_of(module, module.activation or "identity")


def run_children(children: Sequence[Any], input: Tensor) -> Tensor:
    """Return what modules make of the input, one after another, chains of them at once."""
    if not eager() or _module._has_any_global_hook():
        for child in children:
            input = child(input)
        return input
    for part in parts_of(children):
        if isinstance(part, int):
            input = children[part](input)
            continue
        parameters: list[Tensor | None] = []
        for i in part.linears:
            own = children[i]._parameters
            parameters += own["weight"], own["bias"]
        if part.codes:
            input = run_eagerly(part.codes, input, parameters)
        else:
            input = functional.linear(input, *parameters)
    return input


class Fused(NamedTuple):
    """A chain among the children of a sequence: which are Linear, and the code of the activation after each.

    Without codes it is a ``torch.nn.Linear`` alone, which stays PyTorch's.
    """

    linears: tuple[int, ...]
    codes: tuple[int, ...]


# What a child may be in a chain, with the code of its activation; None is a child that runs for itself. One that passes
# its input on is not there.
Role = tuple[str, int] | None
_PASSES: Role = ("passes", IDENTITY)
_IN_PLACE: Role = ("in place", IDENTITY)  # runs for itself and writes to its input
_ROLES: dict[type[nn.Module], Role] = {
    nn.Linear: ("linear", IDENTITY),
    **{kind: ("activation", code) for kind, code in PLAIN_CODES.items()},
}


def _role(child: nn.Module) -> Role:
    own = child.__dict__  # much is asked for here, and this is sooner than attributes
    if (
        own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
        or "forward" in own
    ):  # fmt: skip
        return None
    kind = type(child)
    if kind is nn.Linear or kind is Linear:
        parameters = own["_parameters"]
        if parameters.get("weight") is None or "bias" not in parameters:
            return None
        return _ROLES[nn.Linear] if kind is nn.Linear else ("own linear", child._code)
    if kind is nn.Dropout and not own["training"]:
        return _PASSES
    if kind in _ROLES:
        return _ROLES[kind]
    code = code_of(child)
    if code is None:
        return _IN_PLACE if own.get("inplace") else None
    return "activation", code


@functools.lru_cache(1024)
def _parts(roles: tuple[Role, ...]) -> tuple[int | Fused, ...]:
    found: list[int | Fused] = []
    linears: list[int] = []
    codes: list[int] = []
    acting: list[int] = []  # the child that is the activation of the chain's last layer, if there is one
    for i, role in enumerate([*roles, None]):  # None ends the last chain
        kind, code = role or (None, IDENTITY)
        if kind == "passes":
            continue
        if kind in ("linear", "own linear"):
            linears.append(i)
            codes.append(code)
            acting = []
        elif kind == "activation" and linears and codes[-1] == IDENTITY:
            codes[-1], acting = code, [i]
        else:
            alone: list[int] = []
            if kind == "in place" and acting and codes[-1] == LEAKY_RELU:
                # PyTorch's own may have its output written to; that of a chain is read on the way back.
                alone, acting, codes[-1] = acting, [], IDENTITY
            if len(linears) > 1 or acting:
                found.append(Fused(tuple(linears), tuple(codes)))
            elif linears:
                found.append(Fused((linears[0],), ()) if roles[linears[0]] == _ROLES[nn.Linear] else linears[0])
            linears, codes, acting = [], [], []
            found += [*alone, i]
    return tuple(found[:-1])


def parts_of(children: Iterable[nn.Module]) -> tuple[int | Fused, ...]:
    """Return what runs at once: chains, and the numbers of children that run for themselves."""
    return _parts(tuple([_role(child) for child in children]))


def has_chain(children: Iterable[nn.Module]) -> bool:
    """Return whether some children run at once, if only where dropout does nothing."""
    roles = [_PASSES if type(child) is nn.Dropout else _role(child) for child in children]
    return any(isinstance(part, Fused) and part.codes for part in _parts(tuple(roles)))
