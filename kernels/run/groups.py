"""Groups of parameters: some have numbers of the optimizer that are not those of all, made of these in each step."""

from ..compile.functions import kernel
from ..compile.pointers import at, doubles_at
from ..optimizers.compiled import advance
from ..optimizers.registry import (
    DECAY,
    DECAY_FACTOR,
    GROUP_HYPER,
    GROUP_SIZE,
    HYPER_SIZE,
    LR,
    LR_FACTOR,
    START,
    WEIGHT_DECAY,
)
from .frame import GROUP_COUNT, GROUPS, HYPER


@kernel
def begin_update(frame):
    """Begin the update of a step: its powers, and the numbers of each group of parameters."""
    hyper, table = doubles_at(frame[HYPER]), doubles_at(frame[GROUPS])
    advance(hyper)
    for row in range(frame[GROUP_COUNT]):
        group = at(table, row * GROUP_SIZE)
        own = at(group, GROUP_HYPER)
        for i in range(HYPER_SIZE):
            own[i] = hyper[i]
        own[LR] = hyper[LR] * group[LR_FACTOR]
        decay = group[DECAY] if group[DECAY] >= 0.0 else hyper[WEIGHT_DECAY]
        own[WEIGHT_DECAY] = decay * group[DECAY_FACTOR]


@kernel
def hyper_of(frame, place):
    """Return the optimizer's numbers for the parameters at a place, in bytes."""
    table, row = doubles_at(frame[GROUPS]), 0
    if frame[GROUP_COUNT] == 0:
        return doubles_at(frame[HYPER])
    while row + 1 < frame[GROUP_COUNT] and at(table, (row + 1) * GROUP_SIZE)[START] <= place:
        row += 1
    return at(table, row * GROUP_SIZE + GROUP_HYPER)


@kernel
def bytes_alike(frame, place):
    """Return for how many bytes from a place on the optimizer's numbers are the same; those of the last have no end."""
    table = doubles_at(frame[GROUPS])
    for row in range(frame[GROUP_COUNT]):
        start = int(at(table, row * GROUP_SIZE)[START])
        if start > place:
            return start - place
    return 1 << 62
