"""Layers for PyTorch programs: change the import, keep the program.

`Linear`, `Sequential`, `MLP` and `CrossEntropyLoss` are modules of PyTorch that compute with fastbp's kernels on the
tensors' own memory. `replace_` makes those of an existing module faster in place.

fastbp computes on dense float32 and float64 tensors on the CPU. Where its kernels cannot, PyTorch's own functions
compute, with the same result as before the import was changed: on other devices and dtypes, under autocast, in
``torch.func`` transforms and forward-mode derivatives, under ``torch.compile``, tracing and other modes that see each
operation, for empty batches, and for gradients that are to be differentiated once more (``create_graph=True``). So they
do where they are as fast or faster: for a small layer that stands alone, with no activation or with (leaky) relu, for a
chain of many weights and a single row, and for a small loss.

`Embedding`, `Periodic`, `Residual`, `Scale`, `ParametricActivation`, `Members` and `MemberDense` are plain modules, for
what ``fastbp.Sequential.to_torch`` gives.

A chain of layers saves its input, its output and all of its parameters for the backward pass. If one is changed in
place before that, it is PyTorch's error, also where PyTorch's own layers would not have needed that one.

>>> import torch
>>> from fastbp.torch import MLP, CrossEntropyLoss
>>> model = MLP([4, 16, 3])
>>> loss = CrossEntropyLoss()(model(torch.zeros(8, 4)), torch.zeros(8, dtype=torch.long))
>>> loss.backward()
>>> model.flat.grad.shape
torch.Size([131])
"""

from fastbp.kernels.compile.forks import imports as _imports

with _imports:
    try:
        import torch as _torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError("fastbp.torch needs PyTorch: pip install 'fastbp[torch]'") from error

    from fastbp.nn.torch_modules import (
        Embedding,
        MemberDense,
        Members,
        ParametricActivation,
        Periodic,
        Residual,
        Scale,
    )
    from fastbp.torch.layers import Linear, Sequential
    from fastbp.torch.loss import CrossEntropyLoss
    from fastbp.torch.mlp import MLP
    from fastbp.torch.replace import Replaced, replace_, restore_

__all__ = [
    "MLP", "CrossEntropyLoss", "Embedding", "Linear", "MemberDense", "Members", "ParametricActivation", "Periodic",
    "Replaced", "Residual", "Scale", "Sequential", "replace_", "restore_",
]  # fmt: skip
