"""The cases as a user of fastbp writes them."""

import numpy as np

import fastbp
from fastbp.bench.cases import ADAM_LR, LR, Case, Run, repeated

VERSION = fastbp.__version__
KINDS = ("step", "layers", "loop", "optimizer", "cross_entropy", "dense", "predict", "epoch")


def start(threads: int) -> None:
    """Set the number of threads."""
    fastbp.set_num_threads(threads)


def network(case: Case) -> fastbp.Sequential:
    """Return the network of a case."""
    return fastbp.mlp(
        case.sizes,
        case.activation,
        output_activation=case.output_activation,
        norm=case.norm or None,
        dropout=case.dropout,
        rng=0,
    )


def prepare(case: Case) -> Run:
    """Return a case, ready to run."""
    x, y = case.inputs()
    if case.kind == "cross_entropy":
        gradient = np.empty_like(x)
        return repeated(lambda: fastbp.softmax_cross_entropy(x, y, out=gradient))
    model = network(case)
    if case.kind in ("dense", "predict"):
        return repeated(lambda: model.predict(x))
    loss = {"cross_entropy": "softmax_cross_entropy", "mse": "mse"}[case.loss]
    optimizer = fastbp.Adam(ADAM_LR) if case.optimizer == "adam" else fastbp.SGD(LR)
    trainer = fastbp.Trainer(model, loss, optimizer)
    if case.kind == "epoch":
        rng = np.random.default_rng(0)
        return repeated(lambda: trainer.fit(x, y, batch_size=case.batch, rng=rng, progress=False))
    return repeated(lambda: trainer.step(x, y))
