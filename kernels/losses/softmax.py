"""Rows of the softmax cross-entropy, put together from passes over the row: its maximum, exp and sum, the gradient."""

from typing import Any

from numba import carray

from ..compile.functions import kernel
from ..compile.pointers import at, stack_block
from ..simd.lanes import lanewise
from ..simd.rows import exp_rows, exp_shifted, log, row_max, summed
from . import cross_entropy
from .narrow import labels_narrow
from .registry import IGNORE_INDEX, LABEL_SMOOTHING, NARROW

scale_row = lanewise(cross_entropy.scaled, reads=1, writes=1, numbers=1)
smooth_row = lanewise(cross_entropy.smoothed, reads=2, writes=1, numbers=2)
weighted_gap = summed(cross_entropy.weighted_gap, reads=2, writes=0, numbers=1)
target_mass = summed(cross_entropy.target_mass, reads=2, writes=0, numbers=2)
target_gap = summed(cross_entropy.target_gap, reads=3, writes=0, numbers=3)
tops = summed(cross_entropy.tops, reads=2, writes=0, numbers=1)
target_gradient = lanewise(cross_entropy.target_gradient, reads=3, writes=1, numbers=4)

# Rows of at most SHORT numbers are taken ABREAST at a time: they and their gradients fit into a first-level cache.
ABREAST, SHORT = 4, 512
few_numbers = stack_block(2 * ABREAST * 8)


@kernel
def rows_at_once(r, first):
    """How many rows to take at a time, from row `first` on."""
    return ABREAST if r.n <= SHORT and first + ABREAST <= r.stop else 1


@kernel
def label_loss(r, i, top, total, total_weight, smoothing):
    """Return ``-log softmax(z)[label]`` of row i, with class weights and label smoothing, and what its label weighs.

    top, total : the largest logit, and the sum of ``exp(z - top)``
    """
    real = carray(r.z, 1).dtype.type
    z, n, label, log_total = at(r.z, i * r.ld), r.n, r.labels[i], log(total)
    own = real(1.0)
    if r.classes > 0:
        own = r.class_weight[label]
    own *= real(1.0) - smoothing
    gap = top - z[label] if own != real(0.0) else real(0.0)  # 0 * infinity is 0: the label weighs nothing
    loss = own * (log_total + gap)
    if smoothing > 0.0:
        loss += smoothing / real(n) * (total_weight * log_total + real(weighted_gap(z, r.class_weight, top, n)))
    return loss, own


@kernel
def softmax_labels_row(r, i, top, total, total_weight, smoothing):
    """The loss of row i, and its gradient times its scale, where d holds ``exp(z - top)``.

    Returns the loss, and 1 where the label is the first whose logit is the largest.
    """
    real = carray(r.z, 1).dtype.type
    z, d, n, label, scale = at(r.z, i * r.ld), at(r.d, i * r.ld), r.n, r.labels[i], real(r.scales[i])
    loss, own = label_loss(r, i, top, total, total_weight, smoothing)
    if smoothing > 0.0:
        share = smoothing / real(n)
        factor = scale * (own + share * total_weight) / total
        smooth_row(d, r.class_weight, d, factor, scale * share, n)
    else:
        scale_row(d, d, scale * own / total, n)
    d[label] -= scale * own
    hit = z[label] == top and (label == 0 or row_max(z, label) < top)
    return float(loss), 1.0 if hit else 0.0


@kernel
def hits_one_hot(z, q, n):
    """Return 1 where the first of the largest logits is that of the class whose target is 1, else 0."""
    top = row_max(z, n)
    hit = tops(z, q, top, n) == 1.0
    if hit:  # it is one of the largest
        first = 0
        while z[first] != top:
            first += 1
        hit = q[first] == 1.0
    return 1.0 if hit else 0.0


@kernel
def total_of(class_weight, classes):
    """Return the sum of the class weights, in float64: there may be very many."""
    total = 0.0
    for c in range(classes):
        total += class_weight[c]
    return total


def labels_of_rows(gradient: bool) -> Any:
    """Make the kernel of class labels: the losses of some rows, and with a `gradient` that and their hits."""
    exp_of_row, exp_of_rows = (exp_rows(rows, kept=gradient) for rows in (1, ABREAST))
    narrow = labels_narrow(gradient)

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        smoothing = real(r.options[LABEL_SMOOTHING])
        if r.n <= NARROW and smoothing == real(0.0):
            narrow(r)
            return
        total_weight = real(total_of(r.class_weight, r.classes))
        tops = few_numbers(r.z)
        sums = at(tops, ABREAST)
        first = r.start
        while first < r.stop:
            z, d, rows = at(r.z, first * r.ld), at(r.d, first * r.ld), rows_at_once(r, first)
            if rows == ABREAST:
                exp_of_rows(z, d, r.ld, r.n, tops, sums)
            else:
                exp_of_row(z, d, r.ld, r.n, tops, sums)
            for k in range(rows):
                i = first + k
                if r.labels[i] == r.options[IGNORE_INDEX]:
                    r.losses[i] = 0.0
                    if gradient:
                        r.hits[i] = 0.0
                        carray(at(r.d, i * r.ld), r.n)[:] = real(0.0)  # whatever the logits are
                elif gradient:
                    r.losses[i], r.hits[i] = softmax_labels_row(r, i, tops[k], sums[k], total_weight, smoothing)
                else:
                    r.losses[i] = float(label_loss(r, i, tops[k], sums[k], total_weight, smoothing)[0])
            first += rows

    return of_rows


def probabilities_of_rows(gradient: bool) -> Any:
    """Make the kernel of probabilities: ``-sum_c w_c q_c log softmax(z)_c`` of some rows, and the gradients."""
    exp_row = summed(exp_shifted, reads=1, writes=1, numbers=1, keeps=gradient)

    @kernel
    def of_rows(r):
        real = carray(r.z, 1).dtype.type
        smoothing, n, w = real(r.options[LABEL_SMOOTHING]), r.n, r.class_weight
        keep, spread = real(1.0) - smoothing, smoothing / real(n)
        for i in range(r.start, r.stop):
            z, q, d, scale = at(r.z, i * r.ld), at(r.targets, i * r.width), at(r.d, i * r.ld), real(r.scales[i])
            top = row_max(z, n)
            total = real(exp_row(z, d, top, n))
            mass = real(target_mass(q, w, keep, spread, n))
            gap = target_gap(z, q, w, top, keep, spread, n)
            if gradient:
                target_gradient(d, q, w, d, scale * mass / total, keep, spread, scale, n)
            r.losses[i] = float(mass * log(total) + gap)

    return of_rows


def one_hot_of_rows() -> Any:
    """Make the kernel of probabilities that are rows with a single 1: the same, and whether they are hit."""
    probabilities = probabilities_of_rows(gradient=True)

    @kernel
    def of_rows(r):
        for i in range(r.start, r.stop):
            r.hits[i] = hits_one_hot(at(r.z, i * r.ld), at(r.targets, i * r.width), r.n)
        probabilities(r)

    return of_rows
