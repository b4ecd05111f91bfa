"""The activations as PyTorch has them: modules that one of fastbp's stands for, and the functions of those modules."""

from collections.abc import Callable

from torch import Tensor, nn

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.nn.torch_modules import activation_module, activation_of

__all__ = ["FUNCTIONS", "PLAIN_CODES", "code_of", "module_of"]


def module_of(activation: str) -> nn.Module:
    """Return a module of PyTorch's that computes an activation."""
    return activation_module(ACTIVATIONS[activation])


# The modules without options, with their activations' codes
PLAIN_CODES = {getattr(nn, kind.torch): kind.code for kind in ACTIVATIONS.values() if not kind.torch_options}
# What PyTorch computes, by an activation's code, where fastbp cannot. A module's own method calls no hooks.
FUNCTIONS: dict[int, Callable[[Tensor], Tensor]] = {
    kind.code: module_of(name).forward for name, kind in ACTIVATIONS.items()
}


def code_of(module: nn.Module) -> int | None:
    """Return the code of the activation that a module computes, None if fastbp has none."""
    kind = activation_of(module)
    return None if kind is None else kind.code
