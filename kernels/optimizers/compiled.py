"""Updates as machine code: each rule is a pass over a block of parameters, compiled if it is in use."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import carray

from ..compile.functions import kernel
from ..compile.passes import Pass, row_pass
from ..simd.lanes import Lanes, Vec, lanewise
from .registry import (
    AVERAGING,
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
from .settle import settled


class Numbers(NamedTuple):
    """What rules may take of `hyper`, in the element type; `Rule.numbers` names those that a rule does.

    keep shrinks the weights by a decay apart from the gradient; rate and scale have Adam's bias correction. NAdam's
    step is by of_gradient times the gradient and ahead times its mean. falling is Adagrad's rate. newest is how much
    the new parameters count for in their averages, which begin with those after the first step.
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
    newest: float
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
        real(1.0 - hyper[AVERAGING] if hyper[STEPS] > 1.0 else 1.0),
        real(0.0),
        real(1.0),
    )


def _and_averages(rule: Rule) -> Callable[..., Any]:
    """Return a rule's formula with the parameters' averages as one more state, and `newest` as the last number."""

    def formula(v: Lanes, p: Vec, g: Vec, *more: Vec) -> tuple[Vec, ...]:
        states, average, numbers, newest = more[: rule.states], more[rule.states], more[rule.states + 1 : -1], more[-1]
        updated = rule.formula(v, p, g, *states, *numbers)
        p, *after = updated if isinstance(updated, tuple) else (updated,)
        return p, *after, settled(v, v.fma(newest, p - average, average))

    return formula


@functools.cache
def update(rule: Rule, name: str, averages: bool) -> Pass:
    """Return the pass that updates parameters in place from their gradients, and the optimizer's state with them.

    Its block is the gradients; `below` are the parameters, `beside` the first array of the state, and the others stand
    `n` elements on each; the last of them are the parameters' averages, where there are any. The elements are
    independent.
    """
    formula = _and_averages(rule) if averages else rule.formula
    arrays, numbers = rule.states + averages, [*rule.numbers, *(["newest"] if averages else [])]
    apply = lanewise(formula, reads=2 + arrays, writes=1 + arrays, numbers=len(numbers))
    states = ["at_beside", *(f"at(at_beside, {i} * n)" for i in range(1, arrays))][:arrays]
    operands = ["at_below", "at_c", *states, "at_below", *states, *(f"named.{number}" for number in numbers)]
    prepare = "named = numbers_of(below, numbers)"
    return row_pass(rule.formula, name, apply, ", ".join(operands), prepare, numbers_of=numbers_of)
