"""Gradient descent, plain, with momentum, and with Nesterov's (Sutskever et al. 2013), each as in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .registry import rule
from .settle import settled, settled_twin

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def sgd(v: Lanes, p: Vec, g: Vec, lr: Vec, decay: Vec) -> Vec:
    return v.fma(-lr, v.fma(decay, p, g), p)


def momentum(v: Lanes, p: Vec, g: Vec, m: Vec, lr: Vec, decay: Vec, mu: Vec) -> tuple[Vec, Vec]:
    m = settled(v, v.fma(mu, m, v.fma(decay, p, g)))
    return v.fma(-lr, m, p), m


def nesterov(v: Lanes, p: Vec, g: Vec, m: Vec, lr: Vec, decay: Vec, mu: Vec) -> tuple[Vec, Vec]:
    g = v.fma(decay, p, g)
    m = settled(v, v.fma(mu, m, g))
    return v.fma(-lr, v.fma(mu, m, g), p), m


def sgd_twin(p, g, hyper):
    g = g + hyper.decay * p
    p -= hyper.lr * g


def momentum_twin(p, g, m, hyper):
    g = g + hyper.decay * p
    m[...] = settled_twin(hyper.first * m + g)
    p -= hyper.lr * m


def nesterov_twin(p, g, m, hyper):
    g = g + hyper.decay * p
    m[...] = settled_twin(hyper.first * m + g)
    p -= hyper.lr * (g + hyper.first * m)


SGD = rule("sgd", 0, sgd, sgd_twin, states=0, numbers=("lr", "decay"))
MOMENTUM = rule("momentum", 1, momentum, momentum_twin, states=1, numbers=("lr", "decay", "first"))
NESTEROV = rule("nesterov", 2, nesterov, nesterov_twin, states=1, numbers=("lr", "decay", "first"))
