"""Layers as PyTorch's modules and back: what `Sequential.to_torch` and `from_torch` do, layer by layer.

Most classes of layers name the one of PyTorch's that takes the same arguments (`Layer._torch`), and are made and read
by that alone. The others have a function each way here.
"""

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from fastbp._base.schedule import Schedule
from fastbp.nn.activation_layers import Activation, ParametricActivation, PReLU
from fastbp.nn.dense import Dense
from fastbp.nn.embedding import Embedding
from fastbp.nn.layer import LAYERS, Layer
from fastbp.nn.members import MemberDense, Members
from fastbp.nn.periodic import Periodic
from fastbp.nn.residual import Residual

try:
    import torch
    from torch import nn

    from fastbp.nn import torch_modules
except ModuleNotFoundError as error:
    raise ImportError("to_torch and from_torch need PyTorch: pip install 'fastbp[torch]'") from error

__all__ = [
    "FROM_TORCH", "SEQUENCES", "TO_TORCH", "check_channels", "check_module", "dense_of", "layers_of", "modules_of",
    "nn", "sequence_of",
]  # fmt: skip

DTYPES = {"float32": torch.float32, "float64": torch.float64}
TO_TORCH: dict[type[Layer], Callable[[Any], list[nn.Module]]] = {}
FROM_TORCH: dict[type[nn.Module], Callable[[Any], Layer]] = {}


def module_class(name: str) -> type[nn.Module]:
    """Return the class of this name, of PyTorch's or of `torch_modules`."""
    found: type[nn.Module] = getattr(torch_modules, name, None) or getattr(nn, name)
    return found


def check_channels(layers: Iterable[Layer], who: str) -> None:
    """Raise a ValueError for a PReLU of several parameters behind `Members`: PyTorch's would have one a member."""
    for layer in itertools.dropwhile(lambda layer: not isinstance(layer, Members), layers):
        for _, part in layer._inside(""):
            if isinstance(part, PReLU) and part.num_parameters > 1:
                raise ValueError(
                    f"{who} expects a PReLU of one parameter behind Members, whose features are no channels to "
                    f"PyTorch; got {part}"
                )


# From layers


def sequence_of(layers: Iterable[Layer], *, flat: bool = False) -> nn.Sequential:
    """Return layers as modules in a ``torch.nn.Sequential``; `flat` puts the outputs of members side by side."""
    modules = [module for layer in layers for module in modules_of(layer)]
    return nn.Sequential(*modules, *[nn.Flatten(1)] * flat)


def modules_of(layer: Layer) -> list[nn.Module]:
    """Return the modules that compute what a layer does, with its parameters."""
    make = next((TO_TORCH[cls] for cls in type(layer).__mro__ if cls in TO_TORCH), _module_like)
    return make(layer)


def _module_like(layer: Layer) -> list[nn.Module]:
    """Return the module of the class that a layer names, of the same arguments."""
    if not layer._torch:
        raise TypeError(f"to_torch expects layers that PyTorch has a module for, got {layer}")
    arguments = {name: value for name, value in layer._config().items() if name != "kind"}
    for name, value in arguments.items():
        if isinstance(value, Schedule):
            raise ValueError(f"to_torch expects numbers, got {name}={value} of {type(layer).__name__}")
    if "dtype" in arguments:
        arguments["dtype"] = DTYPES[arguments["dtype"]]
    return [_with_parameters(module_class(layer._torch)(**arguments), layer)]


def _with_parameters(module: nn.Module, layer: Layer) -> nn.Module:
    """Copy a layer's parameters and buffers to a module that has their names."""
    module.load_state_dict({name: torch.tensor(np.array(value)) for name, value in layer._tensors().items()})
    return module.requires_grad_(layer.trainable)


def _from_dense(layer: Dense) -> list[nn.Module]:
    dtype = DTYPES[layer.dtype.name]
    linear = _with_parameters(nn.Linear(layer.in_features, layer.out_features, layer.has_bias, dtype=dtype), layer)
    return [linear] if layer.activation == "identity" else [linear, torch_modules.activation_module(layer._kind)]


def _from_parametric(layer: ParametricActivation) -> list[nn.Module]:
    activation = torch_modules.activation_module(layer._kind)
    made = torch_modules.ParametricActivation(
        layer.in_features, activation, layer._init, dtype=DTYPES[layer.dtype.name]
    )
    return [_with_parameters(made, layer)]


TO_TORCH |= {
    Dense: _from_dense,
    Activation: lambda layer: [torch_modules.activation_module(layer._kind)],
    ParametricActivation: _from_parametric,
    Residual: lambda layer: [torch_modules.Residual(*sequence_of(layer.layers))],
}


# From modules


def layers_of(modules: Iterable[nn.Module]) -> list[Layer]:
    """Return the layers that compute what modules do, one after another, with their parameters.

    An activation after a Linear becomes that of the dense layer. TypeError or ValueError where there are none.
    """
    parts = [part for module in modules for part in _parts(module)]
    if any(isinstance(part, torch_modules.Members) for part in parts) and isinstance(parts[-1], nn.Flatten):
        parts.pop()  # fastbp's outputs of members are side by side as they are
    layers: list[Layer] = []
    linear = None
    for part in parts:
        activation, last = torch_modules.activation_of(part), layers[-1] if layers else None
        if activation and isinstance(last, Dense) and last.activation == "identity":
            layers[-1] = dense_of(linear, activation.name)
        else:
            layers.append(Activation(activation.name) if activation else _layer_of(part))
        linear = part if isinstance(part, nn.Linear) else linear
    return layers


def check_module(module: nn.Module) -> None:
    """Raise a ValueError where layers would not do what a module does."""
    for part in module.modules():
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
            raise ValueError(f"from_torch expects modules without hooks, got some of {part}")
    tensors = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
    if len(tensors) > len(set(tensors)):
        raise ValueError("from_torch expects modules with parameters of their own, got some that share them")


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that run one after another."""
    if type(module) in SEQUENCES:
        for child in module._modules.values():
            yield from _parts(child)
    else:
        yield module


def _layer_of(module: nn.Module) -> Layer:
    named = {module_class(cls._torch): cls for cls in LAYERS.values() if cls._torch}
    kind = type(module)
    if kind in FROM_TORCH:
        return FROM_TORCH[kind](module)
    if kind in named:
        return _layer_like(named[kind], module)
    known = sorted({cls.__name__ for cls in (*FROM_TORCH, *named)})
    raise TypeError(f"from_torch expects Sequential, {', '.join(known)} and activations that fastbp has, got {module}")


def _layer_like(cls: type[Layer], module: nn.Module) -> Layer:
    """Return the layer of a class whose arguments are attributes of a module."""
    arguments: dict[str, Any] = {}
    for name in inspect.signature(cls).parameters:
        if name == "dtype":
            arguments[name] = _dtype_of(module)
        elif name == "bias":
            arguments[name] = module.bias is not None
        else:
            arguments[name] = getattr(module, name)
    return _with_parameters_of(cls(**arguments), module)


def _dtype_of(module: nn.Module) -> str:
    """Return the dtype of a module's numbers; float32 without any, for the error about that."""
    found = {value.dtype for value in module.state_dict().values() if value.is_floating_point()} or {torch.float32}
    names = [name for name, dtype in DTYPES.items() if {dtype} == found]
    if not names:
        raise TypeError(f"from_torch expects parameters of float32 or float64, got {module} of {found}")
    return names[0]


def _with_parameters_of(layer: Layer, module: nn.Module) -> Layer:
    """Copy a module's parameters and buffers to a layer that has their names."""
    state = module.state_dict()
    own = layer._tensors()
    if state.keys() != own.keys():
        raise ValueError(
            f"from_torch expects {module} with {', '.join(own) or 'no parameters'}, got {', '.join(state) or 'none'}"
        )
    for name, value in own.items():
        value[...] = state[name].detach().cpu().numpy()
    wanted = {p.requires_grad for p in module.parameters()}
    if len(wanted) > 1:
        raise ValueError(f"from_torch expects requires_grad to be the same for all parameters of {module}, got both")
    layer.trainable = wanted != {False}
    return layer


def dense_of(linear: nn.Linear, activation: str = "identity") -> Layer:
    """Return the dense layer of a Linear, with an activation."""
    sizes = linear.in_features, linear.out_features
    layer = Dense(*sizes, activation, bias=linear.bias is not None, init="zeros", dtype=_dtype_of(linear))
    return _with_parameters_of(layer, linear)


def _parametric_of(module: torch_modules.ParametricActivation) -> Layer:
    activation = torch_modules.activation_of(module.activation)
    if activation is None:
        raise TypeError(f"from_torch expects an activation that fastbp has, got {module.activation}")
    layer = ParametricActivation(module.features, activation.name, module.init, dtype=_dtype_of(module))
    return _with_parameters_of(layer, module)


def _embedding_of(module: torch_modules.Embedding) -> Layer:
    layer = Embedding(module.cardinalities, module.dims, module.columns, dtype=_dtype_of(module))
    return _with_parameters_of(layer, module)


def _periodic_of(module: torch_modules.Periodic) -> Layer:
    sizes = module.features, module.frequencies, module.dim
    return _with_parameters_of(Periodic(*sizes, in_features=module.in_features, dtype=_dtype_of(module)), module)


def _members_of(module: torch_modules.Members) -> Layer:
    return _with_parameters_of(Members(module.features, module.members, dtype=_dtype_of(module)), module)


def _member_dense_of(module: torch_modules.MemberDense) -> Layer:
    sizes = module.in_features, module.out_features, module.members
    return _with_parameters_of(MemberDense(*sizes, dtype=_dtype_of(module)), module)


# Modules that are nothing but their children, one after another
SEQUENCES: set[type[nn.Module]] = {nn.Sequential}
FROM_TORCH |= {
    nn.Linear: dense_of,
    torch_modules.Embedding: _embedding_of,
    torch_modules.MemberDense: _member_dense_of,
    torch_modules.Members: _members_of,
    torch_modules.ParametricActivation: _parametric_of,
    torch_modules.Periodic: _periodic_of,
    torch_modules.Residual: lambda module: Residual(*layers_of(module._modules.values())),
}
