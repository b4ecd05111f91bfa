"""The cases in plain NumPy, as one writes them: products by its BLAS, the rest an array at a time."""

import numpy as np

from fastbp.bench.cases import Case, Run, repeated

VERSION = np.__version__
KINDS = ("dense", "predict")


def start(threads: int) -> None:
    """Do nothing: its BLAS reads the environment."""


def prepare(case: Case) -> Run:
    """Return a case, ready to run."""
    x, _ = case.inputs()
    *hidden, (w, b) = case.weights()

    def forward() -> None:
        a = x
        for w_hidden, b_hidden in hidden:
            a = np.maximum(a @ w_hidden + b_hidden, 0)
        z = a @ w + b
        if case.output_activation == "relu":
            np.maximum(z, 0, out=z)

    return repeated(forward)
