"""The cases in PyTorch, the forward pass with the loss and the backward pass compiled by ``torch.compile``."""

import functools

import torch

from fastbp.bench import _torch
from fastbp.bench.cases import Case, Run

VERSION = torch.__version__
KINDS = ("step", "layers", "loop", "cross_entropy")
start = _torch.start


def prepare(case: Case) -> Run:
    """Return a case, compiled and ready to run."""
    torch._dynamo.reset()  # what was compiled for other cases is not looked through at each call
    run = _torch.prepare(case, functools.partial(torch.compile, dynamic=False))
    run.repeat(1)
    return run
