"""Rows of the softmax cross-entropy, put together from passes over the row: its maximum, exp and sum, the gradient."""

from ..compile.functions import kernel
from ..compile.pointers import at
from ..simd.lanes import lanewise
from ..simd.rows import exp_shifted, log, row_max, summed
from . import cross_entropy

exp_row = summed(exp_shifted, reads=1, writes=1, numbers=1)
scale_row = lanewise(cross_entropy.scaled, reads=1, writes=1, numbers=1)
smooth_row = lanewise(cross_entropy.smoothed, reads=2, writes=1, numbers=2)
weighted_gap = summed(cross_entropy.weighted_gap, reads=2, writes=0, numbers=1)
target_mass = summed(cross_entropy.target_mass, reads=2, writes=0, numbers=2)
target_gap = summed(cross_entropy.target_gap, reads=3, writes=0, numbers=3)
tops = summed(cross_entropy.tops, reads=2, writes=0, numbers=1)
target_gradient = lanewise(cross_entropy.target_gradient, reads=3, writes=1, numbers=4)


@kernel
def softmax_labels_row(z, z0, label, class_weight, total_weight, smoothing, scale, d, d0, n):
    """``-log softmax(z)[label]`` with class weights and label smoothing; its gradient times `scale` into d.

    Returns the loss, and 1 where the label is the first whose logit is the largest.
    """
    real = z.dtype.type
    top = row_max(at(z, z0), n)
    total = real(exp_row(at(z, z0), at(d, d0), top, n))
    log_total = log(total)
    own = real(1.0)
    if class_weight.size > 0:
        own = class_weight[label]
    own *= real(1.0) - smoothing
    gap = top - z[z0 + label] if own != real(0.0) else real(0.0)  # 0 * infinity is 0: the label weighs nothing
    loss = own * (log_total + gap)
    if smoothing > 0.0:
        share = smoothing / real(n)
        loss += share * (total_weight * log_total + real(weighted_gap(at(z, z0), at(class_weight, 0), top, n)))
        factor = scale * (own + share * total_weight) / total
        smooth_row(at(d, d0), at(class_weight, 0), at(d, d0), factor, scale * share, n)
    else:
        scale_row(at(d, d0), at(d, d0), scale * own / total, n)
    d[d0 + label] -= scale * own
    hit = z[z0 + label] == top and (label == 0 or row_max(at(z, z0), label) < top)
    return float(loss), 1.0 if hit else 0.0


@kernel
def softmax_probabilities_row(z, z0, q, q0, class_weight, smoothing, scale, d, d0, n):
    """``-sum_c w_c q_c log softmax(z)_c``; its gradient times `scale` into d."""
    real = z.dtype.type
    keep, spread = real(1.0) - smoothing, smoothing / real(n)
    w = at(class_weight, 0)
    top = row_max(at(z, z0), n)
    total = real(exp_row(at(z, z0), at(d, d0), top, n))
    mass = real(target_mass(at(q, q0), w, keep, spread, n))
    gap = target_gap(at(z, z0), at(q, q0), w, top, keep, spread, n)
    target_gradient(at(d, d0), at(q, q0), w, at(d, d0), scale * mass / total, keep, spread, scale, n)
    return mass * log(total) + gap


@kernel
def answers(z, z0, q, q0, n):
    """Return 1 where the first of the largest logits is that of the class whose target is 1, else 0."""
    top = row_max(at(z, z0), n)
    hit = tops(at(z, z0), at(q, q0), top, n) == 1.0
    if hit:  # it is one of the largest
        first = 0
        while z[z0 + first] != top:
            first += 1
        hit = q[q0 + first] == 1.0
    return 1.0 if hit else 0.0
