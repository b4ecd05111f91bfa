"""Entropy and its kin for probability distributions, in nats (natural logarithm), over the last axis."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp._base import check

__all__ = ["cross_entropy", "entropy", "kl_divergence"]


def _expected(q: NDArray[np.float64], information: NDArray[np.float64]) -> Any:
    """Return sum q * information, where what never happens counts for nothing."""
    sums = np.where(q > 0, q * information, 0.0).sum(-1)
    return sums if sums.ndim else float(sums)


def _information(p: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return -np.log(p)


def _pair(who: str, q: ArrayLike, p: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    true, model = check.distribution(q, who, "q"), check.distribution(p, who, "p")
    if true.shape[-1] != model.shape[-1]:
        raise ValueError(f"{who} expects p with {true.shape[-1]} outcomes, as q has, got {model.shape[-1]}")
    try:
        return true, np.broadcast_arrays(model, true)[0]
    except ValueError:
        shapes = check.shape_text(true.shape), check.shape_text(model.shape)
        raise ValueError(f"{who} expects p of q's shape {shapes[0]}, or one that fits it; got {shapes[1]}") from None


def entropy(p: ArrayLike) -> Any:
    """Return ``H(p) = -sum p log p``, the information that an outcome carries on average.

    Parameters
    ----------
    p : array_like of shape (..., outcomes)
        Probabilities; each row sums to 1.

    Returns
    -------
    float or ndarray of shape (...)
        In nats; ``0 log 0`` is 0.

    Raises
    ------
    ValueError
        If a probability is negative or a row does not sum to 1.

    Examples
    --------
    >>> import fastbp
    >>> round(fastbp.entropy([0.5, 0.5]), 3)  # a coin: log 2
    0.693
    """
    distribution = check.distribution(p, "entropy", "p")
    with np.errstate(invalid="ignore"):
        return _expected(distribution, _information(distribution))


def cross_entropy(q: ArrayLike, p: ArrayLike) -> Any:
    """Return ``H(q, p) = -sum q log p``, the surprise of a model p when the truth is q.

    Parameters
    ----------
    q, p : array_like of shape (..., outcomes)
        The true distribution and the model's.

    Returns
    -------
    float or ndarray of shape (...)
        In nats; infinite where p excludes what q allows.

    Raises
    ------
    ValueError
        If a probability is negative, a row does not sum to 1, or the numbers of outcomes differ.

    Examples
    --------
    A sunny day, and a forecast of rain 2 %, sun 87 %, clouds 11 %:

    >>> import fastbp
    >>> round(fastbp.cross_entropy([0, 1, 0], [0.02, 0.87, 0.11]), 3)
    0.139
    """
    true, model = _pair("cross_entropy", q, p)
    with np.errstate(invalid="ignore"):
        return _expected(true, _information(model))


def kl_divergence(q: ArrayLike, p: ArrayLike) -> Any:
    """Return ``D(q || p) = H(q, p) - H(q) = sum q log(q / p)``, what a wrong model costs.

    Parameters
    ----------
    q, p : array_like of shape (..., outcomes)
        The true distribution and the model's.

    Returns
    -------
    float or ndarray of shape (...)
        In nats; 0 only where they are equal.

    Raises
    ------
    ValueError
        If a probability is negative, a row does not sum to 1, or the numbers of outcomes differ.

    Examples
    --------
    >>> import fastbp
    >>> round(fastbp.kl_divergence([0.5, 0.5], [0.9, 0.1]), 3)
    0.511
    """
    true, model = _pair("kl_divergence", q, p)
    with np.errstate(invalid="ignore"):
        return _expected(true, _information(model) - _information(true))
