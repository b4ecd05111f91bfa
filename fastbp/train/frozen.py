"""Which of a model's parameters training does not change."""

from collections.abc import Iterator

from fastbp.nn.sequential import Sequential


def frozen_parts(model: Sequential) -> Iterator[slice]:
    """Yield where in the flat parameters those of layers are that are not trainable."""
    start = 0
    for layer in model.layers:
        for each in layer._each():
            if [*each._each()] == [each]:  # those of one that holds others are theirs
                end = start + each._size
                if not each.trainable and end > start:
                    yield slice(start, end)
                start = end
