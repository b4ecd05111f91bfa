"""Dropout: ``Y = X * keep / (1 - p)``; each number is kept or not as random bits of its own say.

The bits are counters put through Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", 2011), so nobody has to make one before another: the counter is (a number for eight features, place of the row
in the batch, row of the plan, step), the key is the seed. Each of the four words of a counter serves two features.
"""

from typing import Any

import numpy as np

from ...registry import Number, Public
from ..registry import compiled, kind

# Multipliers and key increments of Philox4x32
M0, M1, W0, W1, ROUNDS = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, 10
LOW = 0xFFFFFFFF
# Features of one turn: eight counters. A quarter of them, sixteen, are the upper or the lower halves of two words each.
TURN, QUARTER = 64, 16
# p is taken to the nearest of so many.
LEVELS = 1 << 16


def philox(counter: Any, key: tuple[int, int]) -> list[Any]:
    """Return the four words of Philox4x32-10 for four arrays of counters."""
    c = [np.asarray(words, np.uint64) for words in counter]
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c[0] * np.uint64(M0), c[2] * np.uint64(M1)
        high0, high1 = p0 >> np.uint64(32), p1 >> np.uint64(32)
        c = [high1 ^ c[1] ^ np.uint64(k0), p1 & np.uint64(LOW), high0 ^ c[3] ^ np.uint64(k1), p0 & np.uint64(LOW)]
        k0, k1 = k0 + W0 & LOW, k1 + W1 & LOW
    return c


def bits_of(shape: tuple[int, int], draw: Any) -> Any:
    """Return the random number of 16 bits of each element of (rows, features)."""
    rows, features = np.arange(shape[0])[:, None] + draw.place, np.arange(shape[1])[None, :]
    quarter, lane = features % TURN // QUARTER, features % QUARTER
    counter = TURN // 8 * (features // TURN) + lane // 2
    c = np.broadcast_arrays(counter, rows, draw.row, draw.step & LOW)
    words = philox(c, (draw.seed & LOW, draw.seed >> 32 & LOW))
    word = np.choose(np.broadcast_to(2 * (quarter // 2) + lane % 2, shape), words)
    return np.where(quarter % 2 == 0, word >> np.uint64(16), word & np.uint64(LEVELS - 1))


def kept(shape: tuple[int, int], p: float, draw: Any) -> Any:
    """Return which elements are kept."""
    return bits_of(shape, draw) >= np.uint64(round(p * LEVELS))


def twin(inputs: Any, w: Any, b: Any, attributes: Any, draw: Any) -> Any:
    (x,), (p,) = inputs, attributes
    dropped = round(p * LEVELS) / LEVELS
    return x * np.where(kept(x.shape, p, draw), 1 / (1 - dropped) if dropped < 1 else 0.0, 0.0)


DROPOUT = kind(
    "dropout",
    2,
    functions=compiled("..dropout", __package__, "dropout_forward", "dropout_input_gradient"),
    effort=lambda in_features, out_features: 16 * out_features,
    twin=twin,
    numbers=(Number("p", 0.5, "Probability of being dropped, taken to the nearest multiple of ``2**-16``.", most=1.0),),
    draws=True,
    only_training=True,
    public=Public(
        "Dropout",
        "Dropout: in training each number is dropped with probability p, or kept and multiplied by ``1 / (1 - p)``",
        more="A prediction goes without it. Which numbers are dropped depends on the seed of the trainer (see the "
        "`rng` of `Trainer` and of its `fit`), on how many steps were made, on the layer's place in the model, and on "
        "a number's row of the batch and column: not on threads, and a run that is resumed drops what it would have "
        "dropped. Where p is a schedule, each step has a p of its own, see `fastbp.schedules`.",
        torch="Dropout",
    ),
)
