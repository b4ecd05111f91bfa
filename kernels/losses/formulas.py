"""Losses as vector formulas: what is summed over a row, and the gradient beside it, written once for all of them."""

from ..simd import elementary
from ..simd.lanes import Lanes, Vec, lanewise
from ..simd.rows import exp_shifted, summed
from .narrow import columns_summed


def _scaled(v: Lanes, x: Vec, factor: Vec) -> Vec:
    return x * factor


def _smoothed(v: Lanes, e: Vec, w: Vec, factor: Vec, share: Vec) -> Vec:
    """Gradient of smoothed labels but for the label's own share: factor * e - share * w."""
    return v.fma(-share, w, e * factor)


def _product(v: Lanes, weight: Vec, cost: Vec) -> Vec:
    """weight * cost, where what weighs nothing costs nothing: 0 log 0 is 0, and so is 0 * infinity here."""
    return weight * v.select(weight.equals(0.0), 0.0, cost)


def _weighted_gap(v: Lanes, z: Vec, w: Vec, top: Vec) -> tuple[Vec]:
    return (_product(v, w, top - z),)


def _target_mass(v: Lanes, q: Vec, w: Vec, keep: Vec, spread: Vec) -> tuple[Vec]:
    return (w * v.fma(keep, q, spread),)


def _target_gap(v: Lanes, z: Vec, q: Vec, w: Vec, top: Vec, keep: Vec, spread: Vec) -> tuple[Vec]:
    return (_product(v, w * v.fma(keep, q, spread), top - z),)


def _tops(v: Lanes, z: Vec, q: Vec, top: Vec) -> tuple[Vec]:
    """The targets of the largest logits: their sum is 1 where the class of a row with a single 1 is among them."""
    return (v.select(z.equals(top), q, 0.0),)


def _target_gradient(v: Lanes, e: Vec, q: Vec, w: Vec, factor: Vec, keep: Vec, spread: Vec, scale: Vec) -> Vec:
    return v.fma(-scale, w * v.fma(keep, q, spread), e * factor)


def _mse(v: Lanes, z: Vec, t: Vec, scale: Vec) -> tuple[Vec, Vec]:
    difference = z - t
    return difference * difference, 2.0 * difference * scale


def _bce_logits(v: Lanes, z: Vec, t: Vec, scale: Vec) -> tuple[Vec, Vec]:
    # -t log s(z) - (1 - t) log s(-z) = |z| (1 - t where z > 0, else t) + log(1 + exp(-|z|)); derivative s(z) - t
    size = v.abs(z)
    one = 2.0 ** elementary.SCALE[v.bits]
    e = elementary.scaled_exp(v, -size)
    near_zero = e / (one + e)
    s = v.select(v.negative(z), near_zero, 1.0 - near_zero)
    miss = v.select(v.negative(z), t, 1.0 - t)
    return _product(v, miss, size) + elementary.log1p(v, e, one), (s - t) * scale


def _gaussian_log_variance(
    v: Lanes, mean: Vec, s: Vec, t: Vec, scale: Vec, smallest: Vec, constant: Vec
) -> tuple[Vec, Vec, Vec]:
    """(s + (mean - t)**2 / var) / 2 + constant with var = exp(s); gradients for mean and s."""
    s = v.maximum(s, smallest)
    precision = elementary.exp(v, -s)
    difference = mean - t
    misfit = difference * precision
    square = misfit * difference
    return 0.5 * (s + square) + constant, misfit * scale, 0.5 * (1.0 - square) * scale


def _gaussian_variance(
    v: Lanes, mean: Vec, t: Vec, var: Vec, scale: Vec, smallest: Vec, constant: Vec
) -> tuple[Vec, Vec, Vec]:
    """(log var + (mean - t)**2 / var) / 2 + constant; gradients for mean and var."""
    var = v.maximum(var, smallest)
    difference = mean - t
    misfit = difference / var
    loss = 0.5 * (elementary.log(v, var) + misfit * difference) + constant
    return loss, misfit * scale, 0.5 * (1.0 / var - misfit * misfit) * scale


exp_row = summed(exp_shifted, reads=1, writes=1, numbers=1)
scale_row = lanewise(_scaled, reads=1, writes=1, numbers=1)
smooth_row = lanewise(_smoothed, reads=2, writes=1, numbers=2)
weighted_gap = summed(_weighted_gap, reads=2, writes=0, numbers=1)
target_mass = summed(_target_mass, reads=2, writes=0, numbers=2)
target_gap = summed(_target_gap, reads=3, writes=0, numbers=3)
tops = summed(_tops, reads=2, writes=0, numbers=1)
target_gradient = lanewise(_target_gradient, reads=3, writes=1, numbers=4)
mse_row = summed(_mse, reads=2, writes=1, numbers=1)
mse_columns = columns_summed(_mse)
bce_columns = columns_summed(_bce_logits)
bce_row = summed(_bce_logits, reads=2, writes=1, numbers=1)
gaussian_log_variance_row = summed(_gaussian_log_variance, reads=3, writes=2, numbers=3)
gaussian_variance_row = summed(_gaussian_variance, reads=3, writes=2, numbers=3)
