"""Optimizer updates over flat arrays, in place, one pass: ``W <- W - lr dW`` and its kin, a file an optimizer.

Each formula is PyTorch's of that name, in its order of operations. The machine code is in `compiled`.
"""

from ..registry import load_folder
from .registry import (
    BY_CODE,
    CLIP_NORM,
    CLIP_VALUE,
    EPS,
    EXEMPT,
    FIRST,
    FIRST_POWER,
    HYPER_SIZE,
    INITIAL,
    LR,
    LR_DECAY,
    MOMENTUM_DECAY,
    MOMENTUM_POWER,
    RULES,
    SECOND,
    SECOND_POWER,
    STATE_ARRAYS,
    STEPS,
    WEIGHT_DECAY,
    Hyper,
    Rule,
)

__all__ = [
    "ADAM", "ADAMW", "AMSGRAD", "AMSGRADW", "BY_CODE", "CLIP_NORM", "CLIP_VALUE", "EPS", "EXEMPT", "FIRST",
    "FIRST_POWER", "HYPER_SIZE", "INITIAL", "LR", "LR_DECAY", "MOMENTUM", "MOMENTUM_DECAY", "MOMENTUM_POWER",
    "NESTEROV", "RMSPROP", "RULES", "SECOND", "SECOND_POWER", "SGD", "STATE_ARRAYS", "STEPS", "WEIGHT_DECAY", "Hyper",
    "Rule",
]  # fmt: skip

load_folder(__name__, __path__, RULES, leave=["compiled", "functions"])

CODES = {name: rule.code for name, rule in RULES.items()}
SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, AMSGRAD, AMSGRADW = (
    CODES[name] for name in ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "amsgrad", "amsgradw")
)
