"""Modules of PyTorch's kind for layers that ``torch.nn`` has not: arguments and parameters have the layers' names."""

from typing import Any

import torch
from torch import Tensor, nn

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.activations.registry import Activation

__all__ = ["ParametricActivation", "Residual", "Scale", "activation_module", "activation_of"]


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
