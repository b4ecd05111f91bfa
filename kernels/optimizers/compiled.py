"""Updates as machine code: a pass over a block of parameters, which picks a rule by its code."""

import math

from numba import carray, types

from ..compile.functions import kernel, outlined
from ..compile.pointers import at
from ..simd.lanes import lanewise
from . import (
    ADAMW,
    EPS,
    EXEMPT,
    FIRST,
    FIRST_POWER,
    HYPER_SIZE,
    LR,
    MOMENTUM,
    NESTEROV,
    RMSPROP,
    RULES,
    SECOND,
    SECOND_POWER,
    SGD,
    WEIGHT_DECAY,
)

sgd, momentum, nesterov, adam, rmsprop = (
    lanewise(rule.formula, reads=2 + rule.states, writes=1 + rule.states, numbers=len(rule.numbers))
    for rule in (RULES[name] for name in ("sgd", "momentum", "nesterov", "adam", "rmsprop"))
)


@kernel
def advance(hyper):
    """Begin a step: the powers of the decay rates, for the bias correction of Adam."""
    hyper[FIRST_POWER] *= hyper[FIRST]
    hyper[SECOND_POWER] *= hyper[SECOND]


def _update_types(dtype):
    p, i = types.CPointer(dtype), types.int64
    return types.void(i, p, p, p, types.CPointer(types.float64), i, i, i, i)


@outlined(_update_types)
def update(code, params, grads, state, hyper, n, ld, rows, cols):
    """Update a block of parameters in place from the gradients, and the optimizer's state with them.

    code : one of SGD ... RMSPROP
    params, grads, state : (rows, cols), rows `ld` apart: read and written; read; read and written
    hyper : (HYPER_SIZE,) float64: learning rate, weight decay, first (momentum or beta1), second (beta2 or alpha), eps,
        beta1**t, beta2**t, exempt
    n : how far apart the arrays of the state stand, STATE_ARRAYS[code] of them

    The elements are independent.
    """
    hyper = carray(hyper, HYPER_SIZE)
    real = carray(params, cols).dtype.type
    rate_of_decay = hyper[WEIGHT_DECAY]
    if hyper[EXEMPT] > 0.0 and carray(at(state, n * (int(hyper[EXEMPT]) - 1)), 1)[0] != 0.0:
        rate_of_decay = 0.0
    lr, decay = real(hyper[LR]), real(rate_of_decay)
    first, eps = real(hyper[FIRST]), real(hyper[EPS])
    less_first, less_second = real(1.0 - hyper[FIRST]), real(1.0 - hyper[SECOND])
    rate = real(hyper[LR] / (1.0 - hyper[FIRST_POWER]))
    scale = real(1.0 / math.sqrt(1.0 - hyper[SECOND_POWER]))
    keep = real(1.0)
    if code == ADAMW:
        keep, decay = real(1.0 - hyper[LR] * rate_of_decay), real(0.0)
    if cols == ld:  # one long row
        rows, cols = 1, rows * cols
    for i in range(rows):
        p, g, m = at(params, i * ld), at(grads, i * ld), at(state, i * ld)
        if code == SGD:
            sgd(p, g, p, lr, decay, cols)
        elif code == MOMENTUM:
            momentum(p, g, m, p, m, lr, decay, first, cols)
        elif code == NESTEROV:
            nesterov(p, g, m, p, m, lr, decay, first, cols)
        elif code == RMSPROP:
            rmsprop(p, g, m, p, m, lr, decay, less_second, eps, cols)
        else:
            s = at(m, n)
            adam(p, g, m, s, p, m, s, decay, keep, less_first, less_second, eps, rate, scale, cols)
