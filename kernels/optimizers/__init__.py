"""Optimizer updates over flat arrays, in place, one pass: ``W <- W - lr dW`` and its kin, all layers at once.

Each formula is PyTorch's of that name, in its order of operations (Kingma and Ba 2015 for Adam, Loshchilov and Hutter
2019 for AdamW, Hinton's lecture 6e for RMSprop, Sutskever et al. 2013 for Nesterov's momentum).
"""

import math

from numba import carray, types

from ..compile.functions import kernel, outlined
from ..compile.pointers import at
from ..simd.lanes import Lanes, Vec, lanewise

SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP = range(6)

# Arrays of optimizer state beside the parameters
STATE_ARRAYS = {SGD: 0, MOMENTUM: 1, NESTEROV: 1, ADAM: 2, ADAMW: 2, RMSPROP: 1}

# Places in `hyper`, float64; the powers are advanced by `advance` with every step. EXEMPT is 0, or one more than the
# place of one more array of the state: where a block begins with another number than 0 there, it does not decay.
LR, WEIGHT_DECAY, FIRST, SECOND, EPS, FIRST_POWER, SECOND_POWER, EXEMPT, HYPER_SIZE = range(9)


def _settled(v: Lanes, x: Vec) -> Vec:
    """Zero where x is below the normal numbers.

    The state of a parameter that gets no gradient any more decays to such numbers and stays there, and so does the
    square of a tiny gradient. They move nothing, but on many CPUs each takes a hundred cycles.
    """
    return v.select(v.abs(x) < 2.0 ** (1 - v.bias), 0.0, x)


def _square(v: Lanes, g: Vec) -> Vec:
    g = v.select(v.abs(g) < _smallest_root(v), 0.0, g)
    return g * g


def _smallest_root(v: Lanes) -> float:
    """The root of the smallest normal number: where a mean square is settled to 0, its root counts as this at most."""
    return 2.0 ** ((1 - v.bias) // 2)


def _sgd(v: Lanes, p: Vec, g: Vec, lr: Vec, decay: Vec) -> Vec:
    return v.fma(-lr, v.fma(decay, p, g), p)


def _momentum(v: Lanes, p: Vec, g: Vec, m: Vec, lr: Vec, decay: Vec, mu: Vec) -> tuple[Vec, Vec]:
    m = _settled(v, v.fma(mu, m, v.fma(decay, p, g)))
    return v.fma(-lr, m, p), m


def _nesterov(v: Lanes, p: Vec, g: Vec, m: Vec, lr: Vec, decay: Vec, mu: Vec) -> tuple[Vec, Vec]:
    g = v.fma(decay, p, g)
    m = _settled(v, v.fma(mu, m, g))
    return v.fma(-lr, v.fma(mu, m, g), p), m


def _adam(
    v: Lanes, p: Vec, g: Vec, m: Vec, s: Vec,
    decay: Vec, keep: Vec, first: Vec, second: Vec, eps: Vec, rate: Vec, scale: Vec,
) -> tuple[Vec, Vec, Vec]:  # fmt: skip
    """Adam and AdamW: `decay` adds to the gradient, `keep` shrinks the weights.

    first, second are 1 - beta; rate is lr / (1 - beta1**t), scale is 1 / sqrt(1 - beta2**t).
    """
    p = p * keep
    g = v.fma(decay, p, g)
    m = _settled(v, v.fma(first, g - m, m))
    s = _settled(v, v.fma(second, _square(v, g) - s, s))
    return p - rate * (m / v.fma(v.sqrt(s), scale, v.maximum(eps, _smallest_root(v)))), m, s


def _rmsprop(v: Lanes, p: Vec, g: Vec, s: Vec, lr: Vec, decay: Vec, rest: Vec, eps: Vec) -> tuple[Vec, Vec]:
    g = v.fma(decay, p, g)
    s = _settled(v, v.fma(rest, _square(v, g) - s, s))
    return p - lr * (g / (v.sqrt(s) + v.maximum(eps, _smallest_root(v)))), s


sgd = lanewise(_sgd, reads=2, writes=1, numbers=2)
momentum = lanewise(_momentum, reads=3, writes=2, numbers=3)
nesterov = lanewise(_nesterov, reads=3, writes=2, numbers=3)
adam = lanewise(_adam, reads=4, writes=3, numbers=7)
rmsprop = lanewise(_rmsprop, reads=3, writes=2, numbers=4)


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
