"""Modules of dense layers: one layer, a sequence that runs its chains at once, a whole network of one parameter."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _module

from fastbp import _check
from fastbp.kernels.activations import CODES, IDENTITY, LEAK
from fastbp.torch.chains import Chain, Layer, chain_of, run

__all__ = ["MLP", "Linear", "Sequential", "code_of"]

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
        weight, bias = self.weight, self.bias
        parameters = (weight,) if bias is None else (weight, bias)
        return run(chain_of(_layer(weight, bias, self._code)), input, parameters)

    def extra_repr(self) -> str:  # noqa: D102
        own = "" if self.activation is None else f", activation={self.activation!r}"
        return f"{super().extra_repr()}{own}"


def _layer(weight: Tensor, bias: Tensor | None, code: int) -> Layer:
    return Layer(weight.shape, None if bias is None else bias.shape, code)


class Sequential(nn.Sequential):
    """``torch.nn.Sequential`` whose chains of Linear and activation each run as one call, forward and backward.

    The children are those of PyTorch, or `Linear`, and stay as they are: parameters, state_dict, indexing, and layers
    frozen by ``requires_grad_(False)``. Other modules among them, such as dropout, run as always. Where a child has a
    hook, every child is called for itself.

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
        children = self._modules.values()
        if _module._has_any_global_hook() or any(
            c._forward_hooks or c._forward_pre_hooks or c._backward_hooks or c._backward_pre_hooks for c in children
        ):
            return super().forward(input)
        for part in parts(children):
            input = part(input) if isinstance(part, nn.Module) else _run(part, input)
        return input


Dense = tuple[Tensor, Tensor | None, int]


def parts(children: Any) -> Iterator[nn.Module | list[Dense]]:
    """Yield what runs at once: chains of weight, bias and activation code, and modules for themselves."""
    chain: list[Dense] = []
    only: nn.Module | None = None  # the module that alone makes the chain so far
    for child in children:
        kind = type(child)
        weight = child._parameters.get("weight") if kind is nn.Linear or kind is Linear else None
        if weight is not None:
            only = None if chain else child
            chain.append((weight, child._parameters["bias"], child._code if kind is Linear else IDENTITY))
            continue
        code = code_of(child) if chain and chain[-1][2] == IDENTITY else None
        if code is not None:
            chain[-1] = (*chain[-1][:2], code)
            only = None
            continue
        if chain:
            yield only or chain
        chain, only = [], None
        yield child
    if chain:
        yield only or chain


def _run(dense: list[Dense], x: Tensor) -> Tensor:
    chain = chain_of(*(_layer(*layer) for layer in dense))
    return run(chain, x, [p for layer in dense for p in layer[:2] if p is not None])


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
        self._layers = tuple(
            Layer((outs, ins), (outs,) if bias else None, code)
            for (ins, outs), code in zip(pairwise(self.sizes), codes, strict=True)
        )
        # A hidden identity has no module of its own in a torch.nn.Sequential either.
        apart = 1 if hidden == IDENTITY else 2
        names = ("weight", "bias") if bias else ("weight",)
        self._names = [f"{apart * i}.{name}" for i in range(len(self._layers)) for name in names]
        layers = [nn.Linear(ins, outs, bias, device, dtype) for ins, outs in pairwise(self.sizes)]
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for layer in layers for p in layer.parameters()]))

    @property
    def _chain(self) -> Chain:
        return chain_of(*self._layers, flat=True)

    def forward(self, input: Tensor) -> Tensor:
        """Return the network's output for an input of shape (*, sizes[0])."""
        return run(self._chain, input, (self._parameters["flat"],))  # sooner than the attribute

    def views(self) -> dict[str, Tensor]:
        """Return each weight and bias, by its name in the state_dict, as a differentiable view of `flat`."""
        return dict(zip(self._names, self._chain.views(self.flat), strict=True))

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
