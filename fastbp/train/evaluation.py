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
    targets = samples.targets
    z = model.predict(samples.x)
    value, _ = loss.evaluate(z, y)
    figures = {"loss": value}
    if targets.labels.size:
        assert isinstance(loss, CrossEntropyLoss)
        counted = targets.labels != loss.ignore_index
        figures["accuracy"] = float((z.argmax(1) == targets.labels)[counted].mean()) if counted.any() else np.nan
    elif targets.as_classes().labelled:
        figures["accuracy"] = float((z.argmax(1) == targets.values[:].argmax(1)).mean())
    return figures
