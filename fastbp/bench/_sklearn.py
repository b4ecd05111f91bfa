"""An epoch of scikit-learn's MLPClassifier: one call of ``partial_fit``, its check of the data included."""

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from fastbp.bench.cases import ADAM_LR, Case, Run, repeated

VERSION = sklearn.__version__
KINDS = ("epoch",)


def start(threads: int) -> None:
    """Do nothing: its BLAS reads the environment."""


def prepare(case: Case) -> Run:
    """Return a case, ready to run."""
    x, y = case.inputs()
    model = MLPClassifier(
        case.sizes[1:-1],
        activation=case.activation,
        batch_size=case.batch,
        learning_rate_init=ADAM_LR,
        alpha=0.0,
        random_state=0,
    )
    model.partial_fit(x, y, classes=np.arange(case.sizes[-1]))
    return repeated(lambda: model.partial_fit(x, y))
