"""Cross-entropy of softmax(z) and targets q, with class weights w: ``-sum_c w_c q_c log softmax(z)_c``.

Targets are class labels, smoothed or not, or probabilities; of those, rows with a single 1 say whether they are hit.
A row takes several passes, each a formula here, which `softmax` puts together; `narrow` has all of them in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import LABEL_SMOOTHING, loss, made_in
from .weighing import weigh, weigh_twin

if TYPE_CHECKING:
    from ..simd.lanes import Lanes, Vec


def scaled(v: Lanes, x: Vec, factor: Vec) -> Vec:
    return x * factor


def smoothed(v: Lanes, e: Vec, w: Vec, factor: Vec, share: Vec) -> Vec:
    """Gradient of smoothed labels but for the label's own share: factor * e - share * w."""
    return v.fma(-share, w, e * factor)


def weighted_gap(v: Lanes, z: Vec, w: Vec, top: Vec) -> tuple[Vec]:
    return (weigh(v, w, top - z),)


def target_mass(v: Lanes, q: Vec, w: Vec, keep: Vec, spread: Vec) -> tuple[Vec]:
    return (w * v.fma(keep, q, spread),)


def target_gap(v: Lanes, z: Vec, q: Vec, w: Vec, top: Vec, keep: Vec, spread: Vec) -> tuple[Vec]:
    return (weigh(v, w * v.fma(keep, q, spread), top - z),)


def tops(v: Lanes, z: Vec, q: Vec, top: Vec) -> tuple[Vec]:
    """The targets of the largest logits: their sum is 1 where the class of a row with a single 1 is among them."""
    return (v.select(z.equals(top), q, 0.0),)


def target_gradient(v: Lanes, e: Vec, q: Vec, w: Vec, factor: Vec, keep: Vec, spread: Vec, scale: Vec) -> Vec:
    return v.fma(-scale, w * v.fma(keep, q, spread), e * factor)


def log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def probabilities_twin(z, q, class_weight, options):
    """L = -sum_c w_c q_c log p_c, where q is the smoothed target; dL/dz = (sum_c w_c q_c) p - w q."""
    smoothing = options[LABEL_SMOOTHING]
    wq = (1 - smoothing) * q + smoothing / z.shape[1]
    if class_weight.size:
        wq = wq * class_weight
    log_p = log_softmax(z)
    # 0 log 0 is 0; but where the logits make no distribution, there is no loss
    value = np.where(np.isnan(log_p).any(axis=1), np.nan, -weigh_twin(wq, log_p).sum(axis=1))
    return value, wq.sum(axis=1, keepdims=True) * np.exp(log_p) - wq


def labels_twin(z, labels, class_weight, options):
    return probabilities_twin(z, np.eye(z.shape[1], dtype=z.dtype)[labels], class_weight, options)


SOFTMAX_LABELS = loss(
    "softmax_labels",
    0,
    labels_twin,
    rows=made_in("softmax", "labels_of_rows", gradient=True),
    labelled=True,
    hits=True,
    others={
        "value": made_in("softmax", "labels_of_rows", gradient=False),
        "planes": made_in("planes", "planes_of", gradient=True),
        "value_of_planes": made_in("planes", "planes_of", gradient=False),
    },
)
SOFTMAX_PROBABILITIES = loss(
    "softmax_probabilities",
    1,
    probabilities_twin,
    rows=made_in("softmax", "probabilities_of_rows", gradient=True),
    others={"value": made_in("softmax", "probabilities_of_rows", gradient=False)},
)
SOFTMAX_ONE_HOT = loss("softmax_one_hot", 5, probabilities_twin, rows=made_in("softmax", "one_hot_of_rows"), hits=True)
