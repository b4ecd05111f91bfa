"""The activations as PyTorch has them: modules that one of fastbp's stands for, and the functions of those modules."""

from collections.abc import Callable

from torch import Tensor, nn

from fastbp.kernels.activations import ACTIVATIONS, Activation

__all__ = ["FUNCTIONS", "PLAIN_CODES", "code_of", "module_of"]


def module_of(activation: str) -> nn.Module:
    """Return a module of PyTorch's that computes an activation."""
    kind = ACTIVATIONS[activation]
    module: nn.Module = getattr(nn, kind.torch)(**kind.torch_options)
    return module


# By the class of module: those that it may be, which its options tell
_BY_MODULE: dict[type[nn.Module], list[Activation]] = {}
for _kind in ACTIVATIONS.values():
    _BY_MODULE.setdefault(getattr(nn, _kind.torch), []).append(_kind)
# The modules without options, with their activations' codes
PLAIN_CODES = {module: kinds[0].code for module, kinds in _BY_MODULE.items() if not kinds[0].torch_options}
# What PyTorch computes, by an activation's code, where fastbp cannot. A module's own method calls no hooks.
FUNCTIONS: dict[int, Callable[[Tensor], Tensor]] = {
    kind.code: module_of(name).forward for name, kind in ACTIVATIONS.items()
}


def code_of(module: nn.Module) -> int | None:
    """Return the code of the activation that a module computes, None if fastbp has none."""
    for kind in _BY_MODULE.get(type(module), ()):
        if all(getattr(module, option) == value for option, value in kind.torch_options.items()):
            return kind.code
    return None
