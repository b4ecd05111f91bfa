"""The cases in eager PyTorch."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional

from fastbp.bench.cases import ADAM_LR, LR, Case, Run, repeated

VERSION = torch.__version__
KINDS = ("step", "layers", "loop", "cross_entropy", "dense", "predict")
ACTIVATIONS = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}
NORMS = {"batch_norm": torch.nn.BatchNorm1d, "layer_norm": torch.nn.LayerNorm, "rms_norm": torch.nn.RMSNorm}


def start(threads: int) -> None:
    """Set the number of threads."""
    torch.set_num_threads(threads)


def network(case: Case) -> torch.nn.Sequential:
    """Return the network of a case."""
    layers: list[torch.nn.Module] = []
    for i, (a, b) in enumerate(pairwise(case.sizes), 2):
        hidden = i < len(case.sizes)
        name = case.activation if hidden else case.output_activation
        layers += [torch.nn.Linear(a, b)]
        layers += [NORMS[case.norm](b)] if hidden and case.norm else []
        layers += [ACTIVATIONS[name]()] if name != "identity" else []
        layers += [torch.nn.Dropout(case.dropout)] if hidden and case.dropout else []
    return torch.nn.Sequential(*layers)


def prepare(case: Case, transform: Callable[[Any], Any] = lambda function: function) -> Run:
    """Return a case, ready to run; `transform` is applied to the function that computes the loss."""
    x, y = (torch.from_numpy(array) for array in case.inputs())
    if case.kind == "cross_entropy":
        x.requires_grad_()
        value = transform(functional.cross_entropy)

        def value_and_gradient() -> None:
            x.grad = None
            value(x, y).backward()

        return repeated(value_and_gradient)
    model = network(case)
    if case.kind in ("dense", "predict"):

        def predict() -> None:
            with torch.inference_mode():
                model(x)

        return repeated(predict)
    criterion = functional.mse_loss if case.loss == "mse" else functional.cross_entropy
    value = transform(lambda x, y: criterion(model(x), y))
    # Fused is the fastest of its implementations.
    if case.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=ADAM_LR, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        value(x, y).backward()
        optimizer.step()

    return repeated(step)
