"""Numbers of each step: what schedules say of the optimizer and of layers, as the kernels take them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp._base.made import checked
from fastbp._base.schedule import Schedule
from fastbp.kernels.run.frame import NUMBERED, PLACES
from fastbp.kernels.run.plan import ATTRIBUTES, Layer
from fastbp.train.optimizers import Optimizer

Array = NDArray[Any]
AHEAD = 256  # steps whose numbers are computed at once, where single steps take them one after the other


class Place(NamedTuple):
    """Where the kernels read a number that a schedule says.

    here : (1,) float64, a view
    check : raises a ValueError for a number that is out of range
    """

    schedule: Schedule
    here: Array
    check: Callable[[float], Any]


def places_of_optimizer(optimizer: Optimizer, numbers: Sequence[float | Schedule], hyper: Array) -> list[Place]:
    """Return the places of an optimizer's schedules among its numbers, which `hyper` begins with."""
    return [
        Place(number, hyper[i : i + 1], partial(optimizer.check_value, number))
        for i, number in enumerate(numbers)
        if isinstance(number, Schedule)
    ]


def places_of_layers(layers: Sequence[Layer], plan: Array) -> list[Place]:
    """Return the places of layers' schedules among the attributes of a plan's rows."""
    found = []
    for layer, row in zip(layers, plan, strict=True):
        for i, number in enumerate(layer.attributes):
            if isinstance(number, Schedule):
                here = row[ATTRIBUTES + i : ATTRIBUTES + i + 1].view(np.float64)
                found.append(Place(number, here, partial(checked, layer.kind.numbers[i], who=layer.kind.name)))
    return found


class StepNumbers:
    """The numbers of steps at some places, computed for many steps at once."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._addresses = np.array([place.here.ctypes.data for place in places], np.int64)
        self._table, self._first, self._total = np.empty((0, len(places))), 0, 0

    def enter(self, addresses: Array) -> None:
        """Write into a frame's addresses where the numbers go."""
        addresses[[PLACES, NUMBERED]] = self._addresses.ctypes.data, len(self._places)

    def rows(self, first: int, total: int, count: int) -> Array:
        """Return the numbers of steps from `first` on of `total`, (count, places); kept until the next call."""
        start = first - self._first
        if total != self._total or start < 0 or start + count > len(self._table):
            start, size = 0, max(count, min(AHEAD, total - first))
            table = np.empty((size, len(self._places)))
            for column, place in zip(table.T, self._places, strict=True):
                column[:] = place.schedule.values(total, first, size)
                for extreme in (column.min(), column.max()):
                    place.check(float(extreme))
            self._table, self._first, self._total = table, first, total
        return self._table[start : start + count]

    def address(self, first: int, total: int, count: int) -> int:
        """Return where `rows` stand in memory."""
        return int(self.rows(first, total, count).ctypes.data)

    def write(self, first: int, total: int) -> None:
        """Write the numbers of a step to their places."""
        for place, number in zip(self._places, self.rows(first, total, 1)[0], strict=True):
            place.here[0] = number
