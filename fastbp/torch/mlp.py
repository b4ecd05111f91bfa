"""`MLP`: a whole network as one module, of one parameter or of one for each weight and bias."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from fastbp._base import check
from fastbp.kernels.activations import ACTIVATIONS
from fastbp.torch.activations import module_of
from fastbp.torch.chains import chain_of, run_flat, views
from fastbp.torch.conditions import readable
from fastbp.torch.layers import run_children
from fastbp.torch.scripting import refused

__all__ = ["MLP"]


class MLP(nn.Module):
    """A network of dense layers as one module with one parameter: the fastest way here to train a small one.

    All weights and biases are one flat tensor, `flat`, so that autograd and an optimizer have one tensor to see to.
    Whoever goes through the parameters or the state_dict finds one vector. So this cannot be had with it:

    - layers that are frozen, or have learning rates, hooks, pruning or parametrizations of their own;
    - ``apply`` of a function that initialises each ``nn.Linear``; `views` has the weights to initialise;
    - rules such as no weight decay where ``p.ndim < 2``, and optimizers that go by rows and columns, as Adafactor.

    With ``flat=False`` the network has the children of ``torch.nn.Sequential(Linear, ReLU, Linear, ...)``, by the same
    names, and so the parameters and the state_dict of that. The parameters are views of one memory until something
    replaces them. It takes as long as `Sequential`.

    Each of the two loads a state_dict of the other and of such a ``torch.nn.Sequential``, which itself loads `views`.

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
    flat : bool, default True
        Whether all is one parameter.
    device, dtype
        Of the parameters, as in ``torch.nn.Linear``.

    Attributes
    ----------
    flat : Parameter of shape (n,)
        Layer by layer the weight, (out, in) row by row, and the bias. For the same seed the values are those of the
        ``torch.nn.Sequential``. Not there with ``flat=False``.

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
    >>> [name for name, _ in model.named_parameters()]
    ['flat']
    >>> layers = MLP([4, 8, 3], "tanh", flat=False)
    >>> [name for name, _ in layers.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> layers.load_state_dict(model.state_dict())
    <All keys matched successfully>
    """

    flat: Tensor

    __prepare_scriptable__ = refused("script a torch.nn.Sequential of its layers, which loads `views()`")

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        output_activation: str = "identity",
        bias: bool = True,
        flat: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__getitem__") or len(sizes) < 2:
            raise ValueError(f"MLP expects at least two sizes, of the input and of the output, got {sizes!r}")
        self.sizes = tuple(check.integer(size, "MLP", "sizes") for size in sizes)
        self.activation, self.output_activation, self.bias = activation, output_activation, bool(bias)
        check.choice(activation, ACTIVATIONS, "MLP", "activation")
        check.choice(output_activation, ACTIVATIONS, "MLP", "output_activation")
        activations = [activation] * (len(self.sizes) - 2) + [output_activation]
        shapes = [shape for ins, outs in pairwise(self.sizes) for shape in ((outs, ins), (outs,) if bias else None)]
        self._chain = chain_of(tuple(ACTIVATIONS[name].code for name in activations), tuple(shapes), True)
        # An identity between the layers has no module of its own in a torch.nn.Sequential either.
        children: list[nn.Module] = []
        for (ins, outs), name in zip(pairwise(self.sizes), activations, strict=True):
            children.append(nn.Linear(ins, outs, bias, device, dtype))
            if name != "identity":
                children.append(module_of(name))
        named = {f"{i}.{name}": p for i, child in enumerate(children) for name, p in child.named_parameters()}
        self._names = tuple(named)
        memory = torch.cat([p.detach().flatten() for p in named.values()])
        self._layers: tuple[str, ...] = ()  # the names of the children, where they have the parameters
        if flat:
            self.flat = nn.Parameter(memory)
            return
        if readable(memory, memory.dtype):
            # A view has a storage of its own: programs that save models take parameters of one storage for tied ones.
            for p, view in zip(named.values(), self._cut(memory).values(), strict=True):
                p.data = torch.from_dlpack(view)
        for i, child in enumerate(children):
            self.add_module(str(i), child)
        self._layers = tuple(self._modules)

    def forward(self, input: Tensor) -> Tensor:
        """Return the network's output for an input of shape (*, sizes[0])."""
        if self._layers:
            return run_children([self._modules[name] for name in self._layers], input)
        flat = self._parameters.get("flat")  # sooner than the attribute, which pruning and others put in its place
        return run_flat(self._chain, input, self.flat if flat is None else flat)

    def views(self) -> dict[str, Tensor]:
        """Return each weight and bias by its name in a ``torch.nn.Sequential``: a differentiable view of `flat`.

        With ``flat=False`` they are the parameters.
        """
        if not self._layers:
            return self._cut(self.flat)
        parts = {name: name.split(".") for name in self._names}
        return {name: getattr(self._modules[child], kind) for name, (child, kind) in parts.items()}

    def _cut(self, flat: Tensor) -> dict[str, Tensor]:
        found = [view for view in views(self._chain.shapes, flat) if view is not None]
        return dict(zip(self._names, found, strict=True))

    def extra_repr(self) -> str:  # noqa: D102
        own = f"{list(self.sizes)}, activation={self.activation!r}, output_activation={self.output_activation!r}"
        return own + ("" if self.bias else ", bias=False") + (", flat=False" if self._layers else "")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # As the last of the hooks that rename: those of a user may make these names.
        hook = self._register_load_state_dict_pre_hook(self._translate)
        try:
            super()._load_from_state_dict(state_dict, prefix, *args)
        finally:
            hook.remove()

    def _translate(
        self,
        state: dict[str, Any],
        prefix: str,
        metadata: dict[str, Any],
        strict: bool,
        missing: list[str],
        unexpected: list[str],
        errors: list[str],
    ) -> None:
        """Put the layers of a state_dict together as a flat tensor, or the other way, as this network has them."""
        flat, names = prefix + "flat", [prefix + name for name in self._names]
        has_layers = any(name in state for name in names)
        if self._layers:
            if not has_layers and getattr(state.get(flat), "shape", None) == self._chain.parameters[0]:
                state.update(zip(names, self._cut(state.pop(flat)).values(), strict=True))
            return
        if flat in state or not has_layers:
            return
        own = dict(zip(names, self.views().values(), strict=True))
        given = {name: state.pop(name) for name in names if name in state}
        missing.extend(name for name in names if strict and name not in given)
        fit = {name: value for name, value in given.items() if getattr(value, "shape", None) == own[name].shape}
        for name in given.keys() - fit.keys():
            found = getattr(given[name], "shape", given[name])
            errors.append(f"size mismatch for {name}: the state_dict has {found}, the model {own[name].shape}")
        if len(fit) < len(own):  # the others stay as they are
            fit = own | {name: value.to(own[name].device) for name, value in fit.items()}
        state[flat] = torch.cat([fit[name].detach().flatten() for name in names])
