"""The table of update rules: one entry for each, made by the file of its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..registry import Number, Public, add

# Places in `hyper`, float64. First numbers that users choose: LR_DECAY is Adagrad's, MOMENTUM_DECAY what the part of
# NAdam's momentum that warms up is multiplied by in each step (0: there is none), INITIAL what the state begins with.
# Then what the steps have made of them, which `advance` goes on with: powers, and STEPS, how many there were.
# CLIP_VALUE is the largest gradient and CLIP_NORM the largest norm of all of them together, 0 for no limit; FACTOR is
# written: what they are multiplied by. AVERAGING is what averages of the parameters keep of themselves in a step; 0:
# there are none.
(
    LR, WEIGHT_DECAY, FIRST, SECOND, EPS, LR_DECAY, MOMENTUM_DECAY, INITIAL, FIRST_POWER, SECOND_POWER, MOMENTUM_POWER,
    STEPS, CLIP_VALUE, CLIP_NORM, FACTOR, AVERAGING, HYPER_SIZE,
) = range(17)  # fmt: skip
CARRIED = slice(FIRST_POWER, CLIP_VALUE)  # what one step leaves for the next
# Columns of the table of groups of parameters, float64. A row is for the parameters from a place on, START, in bytes
# from the first one: LR_FACTOR, what their learning rate is multiplied by; DECAY, their weight decay, negative for that
# of all; DECAY_FACTOR, what that is multiplied by; and from GROUP_HYPER on, written in each step, all of `hyper` for
# them.
START, LR_FACTOR, DECAY, DECAY_FACTOR, GROUP_HYPER = range(5)
GROUP_SIZE = GROUP_HYPER + HYPER_SIZE


@dataclass
class Hyper:
    """The numbers in `hyper` by name, for the twins."""

    lr: float
    decay: float
    first: float
    second: float
    eps: float
    lr_decay: float
    momentum_decay: float
    initial: float
    first_power: float
    second_power: float
    momentum_power: float
    steps: float
    clip_value: float
    clip_norm: float
    factor: float
    averaging: float


@dataclass(frozen=True, eq=False)
class Rule:
    """How parameters are updated from their gradients, element by element.

    name : what it is called in tests and errors
    code : what the kernels call it; the table is in this order
    formula : (lanes, p, g, *states, *numbers) to p and the states, as vector instructions
    twin : (p, g, *states, hyper) updates p and the states in place, in NumPy; hyper is a `Hyper`
    states : how many arrays of state there are beside the parameters
    numbers : what the formula takes of what `compiled.update` makes of `hyper`, in order
    normalized : whether the gradient is divided by its size, as the mean of its squares tells that
    chosen, public : the numbers that users choose, and the class that fastbp makes; none where that is written by hand
    """

    name: str
    code: int
    formula: Callable[..., Any]
    twin: Callable[..., None]
    states: int
    numbers: tuple[str, ...]
    normalized: bool = False
    chosen: tuple[Number, ...] = ()
    public: Public | None = None


RULES: dict[str, Rule] = {}
BY_CODE: dict[int, Rule] = {}
# Arrays of optimizer state beside the parameters, by code
STATE_ARRAYS: dict[int, int] = {}


def rule(name: str, code: int, *rest: Any, **named: Any) -> Rule:
    """Register an update rule; see `Rule` for the arguments."""
    entry = add(RULES, Rule(name, code, *rest, **named))
    BY_CODE[code], STATE_ARRAYS[code] = entry, entry.states
    return entry
