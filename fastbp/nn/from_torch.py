"""A model made of PyTorch's modules."""

from typing import Any

from fastbp.kernels.compile.forks import imports
from fastbp.nn.sequential import Sequential

__all__ = ["from_torch"]


def from_torch(module: Any) -> Sequential:
    """Make a model of a ``torch.nn.Sequential``, or of one module: the way back of `Sequential.to_torch`.

    Parameters are copied. A Linear with an activation behind it becomes a `Dense` with that activation, so names of
    parameters count on where activations had numbers of their own. Layers whose parameters have no ``requires_grad``
    are not `trainable`.

    Parameters
    ----------
    module : torch.nn.Module
        On any device; nested ``torch.nn.Sequential`` are taken as one.

    Returns
    -------
    Sequential

    Raises
    ------
    ImportError
        If PyTorch is not there.
    TypeError, ValueError
        If fastbp has no layer for a module, such as a subclass of PyTorch's, or if it would not do the same: modules
        with hooks, shared parameters, or some parameters that want gradients among others that do not.

    Examples
    --------
    >>> import torch, fastbp
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))
    >>> model = fastbp.from_torch(module)
    >>> model
    Sequential(Dense(4, 8, activation='relu'), LayerNorm(8), Dense(8, 3, activation='identity'))
    >>> x = torch.ones(2, 4)
    >>> bool(torch.allclose(torch.tensor(model.predict(x)), module(x), atol=1e-6))
    True
    >>> list(model.to_torch().state_dict()) == list(module.state_dict())
    True
    """
    with imports:
        from fastbp.nn.in_torch import check_channels, check_module, layers_of, nn
    if not isinstance(module, nn.Module):
        raise TypeError(f"from_torch expects a torch.nn.Module, got {type(module).__name__}")
    check_module(module)
    layers = layers_of([module])
    check_channels(layers, "from_torch")
    return Sequential(*layers)
