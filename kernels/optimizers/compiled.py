"""Updates as machine code: each rule is a pass over a block of parameters, compiled if it is in use."""

import functools
import math
from typing import NamedTuple

from numba import carray

from ..compile.functions import kernel
from ..compile.passes import Pass, row_pass
from ..simd.lanes import lanewise
from .registry import (
    EPS,
    FIRST,
    FIRST_POWER,
    HYPER_SIZE,
    LR,
    LR_DECAY,
    MOMENTUM_DECAY,
    MOMENTUM_POWER,
    SECOND,
    SECOND_POWER,
    STEPS,
    WEIGHT_DECAY,
    Rule,
)


class Numbers(NamedTuple):
    """What rules may take of `hyper`, in the element type; `Rule.numbers` names those that a rule does.

    keep shrinks the weights by a decay apart from the gradient; rate and scale have Adam's bias correction. NAdam's
    step is by of_gradient times the gradient and ahead times its mean. falling is Adagrad's rate.
    """

    lr: float
    decay: float
    first: float
    second: float
    eps: float
    less_first: float
    less_second: float
    rate: float
    scale: float
    keep: float
    of_gradient: float
    ahead: float
    falling: float
    zero: float
    one: float


@kernel
def advance(hyper):
    """Begin a step: the powers of the decay rates, for the bias correction of Adam, and the number of steps.

    NAdam's momentum of a step is FIRST times one less half a power; where that is 0, as for others, it is FIRST.
    """
    hyper[STEPS] += 1.0
    hyper[MOMENTUM_POWER] *= hyper[MOMENTUM_DECAY]
    hyper[FIRST_POWER] *= hyper[FIRST] * (1.0 - 0.5 * hyper[MOMENTUM_POWER])
    hyper[SECOND_POWER] *= hyper[SECOND]


@kernel
def numbers_of(params, hyper):
    """Return the numbers of a step, in the type of parameters; hyper is (HYPER_SIZE,) float64, see `registry`."""
    hyper = carray(hyper, HYPER_SIZE)
    real = carray(params, 1).dtype.type
    decay = hyper[WEIGHT_DECAY]
    momentum = hyper[FIRST] * (1.0 - 0.5 * hyper[MOMENTUM_POWER])
    ahead = hyper[FIRST] * (1.0 - 0.5 * hyper[MOMENTUM_POWER] * hyper[MOMENTUM_DECAY])
    return Numbers(
        real(hyper[LR]),
        real(decay),
        real(hyper[FIRST]),
        real(hyper[SECOND]),
        real(hyper[EPS]),
        real(1.0 - hyper[FIRST]),
        real(1.0 - hyper[SECOND]),
        real(hyper[LR] / (1.0 - hyper[FIRST_POWER])),
        real(1.0 / math.sqrt(1.0 - hyper[SECOND_POWER])),
        real(1.0 - hyper[LR] * decay),
        real(hyper[LR] * (1.0 - momentum) / (1.0 - hyper[FIRST_POWER])),
        real(hyper[LR] * ahead / (1.0 - hyper[FIRST_POWER] * ahead)),
        real(hyper[LR] / (1.0 + (hyper[STEPS] - 1.0) * hyper[LR_DECAY])),
        real(0.0),
        real(1.0),
    )


@functools.cache
def update(rule: Rule, name: str) -> Pass:
    """Return the pass that updates parameters in place from their gradients, and the optimizer's state with them.

    Its block is the gradients; `below` are the parameters, `beside` the first array of the state, and the others stand
    `n` elements on each. The elements are independent.
    """
    formula = lanewise(rule.formula, reads=2 + rule.states, writes=1 + rule.states, numbers=len(rule.numbers))
    states = ["at_beside", "at(at_beside, n)", "at(at_beside, 2 * n)"][: rule.states]
    operands = ["at_below", "at_c", *states, "at_below", *states, *(f"named.{name}" for name in rule.numbers)]
    prepare = "named = numbers_of(below, numbers)"
    return row_pass(rule.formula, name, formula, ", ".join(operands), prepare, numbers_of=numbers_of)
