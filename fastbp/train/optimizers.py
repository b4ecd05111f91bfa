"""Optimizers: what they are called and their numbers. The arithmetic is in ``kernels/optimizers/``.

An optimizer holds no state of a run, so one object may serve several trainers; its numbers may change between steps.
Those up to the decay rates may be schedules (`fastbp.schedules`), which say them for each step.
"""

from copy import copy
from dataclasses import dataclass, fields, make_dataclass
from typing import Any, ClassVar

from fastbp._base import check
from fastbp._base.docs import with_lists
from fastbp._base.guard import Guarded
from fastbp._base.made import checked, docstring, parameters_of
from fastbp._base.schedule import Schedule, checked_number
from fastbp.kernels import optimizers as updates
from fastbp.kernels.registry import Number
from fastbp.train.groups import TEXT, Groups, check_groups

__all__ = [
    "KINDS",
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "named_optimizer",
    "optimizer_of",
    "publish",
]


# Places of the numbers that schedules may say
VARYING = (updates.LR, updates.WEIGHT_DECAY, updates.FIRST, updates.SECOND)


class Optimizer(Guarded):
    """What the optimizers have in common: a kernel, and the numbers it reads.

    A subclass may add to it or have other defaults, but not override what the kernels compute.
    """

    lr: Any  # a float or a schedule
    weight_decay: Any
    groups: Groups | None

    _decays: ClassVar[bool] = True  # whether the formula has a weight decay
    # "step" is PyTorch's name, "apply_gradients" and "update_step" are Keras's.
    _compiled: ClassVar = ("code", "numbers", "step", "update", "apply_gradients", "update_step", "__call__")

    @property
    def code(self) -> int:
        """The kernel's code in ``kernels.updates``."""
        raise NotImplementedError

    def _decay(self) -> tuple[float | Schedule, float | Schedule, float]:
        """Return the first and second decay rates, and eps."""
        raise NotImplementedError

    def numbers(self) -> tuple[float | Schedule, ...]:
        """Return the numbers as the kernel takes them, those before ``updates.FIRST_POWER``; schedules among them."""
        return (self.lr, self.weight_decay, *self._decay(), *[0.0] * (updates.FIRST_POWER - updates.EPS - 1))

    def check(self) -> None:
        """Raise ValueError or TypeError if a number is out of range."""
        who = type(self).__name__
        checked_number(self.lr, who, "lr")
        checked_number(self.weight_decay, who, "weight_decay")
        self._check_groups()

    def _check_groups(self) -> None:
        check_groups(self.groups, self._decays, type(self).__name__)

    def check_value(self, schedule: Schedule, value: float) -> None:
        """Raise ValueError if a number that a schedule of this optimizer says is out of range."""
        probe = copy(self)
        for name, given in vars(self).items():
            if isinstance(given, (tuple, list)):
                vars(probe)[name] = tuple(value if each is schedule else each for each in given)
            elif given is schedule:
                vars(probe)[name] = value
        probe.check()

    def __post_init__(self) -> None:
        self.check()

    def __repr__(self) -> str:
        values = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]
        if not self.groups:
            del values["groups"]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


@with_lists(groups=TEXT)
@dataclass(repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: ``W <- W - lr dW``, with momentum and Nesterov's as in PyTorch.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        Learning rate. It, and what is said to be one below, may be a schedule: see `fastbp.schedules`.
    momentum : float or schedule, default 0.0
        With ``m <- momentum m + dW`` the step is ``-lr m``.
    nesterov : bool, default False
        Step by ``-lr (dW + momentum m)`` instead.
    weight_decay : float or schedule, default 0.0
        Adds ``weight_decay W`` to the gradient.
    groups : dict, optional
        {groups}

    Raises
    ------
    ValueError
        If a number is negative or not finite, or `nesterov` comes without momentum.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    lr: float | Schedule = 0.01
    momentum: float | Schedule = 0.0
    nesterov: bool = False
    weight_decay: float | Schedule = 0.0
    groups: Groups | None = None

    def check(self) -> None:  # noqa: D102
        super().check()
        checked_number(self.momentum, "SGD", "momentum")
        if check.flag(self.nesterov, "SGD", "nesterov") and self.momentum == 0:
            raise ValueError("SGD expects momentum greater than 0 with nesterov=True, got 0")

    @property
    def code(self) -> int:  # noqa: D102
        if self.momentum == 0:
            return updates.SGD
        return updates.NESTEROV if self.nesterov else updates.MOMENTUM

    def _decay(self) -> tuple[float | Schedule, float | Schedule, float]:
        return self.momentum, 0.0, 0.0


@with_lists(groups=TEXT)
@dataclass(repr=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), as in PyTorch.

    The bias of the means is corrected by the number of steps of the trainer, where PyTorch counts those in which a
    parameter had a gradient: see ``docs/optimizers.md`` before training a layer that was frozen from the first step on.

    Parameters
    ----------
    lr : float or schedule, default 1e-3
        Learning rate.
    betas : (float or schedule, float or schedule), default (0.9, 0.999)
        Decay rates of the mean gradient and of the mean squared gradient. Where they change, the bias of the means is
        corrected by the product of those that were used; PyTorch takes the last one to the power of the steps.
    eps : float, default 1e-8
        Added to the root of the mean squared gradient; greater than 0, where PyTorch takes 0 too. Squares below the
        normal numbers count as 0 here, so eps counts as at least their root: 1.1e-19 in float32, 1.5e-154 in float64.
    weight_decay : float or schedule, default 0.0
        Adds ``weight_decay W`` to the gradient.
    amsgrad : bool, default False
        Divide by the root of the largest mean squared gradient so far (Reddi, Kale and Kumar, 2018). Like the kind of
        optimizer, it stays for a trainer.
    groups : dict, optional
        {groups}

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.Adam(3e-4).betas
    (0.9, 0.999)
    """

    lr: float | Schedule = 1e-3
    betas: tuple[float | Schedule, float | Schedule] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float | Schedule = 0.0
    amsgrad: bool = False
    groups: Groups | None = None

    _codes: ClassVar[tuple[int, int]] = updates.ADAM, updates.AMSGRAD

    def check(self) -> None:  # noqa: D102
        super().check()
        who = type(self).__name__
        if not isinstance(self.betas, (tuple, list)) or len(self.betas) != 2:
            raise TypeError(f"{who} expects betas to be two numbers, got {self.betas!r}")
        for i, beta in enumerate(self.betas):
            checked_number(beta, who, f"betas[{i}]", 0.0, 1.0, open_high=True)
        _check_eps(self.eps, who)
        check.flag(self.amsgrad, who, "amsgrad")

    @property
    def code(self) -> int:  # noqa: D102
        return self._codes[bool(self.amsgrad)]

    def _decay(self) -> tuple[float | Schedule, float | Schedule, float]:
        return (*self.betas, self.eps)


@dataclass(repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as in PyTorch.

    The parameters are `Adam`'s, but `weight_decay` (default 0.01) shrinks the weights by ``lr * weight_decay`` a step
    in place of adding to the gradient.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.AdamW().weight_decay
    0.01
    """

    weight_decay: float | Schedule = 0.01

    _codes: ClassVar[tuple[int, int]] = updates.ADAMW, updates.AMSGRADW


@with_lists(groups=TEXT)
@dataclass(repr=False)
class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6e of Neural Networks for Machine Learning, 2012), as in PyTorch.

    Parameters
    ----------
    lr : float or schedule, default 0.01
        Learning rate.
    alpha : float or schedule, default 0.99
        Decay rate of the mean squared gradient.
    eps : float, default 1e-8
        Added to the root of the mean squared gradient; greater than 0, where PyTorch takes 0 too. Squares below the
        normal numbers count as 0 here, so eps counts as at least their root: 1.1e-19 in float32, 1.5e-154 in float64.
    weight_decay : float or schedule, default 0.0
        Adds ``weight_decay W`` to the gradient.
    groups : dict, optional
        {groups}

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.RMSprop(1e-3).alpha
    0.99
    """

    lr: float | Schedule = 0.01
    alpha: float | Schedule = 0.99
    eps: float = 1e-8
    weight_decay: float | Schedule = 0.0
    groups: Groups | None = None

    def check(self) -> None:  # noqa: D102
        super().check()
        checked_number(self.alpha, "RMSprop", "alpha", 0.0, 1.0, open_high=True)
        _check_eps(self.eps, "RMSprop")

    @property
    def code(self) -> int:  # noqa: D102
        return updates.RMSPROP

    def _decay(self) -> tuple[float | Schedule, float | Schedule, float]:
        return 0.0, self.alpha, self.eps


def _check_eps(eps: float, who: str) -> None:
    if check.number(eps, who, "eps") == 0:
        raise ValueError(f"{who} expects eps greater than 0, got {eps!r}: squares of tiny gradients count as 0")


class _OfRule(Optimizer):
    """An optimizer of one update rule of the kernels' table, whose class is made from that."""

    _rule: ClassVar[int]
    _chosen: ClassVar[tuple[Number, ...]]

    def check(self) -> None:
        for number in self._chosen:
            checked(number, getattr(self, number.name), type(self).__name__, number.place in VARYING)
        self._check_groups()

    @property
    def code(self) -> int:
        return self._rule

    def numbers(self) -> tuple[float | Schedule, ...]:
        found: list[float | Schedule] = [0.0] * updates.FIRST_POWER
        for number in self._chosen:
            own = checked(number, getattr(self, number.name), type(self).__name__, number.place in VARYING)
            if number.kept is not None:
                own = tuple(map(number.kept, own))
            found[number.place : number.place + len(own)] = own
        return tuple(found)


# By the name of the class, as checkpoints have them
KINDS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in (SGD, Adam, AdamW, RMSprop)}
# By the name of the update rule, as a `Trainer` and the command line know them: a class, and options of it
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "sgd": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "rmsprop": (RMSprop, {}),
    "amsgrad": (Adam, {"amsgrad": True}),
    "amsgradw": (AdamW, {"amsgrad": True}),
}


def named_optimizer(name: str, who: str = "Trainer", **options: Any) -> Optimizer:
    """Return the optimizer of a name, with its own numbers but for those that are given."""
    kind, own = check.choice(name, OPTIMIZERS, who, "optimizer")
    made: Optimizer = kind(**own | options)
    return made


def optimizer_of(optimizer: Any) -> Optimizer:
    """Return an optimizer as it is, or that of a name; Adam for None."""
    if optimizer is None or isinstance(optimizer, str):
        return named_optimizer(optimizer or "adam")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"Trainer expects optimizer to be an optimizer, got {type(optimizer).__name__}")
    return optimizer


def publish(rule: updates.Rule) -> type[Optimizer]:
    """Make the class of an update rule of the kernels' table, and make checkpoints know it by its name."""
    public = rule.public
    if public is None:
        raise ValueError(f"publish expects a rule with public names, got {rule.name!r} without")
    varies = [number.name for number in rule.chosen if number.place in VARYING]
    chosen = [(number.name, type(number.default), number.default) for number in rule.chosen]
    said = {
        "Parameters": [*parameters_of(rule.chosen, varies), ("groups : dict, optional", TEXT)],
        "Raises": [("ValueError", "If a number is out of range.")],
    }
    shown = ", ".join(f"{number.name}={number.default}" for number in rule.chosen)
    example = f">>> fastbp.{public.name}()\n{public.name}({shown})"
    body = {
        "__doc__": docstring(f"{public.text}.", said, example),
        "__module__": __name__,
        "_rule": rule.code,
        "_chosen": rule.chosen,
        "_decays": not {"decay", "keep"}.isdisjoint(rule.numbers),
    }
    kind: type[Optimizer] = make_dataclass(
        public.name, [*chosen, ("groups", Any, None)], bases=(_OfRule,), namespace=body, repr=False
    )
    OPTIMIZERS[rule.name] = kind, {}
    KINDS[public.name] = globals()[public.name] = kind  # pickle looks there
    return kind


MADE = [publish(rule) for rule in updates.RULES.values() if rule.public]
