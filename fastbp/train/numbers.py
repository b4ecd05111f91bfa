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


class Computed(NamedTuple):
    """Numbers of steps from `first` on of `total`: a row each of the table, which stands at `address`."""

    table: Array
    address: int
    first: int
    total: int


class StepNumbers:
    """The numbers of steps at some places, computed for many steps at once."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._addresses = np.array([place.here.ctypes.data for place in places], np.int64)
        self._computed = Computed(np.empty((0, len(places))), 0, 0, 0)

    def enter(self, addresses: Array) -> None:
        """Write into a frame's addresses where the numbers go."""
        addresses[[PLACES, NUMBERED]] = self._addresses.ctypes.data, len(self._places)

    def address(self, first: int, total: int, count: int) -> int:
        """Return where the numbers of steps from `first` on of `total` stand, (count, places), until the next call."""
        found = self._compute(first, total, count)
        return found.address + (first - found.first) * found.table.strides[0]

    def write(self, step: int, total: int) -> None:
        """Write the numbers of a step to their places."""
        found = self._compute(step, total, 1)
        for place, number in zip(self._places, found.table[step - found.first], strict=True):
            place.here[0] = number

    def _compute(self, first: int, total: int, count: int) -> Computed:
        """Return the numbers of steps, these among them."""
        found = self._computed
        if total == found.total and 0 <= first - found.first <= len(found.table) - count:
            return found
        table = np.empty((max(count, min(AHEAD, total - first)), len(self._places)))
        for column, place in zip(table.T, self._places, strict=True):
            column[:] = place.schedule.values(total, first, len(table))
            for extreme in (column.min(), column.max()):
                place.check(float(extreme))
        self._computed = Computed(table, table.ctypes.data, first, total)
        return self._computed
