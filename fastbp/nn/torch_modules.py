"""Modules of PyTorch's kind for layers that ``torch.nn`` has not: arguments and parameters have the layers' names."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.activations.registry import Activation

__all__ = [
    "Embedding", "MemberDense", "Members", "ParametricActivation", "Periodic", "Residual", "Scale", "activation_module",
    "activation_of",
]  # fmt: skip


class Residual(nn.Sequential):
    """``y = x + layers(x)``, as `fastbp.Residual`.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import Residual
    >>> Residual(torch.nn.Linear(3, 3), torch.nn.ReLU())(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the input and what the children make of it, added up."""
        inner: Tensor = super().forward(input)
        return input + inner


class Scale(nn.Module):
    """``y = x * weight``, as `fastbp.Scale`.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import Scale
    >>> Scale(3)(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(self, features: int, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.ones(features, device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        """Return the input times the weight of each feature."""
        return input * self.weight

    def extra_repr(self) -> str:  # noqa: D102
        return str(self.features)


class Embedding(nn.ModuleList):
    """Columns of codes give way to rows of tables, behind the other columns, as `fastbp.Embedding`.

    The children are ``torch.nn.Embedding``, one for each of these columns.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import Embedding
    >>> Embedding([12, 7], [4, 3], [0, 2])(torch.zeros(2, 3)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, cardinalities: Sequence[int], dims: Sequence[int], columns: Sequence[int], device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        sizes = zip(cardinalities, dims, strict=True)
        super().__init__(nn.Embedding(*pair, device=device, dtype=dtype) for pair in sizes)
        self.cardinalities, self.dims, self.columns = list(cardinalities), list(dims), list(columns)

    def forward(self, input: Tensor) -> Tensor:
        """Return the other columns, and the rows that the codes name."""
        others = [j for j in range(input.shape[1]) if j not in self.columns]
        found = [table(input[:, j].long()) for table, j in zip(self, self.columns, strict=True)]
        return torch.cat([input[:, others], *found], dim=1)


class Periodic(nn.Module):
    """Each feature x becomes ``[x, weight @ cos(2 pi frequency x + phase) + bias]``, as `fastbp.Periodic`.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import Periodic
    >>> Periodic(3, frequencies=8, dim=4)(torch.ones(2, 3)).shape
    torch.Size([2, 12])
    """

    def __init__(
        self, features: int, frequencies: int = 16, dim: int = 4, sigma: float = 0.1, in_features: int | None = None,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features, self.frequencies, self.dim = features, frequencies, dim
        self.in_features = features if in_features is None else in_features
        own: dict[str, Any] = {"device": device, "dtype": dtype}
        edge = frequencies**-0.5
        self.frequency = nn.Parameter(sigma * torch.randn(features, frequencies, **own))
        self.phase = nn.Parameter(torch.empty(features, frequencies, **own).uniform_(-torch.pi, torch.pi))
        self.weight = nn.Parameter(torch.empty(features, dim - 1, frequencies, **own).uniform_(-edge, edge))
        self.bias = nn.Parameter(torch.empty(features, dim - 1, **own).uniform_(-edge, edge))

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, and the first number of every feature, the second, and so on."""
        angles = 2 * torch.pi * self.frequency * input[..., : self.features, None] + self.phase
        numbers = torch.einsum("...ik,ijk->...ji", torch.cos(angles), self.weight) + self.bias.T
        return torch.cat([input, numbers.flatten(-2)], dim=-1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.features}, frequencies={self.frequencies}, dim={self.dim}, in_features={self.in_features}"


class ParametricActivation(nn.Module):
    """``y = weight * g(x) + (1 - weight) * x``, as `fastbp.ParametricActivation`; g is a module.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import ParametricActivation
    >>> ParametricActivation(3, torch.nn.Mish(), init=0.5)(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, features: int, activation: nn.Module, init: float = 1.0, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.features, self.activation, self.init = features, activation, init
        self.weight = nn.Parameter(torch.full((features,), init, device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        """Return the activation and the input, mixed."""
        inner: Tensor = self.activation(input)
        return self.weight * inner + (1 - self.weight) * input

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.features}, init={self.init}"


class Members(nn.Module):
    """Each row becomes several, ``y[:, m] = x * weight[m]``, as `fastbp.Members`.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import Members
    >>> Members(3, members=8)(torch.ones(2, 3)).shape
    torch.Size([2, 8, 3])
    """

    def __init__(self, features: int, members: int = 32, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.features, self.members = features, members
        signs = 2 * torch.randint(2, (members, features), device=device) - 1
        self.weight = nn.Parameter(signs.to(dtype or torch.get_default_dtype()))

    def forward(self, input: Tensor) -> Tensor:
        """Return the members of each row, (rows, members, features)."""
        return input[:, None] * self.weight

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.features}, members={self.members}"


class MemberDense(nn.Module):
    """A linear layer of its own for each member, as `fastbp.MemberDense`.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import MemberDense
    >>> MemberDense(3, 2, members=8)(torch.ones(5, 8, 3)).shape
    torch.Size([5, 8, 2])
    """

    def __init__(
        self, in_features: int, out_features: int, members: int = 32, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.members = in_features, out_features, members
        own: dict[str, Any] = {"device": device, "dtype": dtype}
        edge = in_features**-0.5
        self.weight = nn.Parameter(torch.empty(members, out_features, in_features, **own).uniform_(-edge, edge))
        self.bias = nn.Parameter(torch.empty(members, out_features, **own).uniform_(-edge, edge))

    def forward(self, input: Tensor) -> Tensor:
        """Return what each member's layer makes of its rows, (rows, members, out_features)."""
        return torch.einsum("rmi,moi->rmo", input, self.weight) + self.bias

    def extra_repr(self) -> str:  # noqa: D102
        return f"in_features={self.in_features}, out_features={self.out_features}, members={self.members}"


def activation_module(kind: Activation) -> nn.Module:
    """Return a module of PyTorch's that computes an activation; TypeError for one of a user's own."""
    if not kind.torch:
        raise TypeError(f"to_torch expects activations that PyTorch has, got {kind.name}, one of your own")
    module: nn.Module = getattr(nn, kind.torch)(**kind.torch_options)
    return module


# By the class of module: those that it may be, which its options tell
_BY_MODULE: dict[type[nn.Module], list[Activation]] = {}
for _kind in ACTIVATIONS.values():
    _BY_MODULE.setdefault(getattr(nn, _kind.torch), []).append(_kind)


def activation_of(module: nn.Module) -> Activation | None:
    """Return the activation that a module of PyTorch's computes, None if fastbp has none."""
    for kind in _BY_MODULE.get(type(module), ()):
        if all(getattr(module, option) == value for option, value in kind.torch_options.items()):
            return kind
    return None
