"""Prediction of a network in one compiled call."""

from numba import types

from ..compile.functions import entry
from ..compile.outlined import outlined
from ..compile.pointers import address_of, at
from ..compile.signature import Int, Ints2, Reals, Reals2
from ..ops.call import FIRST, PLACE, ROWS, new_span, table_of
from .frame import FRAME_SIZE, LAYERS, PARAMS, PLAN, WORK
from .passes import run_forward
from .plan import COLUMNS, A

new_frame = table_of(FRAME_SIZE)


def _predict_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(p, i, types.CPointer(i), i, p, p, p, i)


@outlined(_predict_types)
def predict_rows(x, rows, plan, layers, params, work, out, tasks):
    """`predict`, on pointers."""
    frame, span = new_frame(plan), new_span(plan)
    frame[PLAN], frame[LAYERS] = address_of(plan), layers
    frame[PARAMS], frame[WORK] = address_of(params), address_of(work)
    plan[(layers - 1) * COLUMNS + A] = address_of(out) - address_of(work)
    span[FIRST], span[ROWS], span[PLACE] = 0, rows, 0
    run_forward(x, frame, span, tasks)


@entry
def predict(plan: Ints2, params: Reals, work: Reals, x: Reals2, out: Reals2, tasks: Int) -> None:
    """Run the network on x, (batch, in_features), into out, (batch, out_features). Keeps nothing.

    plan, work : made with ``train=False``, this thread's own; the workspace holds at least `batch` rows
    """
    predict_rows(at(x, 0), x.shape[0], at(plan, 0), plan.shape[0], at(params, 0), at(work, 0), at(out, 0), tasks)
