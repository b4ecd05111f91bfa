"""Activations: ``a = g(z)`` and ``slope = g'(z)``, a file each; nothing else lists them.

In training the slope is stored beside ``a`` while its exponential is at hand, so the backward pass is one product,
``dz = da * slope``; identity, relu and leaky_relu need no stored slope, because the sign of ``a`` tells it.

The machine code is in `compiled`; `functions` says what a plan needs of it.
"""

from ..registry import load_folder
from .registry import ACTIVATIONS, BY_CODE, Activation, own_activation

__all__ = [
    "ACTIVATIONS", "BY_CODE", "CODES", "FIRST_STORED_SLOPE", "IDENTITY", "LEAKY_RELU", "RELU", "Activation",
    "own_activation",
]  # fmt: skip

load_folder(__name__, __path__, ACTIVATIONS, leave=["compiled", "functions"])

CODES = {name: activation.code for name, activation in ACTIVATIONS.items()}
BY_CODE.update((activation.code, activation) for activation in ACTIVATIONS.values())
# Activations whose slope is stored; the others come first in the numbering.
FIRST_STORED_SLOPE = min(activation.code for activation in ACTIVATIONS.values() if activation.stores_slope)
# Those that kernels know by name
IDENTITY, RELU, LEAKY_RELU = CODES["identity"], CODES["relu"], CODES["leaky_relu"]
