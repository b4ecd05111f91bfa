"""What the kernels of losses are called with: any loss of the table."""

import numpy as np

from fastbp.kernels import losses

IGNORED = -100
SOFTMAX = (losses.SOFTMAX_LABELS, losses.SOFTMAX_PROBABILITIES, losses.SOFTMAX_ONE_HOT)  # with label smoothing


def options_of(loss, reduction=losses.MEAN, smoothing=0.0, constant=0.9):
    """Return the options of a loss: its own numbers have their defaults."""
    options = np.zeros(losses.OPTIONS_SIZE)
    options[losses.REDUCTION], options[losses.IGNORE_INDEX] = reduction, IGNORED
    options[losses.LABEL_SMOOTHING] = smoothing if loss.code in SOFTMAX else 0.0
    if loss.code == losses.GAUSSIAN_NLL:
        options[losses.VARIANCE_EPS], options[losses.CONSTANT] = 1e-6, constant
    for place, number in enumerate(loss.numbers, losses.OWN):
        options[place] = number.default
    return options


def targets_of(loss, rng, batch, n):
    """Return labels and targets for a batch of n outputs, of which one is empty."""
    if loss.labelled:
        return rng.integers(0, n, batch), np.zeros((0, 0))
    return np.zeros(0, np.int64), draw_targets(loss, rng, batch, n)


def draw_targets(loss, rng, batch, n):
    if loss.drawn is not None:
        return loss.drawn(rng, batch, n)
    if loss.code == losses.SOFTMAX_PROBABILITIES:
        return rng.dirichlet(np.ones(n), batch)
    return rng.standard_normal((batch, n // (loss.outputs_per_term or 1)))


def class_weight_of(loss, rng, n, weighted=True):
    """Return what kernels have as class weights; none for a loss that takes none."""
    if loss.by_output is not None:
        return rng.uniform(0.1, 0.9, n) if weighted else np.full(n, loss.by_output.default)
    if loss.code in SOFTMAX:
        return rng.uniform(0.5, 2, n) if weighted else np.ones(n)  # smoothing and probabilities read them
    return np.zeros(0)
