"""Modules of dense layers: one layer, a sequence that runs its chains at once, a whole network of one parameter."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _module

from fastbp import _check
from fastbp.kernels.activations import CODES, IDENTITY, LEAK
from fastbp.torch.chains import chain_of, run, run_flat, views
from fastbp.torch.conditions import eager

__all__ = ["MLP", "Linear", "Sequential", "parts_of"]

# The modules that an activation of fastbp can stand for, with the options that make it the same.
_MODULES: dict[type[nn.Module], tuple[str, dict[str, Any]]] = {
    nn.Identity: ("identity", {}),
    nn.ReLU: ("relu", {}),
    nn.LeakyReLU: ("leaky_relu", {"negative_slope": LEAK}),
    nn.ELU: ("elu", {"alpha": 1.0}),
    nn.Sigmoid: ("sigmoid", {}),
    nn.Tanh: ("tanh", {}),
    nn.Softplus: ("softplus", {"beta": 1.0, "threshold": 20.0}),
    nn.SiLU: ("silu", {}),
}
_GELU = {"none": "gelu", "tanh": "gelu_tanh"}


def code_of(module: nn.Module) -> int | None:
    """Return the code of the activation that a module computes, None if fastbp has none."""
    if type(module) is nn.GELU:
        return CODES[_GELU[module.approximate]]
    name, options = _MODULES.get(type(module), (None, {}))
    if name is None or any(getattr(module, option) != value for option, value in options.items()):
        return None
    return CODES[name]


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
        g: relu, leaky_relu, elu, sigmoid, tanh, softplus, silu, gelu or gelu_tanh; None for none.

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
            self._code = _check.choice(activation, CODES, "Linear", "activation")
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        """Return ``g(input @ weight.T + bias)`` for an input of shape (*, in_features)."""
        return run((self._code,), input, (self.weight, self.bias))

    def extra_repr(self) -> str:  # noqa: D102
        own = "" if self.activation is None else f", activation={self.activation!r}"
        return f"{super().extra_repr()}{own}"


class Sequential(nn.Sequential):
    """``torch.nn.Sequential`` whose chains of Linear and activation each run as one call, forward and backward.

    The children are those of PyTorch, or `Linear`, and stay as they are: parameters, state_dict, indexing, and layers
    frozen by ``requires_grad_(False)``. Other modules among them, such as dropout, run as always, and so do children
    with hooks.

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

    def forward(self, input: Tensor) -> Tensor:
        """Run the children one after another, chains of them at once."""
        if not eager() or _module._has_any_global_hook():
            return super().forward(input)
        children = list(self._modules.values())
        for part in parts_of(children):
            if isinstance(part, int):
                input = children[part](input)
                continue
            parameters: list[Tensor | None] = []
            for i in part.linears:
                own = children[i]._parameters
                parameters += own["weight"], own["bias"]
            input = run(part.codes, input, parameters)
        return input


class Fused(NamedTuple):
    """A chain among the children of a sequence: which are Linear, and the code of the activation after each."""

    linears: tuple[int, ...]
    codes: tuple[int, ...]


# What a child may be in a chain, with the code of its activation; None is a child that runs for itself.
Role = tuple[str, int] | None
_ROLES: dict[type[nn.Module], Role] = {
    nn.Linear: ("linear", IDENTITY),
    **{kind: ("activation", CODES[name]) for kind, (name, options) in _MODULES.items() if not options},
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
        return _ROLES[nn.Linear] if kind is nn.Linear else ("linear", child._code)
    if kind in _ROLES:
        return _ROLES[kind]
    code = code_of(child)
    return None if code is None else ("activation", code)


@functools.lru_cache(1024)
def _parts(roles: tuple[Role, ...]) -> tuple[int | Fused, ...]:
    found: list[int | Fused] = []
    linears: list[int] = []
    codes: list[int] = []
    for i, role in enumerate([*roles, None]):  # None ends the last chain
        kind, code = role or (None, IDENTITY)
        if kind == "linear":
            linears.append(i)
            codes.append(code)
        elif kind == "activation" and linears and codes[-1] == IDENTITY:
            codes[-1] = code
        else:
            if linears:
                alone = i - linears[0] == 1
                found.append(linears[0] if alone else Fused(tuple(linears), tuple(codes)))
                linears, codes = [], []
            found.append(i)
    return tuple(found[:-1])


def parts_of(children: Iterable[nn.Module]) -> tuple[int | Fused, ...]:
    """Return what runs at once: chains, and the numbers of children that run for themselves."""
    return _parts(tuple([_role(child) for child in children]))


class MLP(nn.Module):
    """A network of dense layers as one module with one parameter: the fastest way here to train a small one.

    All weights and biases are one flat tensor, `flat`, so that autograd and an optimizer have one tensor to see to.
    Its state_dict is that of ``torch.nn.Sequential(Linear, ReLU, Linear, ...)``, which it loads too. To freeze
    single layers, give them learning rates of their own or put hooks between them, take `Sequential`.

    Parameters
    ----------
    sizes : sequence of int
        Features of the input, of each hidden layer, of the output.
    activation : str, default "relu"
        Of the hidden layers; see `Linear`.
    output_activation : str, default "identity"
        Of the last layer.
    bias : bool, default True
        Whether there are biases.
    device, dtype
        Of the parameter, as in ``torch.nn.Linear``.

    Attributes
    ----------
    flat : Parameter of shape (n,)
        Layer by layer the weight, (out, in) row by row, and the bias. For the same seed the values are those of the
        ``torch.nn.Sequential``.

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or no such activation.
    RuntimeError
        If an input does not have ``sizes[0]`` columns.

    Notes
    -----
    See `fastbp.torch` for where PyTorch's own functions compute.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import MLP
    >>> model = MLP([4, 8, 3], "tanh")
    >>> model(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    >>> {name: tuple(view.shape) for name, view in model.views().items()}
    {'0.weight': (8, 4), '0.bias': (8,), '2.weight': (3, 8), '2.bias': (3,)}
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        output_activation: str = "identity",
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__getitem__") or len(sizes) < 2:
            raise ValueError(f"MLP expects at least two sizes, of the input and of the output, got {sizes!r}")
        self.sizes = tuple(_check.integer(size, "MLP", "sizes") for size in sizes)
        self.activation, self.output_activation, self.bias = activation, output_activation, bool(bias)
        hidden: int = _check.choice(activation, CODES, "MLP", "activation")
        output: int = _check.choice(output_activation, CODES, "MLP", "output_activation")
        codes = [hidden] * (len(self.sizes) - 2) + [output]
        shapes = [shape for ins, outs in pairwise(self.sizes) for shape in ((outs, ins), (outs,) if bias else None)]
        self._chain = chain_of(tuple(codes), tuple(shapes), True)
        # A hidden identity has no module of its own in a torch.nn.Sequential either.
        apart = 1 if hidden == IDENTITY else 2
        names = ("weight", "bias") if bias else ("weight",)
        self._names = [f"{apart * i}.{name}" for i in range(len(codes)) for name in names]
        layers = [nn.Linear(ins, outs, bias, device, dtype) for ins, outs in pairwise(self.sizes)]
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for layer in layers for p in layer.parameters()]))

    def forward(self, input: Tensor) -> Tensor:
        """Return the network's output for an input of shape (*, sizes[0])."""
        return run_flat(self._chain, input, self._parameters["flat"])  # sooner than the attribute

    def views(self) -> dict[str, Tensor]:
        """Return each weight and bias, by its name in the state_dict, as a differentiable view of `flat`."""
        found = [view for view in views(self._chain.shapes, self.flat) if view is not None]
        return dict(zip(self._names, found, strict=True))

    def extra_repr(self) -> str:  # noqa: D102
        own = f"{list(self.sizes)}, activation={self.activation!r}, output_activation={self.output_activation!r}"
        return own + ("" if self.bias else ", bias=False")

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, view in self.views().items():
            destination[prefix + name] = view if keep_vars else view.detach()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        found: dict[str, Tensor] = {}
        for name, view in self.views().items():
            value = state_dict.get(prefix + name)
            if value is None:
                missing_keys.extend([prefix + name] if strict else [])
            elif value.shape != view.shape:
                error_msgs.append(
                    f"size mismatch for {prefix}{name}: the state_dict has {tuple(value.shape)}, "
                    f"the model {tuple(view.shape)}"
                )
            else:
                found[name] = value
        if strict:
            known = {prefix + name for name in self._names}
            unexpected_keys.extend(key for key in state_dict if key.startswith(prefix) and key not in known)
        if local_metadata.get("assign_to_params_buffers", False) and len(found) == len(self._names):
            values = torch.cat([found[name].detach().flatten() for name in self._names])
            self.flat = nn.Parameter(values, self.flat.requires_grad)
            return
        with torch.no_grad():
            views = self.views()
            for name, value in found.items():
                views[name].copy_(value)
