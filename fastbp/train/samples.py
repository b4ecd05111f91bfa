"""What compiled steps are given: the rows, and which steps on them."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastbp._base.inputs import Input
from fastbp._base.sparse import StoredRows
from fastbp.nn.loss import Targets

Array = NDArray[Any]


class Samples(NamedTuple):
    """What a trainer trains on, checked.

    x : (samples, in_features), an array, an input, or stored rows
    targets : of each
    weight : (samples,), how much each counts; empty where all count the same
    """

    x: Array | Input | StoredRows
    targets: Targets
    weight: Array


class Part(NamedTuple):
    """Some steps of an epoch.

    steps : their numbers in the epoch
    batch : rows of a step
    order : (samples,), the row numbers in their order; empty for that in which they stand
    record : (RECORD_ROWS, steps of the epoch), what is noted of each step
    finite : whether they end before one whose loss is not finite
    """

    steps: range
    batch: int
    order: Array
    record: Array
    finite: bool = False
