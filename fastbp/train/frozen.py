"""Which of a model's parameters training does not change."""

from collections.abc import Iterator

from fastbp.nn.sequential import Sequential


def frozen_parts(model: Sequential) -> Iterator[slice]:
    """Yield where in the flat parameters those of layers are that are not trainable."""
    first = model._params.ctypes.data
    for layer in model.layers:
        for each in layer._each():
            if not each.trainable and each._params.size:
                start = (each._params.ctypes.data - first) // each._params.itemsize
                yield slice(start, start + each._params.size)
