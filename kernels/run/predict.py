"""Prediction of a network in one compiled call."""

from numba import types

from ..compile.functions import entry
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at
from ..compile.records import INT, INTS, POINTER, record
from ..compile.signature import Int, Ints2, Reals, Reals2
from ..ops.call import FIRST, PLACE, ROWS, new_span, table_of
from .frame import FRAME_SIZE, LAYERS, PARAMS, PLAN, STORED, WORK
from .plan import COLUMNS, A
from .segments import run_forward

new_frame = table_of(FRAME_SIZE)


# A network that predicts: its plan and workspace, and the address of the table of stored rows, 0 for dense ones.
Network = record("Network", plan=INTS, layers=INT, params=POINTER, work=POINTER, stored=INT)


def _predict_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(Network.of(dtype), p, i, p, i)


@outlined(_predict_types)
def predict_rows(network, x, rows, out, tasks):
    """`predict`, on pointers."""
    plan, work = network.plan, network.work
    frame, span = new_frame(plan), new_span(plan)
    frame[PLAN], frame[LAYERS] = address_of(plan), network.layers
    frame[PARAMS], frame[WORK], frame[STORED] = address_of(network.params), address_of(work), network.stored
    plan[(network.layers - 1) * COLUMNS + A] = address_of(out) - address_of(work)
    span[FIRST], span[ROWS], span[PLACE] = 0, rows, 0
    run_forward(x, frame, -1, network.layers, span, tasks)


@entry
def predict(plan: Ints2, params: Reals, work: Reals, x: Reals2, out: Reals2, tasks: Int) -> None:
    """Run the network on x, (batch, in_features), into out, (batch, out_features). Keeps nothing.

    plan, work : made with ``train=False``, this thread's own; the workspace holds at least `batch` rows
    """
    network = Network(at(plan, 0), plan.shape[0], at(params, 0), at(work, 0), 0)
    predict_rows(network, at(x, 0), x.shape[0], at(out, 0), tasks)
