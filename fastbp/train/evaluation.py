"""What a model reaches on rows: the loss, and for classes the accuracy."""

from typing import Any

import numpy as np

from fastbp.nn.loss import Loss, Targets
from fastbp.nn.losses import CrossEntropyLoss
from fastbp.nn.sequential import Sequential
from fastbp.train.steps import Samples


def names_of(targets: Targets) -> list[str]:
    """Return the names of the figures that there are for targets."""
    return ["loss", "accuracy"] if targets.labelled else ["loss"]


def figures_of(model: Sequential, loss: Loss, samples: Samples, y: Any) -> dict[str, float]:
    """Return the figures by name; `y` are the targets as they were given."""
    targets, weight = samples.targets, samples.weight
    z = model.predict(samples.x)
    value, _ = loss.evaluate(z, y, weight if weight.size else None)
    figures = {"loss": value}
    if targets.as_classes().labelled:
        labels = targets.labels if targets.labels.size else targets.values[:].argmax(1)
        counts = weight.astype(np.float64) if weight.size else np.ones(len(labels))
        if targets.labels.size:
            assert isinstance(loss, CrossEntropyLoss)
            counts[labels == loss.ignore_index] = 0.0
        total = counts.sum()
        figures["accuracy"] = float(counts[z.argmax(1) == labels].sum() / total) if total else np.nan
    return figures
