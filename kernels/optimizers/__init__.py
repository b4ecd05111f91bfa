"""Optimizer updates over flat arrays, in place, one pass: ``W <- W - lr dW`` and its kin, a file an optimizer.

Each formula is PyTorch's of that name, in its order of operations. The machine code is in `compiled`.
"""

from ..registry import load_folder
from .registry import (
    AVERAGING,
    BY_CODE,
    CARRIED,
    CLIP_NORM,
    CLIP_VALUE,
    DECAY,
    DECAY_FACTOR,
    EPS,
    FIRST,
    FIRST_POWER,
    GROUP_HYPER,
    GROUP_SIZE,
    HYPER_SIZE,
    INITIAL,
    LR,
    LR_DECAY,
    LR_FACTOR,
    MOMENTUM_DECAY,
    MOMENTUM_POWER,
    RULES,
    SECOND,
    SECOND_POWER,
    START,
    STATE_ARRAYS,
    STEPS,
    WEIGHT_DECAY,
    Hyper,
    Rule,
)

__all__ = [
    "ADAM", "ADAMW", "AMSGRAD", "AMSGRADW", "AVERAGING", "BY_CODE", "CARRIED", "CLIP_NORM", "CLIP_VALUE", "DECAY",
    "DECAY_FACTOR", "EPS", "FIRST", "FIRST_POWER", "GROUP_HYPER", "GROUP_SIZE", "HYPER_SIZE", "INITIAL", "LR",
    "LR_DECAY", "LR_FACTOR", "MOMENTUM", "MOMENTUM_DECAY", "MOMENTUM_POWER", "NESTEROV", "RMSPROP", "RULES", "SECOND",
    "SECOND_POWER", "SGD", "START", "STATE_ARRAYS", "STEPS", "WEIGHT_DECAY", "Hyper", "Rule",
]  # fmt: skip

load_folder(__name__, __path__, RULES, leave=["compiled", "functions"])

CODES = {name: rule.code for name, rule in RULES.items()}
SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, AMSGRAD, AMSGRADW = (
    CODES[name] for name in ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "amsgrad", "amsgradw")
)
