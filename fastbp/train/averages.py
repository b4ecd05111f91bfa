"""Moving averages of the parameters: which of them a model with averages has."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.nn.sequential import Sequential

Array = NDArray[Any]


def evaluated(model: Sequential, averages: Array | None) -> Array:
    """Return a copy of the parameters that are evaluated: the averages, and what is frozen as it is.

    averages : as long as the model's parameters; None where there are none
    """
    if averages is None:
        return np.array(model._params)
    found, first = averages.copy(), model._params.ctypes.data
    for layer in model.layers:
        for each in layer._each():
            if not each.trainable and each._params.size:
                start = (each._params.ctypes.data - first) // found.itemsize
                found[start : start + each._params.size] = each._params
    return found
