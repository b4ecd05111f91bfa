"""Moving averages of the parameters: which of them a model with averages has."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.nn.sequential import Sequential
from fastbp.train.frozen import frozen_parts

Array = NDArray[Any]


def evaluated(model: Sequential, averages: Array | None) -> Array:
    """Return a copy of the parameters that are evaluated: the averages, and what is frozen as it is.

    averages : as long as the model's parameters; None where there are none
    """
    if averages is None:
        return np.array(model._params)
    found = averages.copy()
    for part in frozen_parts(model):
        found[part] = model._params[part]
    return found
