"""`replace_`: fused chains in a module that is already there, and `restore_`, the way back."""

from dataclasses import dataclass, field

from torch import nn

from fastbp.torch.layers import Linear, Sequential, has_chain
from fastbp.torch.mlp import MLP

__all__ = ["Replaced", "replace_", "restore_"]


@dataclass
class Replaced:
    """What `replace_` did, by the names of ``model.named_modules()``; "" is the model itself.

    Attributes
    ----------
    replaced : list of str
        The sequences whose chains run fused now.
    left : dict of str to str
        What has dense layers and was left alone, and why.
    """

    replaced: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"fused       {name or '(the model itself)'}" for name in self.replaced]
        lines += [f"left alone  {name or '(the model itself)'}: {reason}" for name, reason in self.left.items()]
        return "\n".join(lines) or "nothing to replace: no Linear in the model"


def replace_(model: nn.Module) -> Replaced:
    """Fuse every chain of Linear and activation in a module's ``nn.Sequential``s, in place.

    Each such ``nn.Sequential`` becomes a `fastbp.torch.Sequential`. It stays the same object with the same children and
    Parameters, so whatever refers to it, an optimizer or a checkpoint, goes on. How much faster it is, if at all,
    depends on the sizes: measure yours. A small network trains fastest as an `MLP`. `restore_` is the way back.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.

    Returns
    -------
    Replaced
        What was fused, and what was left alone for which reason; ``print`` it.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import replace_
    >>> layers = torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.ReLU()
    >>> model = torch.nn.ModuleDict({"body": torch.nn.Sequential(*layers), "head": torch.nn.Linear(8, 2)})
    >>> print(replace_(model))
    fused       body
    left alone  head: a Linear outside of an nn.Sequential
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"replace_ expects model to be a torch.nn.Module, got {type(model).__name__}")
    report = Replaced()
    seen: set[int] = set()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Sequential):
            linears = [child for child in module if isinstance(child, nn.Linear)]
            seen.update(map(id, linears))
            if not linears or type(module) is Sequential:
                continue
            if type(module) is not nn.Sequential:
                report.left[name] = f"a {type(module).__name__}, whose forward may be another"
            elif not has_chain(module):
                report.left[name] = "no Linear beside another or beside an activation that fastbp has"
            else:
                module.__class__ = Sequential
                report.replaced.append(name)
        elif isinstance(module, MLP):
            seen.update(id(child) for name, child in module.named_children() if name in module._layers)
        elif isinstance(module, nn.Linear) and type(module) is not Linear and id(module) not in seen:
            report.left[name] = "a Linear outside of an nn.Sequential"
    return report


def restore_(model: nn.Module) -> nn.Module:
    """Make ``nn.Sequential`` of each `fastbp.torch.Sequential` in a module again, in place: the way back of `replace_`.

    Nothing but the class of those modules changes: they stay the same objects, with their children, Parameters,
    buffers, hooks and modes. A `Linear`, `MLP` or `CrossEntropyLoss` that was made as one stays.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import replace_, restore_
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> report = replace_(model)
    >>> type(restore_(model))
    <class 'torch.nn.modules.container.Sequential'>
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"restore_ expects model to be a torch.nn.Module, got {type(model).__name__}")
    for module in model.modules():
        if type(module) is Sequential:
            module.__class__ = nn.Sequential
    return model
