"""What each row's loss counts for, and the sum of all rows' losses."""

from ..compile.functions import kernel
from ..compile.pointers import at
from ..simd.rows import weighted
from .registry import IGNORE_INDEX, MEAN, MEAN_OF_ROWS, REDUCTION


@kernel
def row_scales(terms, labels, counts, class_weight, options, sample_weight, scales, batch):
    """Write what the loss of each row counts for; return what the sum was divided by: 1 without a mean.

    terms : how many terms of the mean a row has
    labels : of the rows, or empty where the targets are no labels
    counts : how many rows are not ignored

    Mean: for class labels the weighted mean over the rows that are not ignored, divided by the sum of their classes'
    weights, but for MEAN_OF_ROWS; else over all terms of a row. Sample weights weigh the mean as well.
    """
    labelled, ignored = labels.size > 0, options[IGNORE_INDEX]
    mean, weighs = options[REDUCTION] == MEAN, labelled and class_weight.size > 0
    if options[REDUCTION] == MEAN_OF_ROWS:
        mean, weighs = True, False
    if sample_weight.size == 0 and not weighs:
        # All rows count the same: loops without a sum that waits for itself.
        total = float(counts * terms) if mean else 1.0
        share = 1.0 / total if total > 0.0 else 0.0
        for i in range(batch):
            scales[i] = 0.0 if labelled and labels[i] == ignored else share
        return total
    total, counts_any = 0.0, False
    for i in range(batch):
        weight = 1.0
        if sample_weight.size > 0:
            weight = float(sample_weight[i])
        scales[i] = weight
        if labelled:
            if labels[i] == ignored:
                scales[i] = weight = 0.0
            elif weighs:
                weight *= class_weight[labels[i]]
        total += weight
        counts_any |= weight != 0.0
    if not mean:
        return 1.0
    total *= terms
    for i in range(batch):  # where no row counts, no gradient moves anything; weights that cancel divide by 0
        scales[i] = scales[i] / total if counts_any and scales[i] != 0.0 else 0.0
    return total


@kernel
def total_loss(rows, batch, divisor):
    """Add up the losses as they count; NaN where no row counts, and the sum divided by 0 where their weights cancel."""
    if divisor != 0.0:
        return weighted(at(rows, 0), at(rows, rows.shape[1]), batch)
    total = 0.0
    for i in range(batch):
        if rows[0, i] != 0.0:
            total += rows[1, i]
    return total / divisor
