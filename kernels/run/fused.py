"""Activations that become part of the product above them."""

from collections import Counter
from collections.abc import Sequence

from ..ops.kinds.activation import ACTIVATION
from .plan import BATCH_ROWS, Layer, sources_of


def fused(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with each activation of its own made that of the layer it reads.

    That is where nothing else reads this layer, and it can apply an activation and has none.
    """
    readers = Counter(source for i, layer in enumerate(layers) for source in sources_of(layer, i))
    rows: dict[int, int] = {BATCH_ROWS: BATCH_ROWS}
    kept: list[Layer] = []
    for i, layer in enumerate(layers):
        sources = sources_of(layer, i)
        above = rows[sources[0]]
        if layer.kind is ACTIVATION and above >= 0 and readers[sources[0]] == 1:
            made = kept[above]
            if made.kind.activates and made.activation.code == 0:
                kept[above] = made._replace(activation=layer.activation)
                rows[i] = above
                continue
        rows[i] = len(kept)
        kept.append(layer._replace(sources=tuple(rows[source] for source in sources)))
    return kept
