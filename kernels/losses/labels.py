"""Class labels: how many rows count, and which row has a wrong one."""

from ..compile.functions import kernel


@kernel
def counted(labels, ignored, rows):
    """Return how many rows are not ignored."""
    count = 0
    for i in range(rows):
        count += labels[i] != ignored
    return count


@kernel
def first_wrong(labels, classes, ignore_index):
    """Return the first row whose label is neither in 0..classes-1 nor `ignore_index`; -1 if there is none."""
    outside = 0
    for i in range(labels.size):  # a loop that does not end early computes many rows side by side
        outside += (labels[i] < 0) | (labels[i] >= classes)
    if outside > 0:
        for i in range(labels.size):
            if not 0 <= labels[i] < classes and labels[i] != ignore_index:
                return i
    return -1
