"""Ops of a loss beside that of a step: without a gradient, and of planes. They have its bits, row by row."""

import numpy as np
import pytest

from fastbp.kernels import entries, losses
from fastbp.kernels.losses import MEAN, NARROW, NONE, SOFTMAX_LABELS, SOFTMAX_PROBABILITIES, SUM, by_hand
from fastbp.kernels.losses.functions import op_of_loss, other_op_of_loss
from tests.kernels.loss_problems import class_weight_of, options_of, targets_of

IGNORED, GUARD = -100, -7.0
WIDTHS = [1, 2, 7, 10, 17, NARROW, NARROW + 1, 100, 130, 512, 513]
BATCHES = [1, 3, 4, 9, 33]


class Problem:
    """Logits, targets and options of a loss, seeded."""

    def __init__(self, batch, n, dtype, *, labelled=True, smoothing=0.0, weighted=False, reduction=MEAN):
        rng = np.random.default_rng(1000 * n + batch)
        self.code = SOFTMAX_LABELS if labelled else SOFTMAX_PROBABILITIES
        self.z = (3 * rng.standard_normal((batch, n))).astype(dtype)
        self.labels = np.where(rng.random(batch) < 0.2, IGNORED, rng.integers(0, n, batch)) if labelled else None
        self.targets = None if labelled else rng.uniform(0, 1, (batch, n)).astype(dtype)
        self.weight = None
        if weighted or smoothing or not labelled:
            self.weight = (rng.uniform(0.5, 2, n) if weighted else np.ones(n)).astype(dtype)
        self.options = np.zeros(losses.OPTIONS_SIZE)
        self.options[losses.REDUCTION], self.options[losses.IGNORE_INDEX] = reduction, IGNORED
        self.options[losses.LABEL_SMOOTHING] = smoothing

    def by_rows(self):
        """Return the loss, the gradient, and what each row counts for and its loss."""
        dtype, (batch, n) = self.z.dtype, self.z.shape
        gradient, rows = np.empty((batch, n), dtype), np.empty((3, batch))
        none, empty = np.empty((0, 0), dtype), np.empty(0, dtype)
        loss = by_hand.loss_and_gradient(
            self.code, self.z, np.empty(0, np.int64) if self.labels is None else self.labels,
            none if self.targets is None else self.targets, empty if self.weight is None else self.weight,
            self.options, empty, rows, 1, gradient,
        )  # fmt: skip
        return loss, gradient, rows[:2]

    def at_addresses(self, what, z=None, apart=None, tasks=1):
        """Return what `loss_at` returns and writes; what stands around it has to stay."""
        z = self.z if z is None else z
        dtype, (batch, n) = z.dtype, self.z.shape
        loss = losses.BY_CODE[self.code]
        op = (other_op_of_loss(loss, what) if what else op_of_loss(loss)).address(dtype)
        each = self.options[losses.REDUCTION] == NONE
        flat = np.full(z.size + 64, GUARD, dtype)
        values, rows = np.full((batch if each else 1) + 2, GUARD, dtype), np.full((3, batch + 2), GUARD)
        gradient = flat[32:-32].reshape(z.shape)

        def address(array):
            return 0 if array is None else array.ctypes.data

        found = entries.loss_at(
            op, z.reshape(-1), address(z), batch, n, apart or n, address(self.labels), IGNORED, address(self.targets),
            address(self.weight), self.options.ctypes.data, rows, address(gradient), values[1:-1].ctypes.data, tasks,
        )  # fmt: skip
        around = [flat[:32], flat[-32:], values[[0, -1]], rows[:, batch:]] + ([flat] if "value" in what else [])
        assert all((part == GUARD).all() for part in around)
        return found, values[1:-1], gradient, rows[:2, :batch]


def options():
    for labelled in (True, False):
        for smoothing, weighted in ((0.0, False), (0.0, True), (0.1, False), (0.1, True)):
            yield {"labelled": labelled, "smoothing": smoothing, "weighted": weighted}


@pytest.mark.parametrize("n", WIDTHS)
def test_addresses_and_a_loss_without_a_gradient_have_the_bits_of_a_step(n, dtype):
    for batch in BATCHES:
        for option in options():
            for reduction, tasks in ((MEAN, 1), (SUM, 3), (NONE, 2)):
                p = Problem(batch, n, dtype, reduction=reduction, **option)
                loss, gradient, rows = p.by_rows()
                expected = (rows[0] * rows[1]).astype(dtype) if reduction == NONE else dtype([loss])
                for what in ("", "value"):
                    found, values, written, found_rows = p.at_addresses(what, tasks=tasks)
                    assert found == losses.DONE
                    assert values.tobytes() == expected.tobytes()
                    assert found_rows.tobytes() == rows.tobytes()
                    if not what:
                        assert written.tobytes() == gradient.tobytes()


@pytest.mark.parametrize("name", [name for name, loss in losses.LOSSES.items() if "value" in loss.others])
@pytest.mark.parametrize("n", [2, 10, NARROW + 2])
def test_a_loss_has_the_same_bits_without_its_gradient(name, n, dtype):
    loss, rng = losses.LOSSES[name], np.random.default_rng(n)
    labels, targets = targets_of(loss, rng, 37, n)
    labels[1::5] = IGNORED
    z, weight = (2 * rng.standard_normal((37, n))).astype(dtype), rng.uniform(0, 2, 37).astype(dtype)
    results = []
    for op in (op_of_loss(loss), other_op_of_loss(loss, "value")):
        rows, gradient = np.full((3, 37), GUARD), np.full_like(z, GUARD)
        value = entries.loss_of_rows(
            op.address(z.dtype), loss.terms(n), z, labels, targets.astype(dtype),
            class_weight_of(loss, rng, n, weighted=False).astype(dtype), options_of(loss), weight, rows, 2, gradient,
        )  # fmt: skip
        results.append((value, rows[:2].tobytes()))
    assert results[0] == results[1]
    assert (gradient == GUARD).all()
    assert (rows[2] == GUARD).all()


@pytest.mark.parametrize("n", [1, 2, 10, 33, NARROW])
@pytest.mark.parametrize("places", [1, 5, 8, 16, 19, 70])
def test_planes_have_the_bits_of_rows(n, places, dtype):
    for planes in (1, 2, 5):
        for weighted in (False, True):
            p = Problem(planes * places, n, dtype, weighted=weighted)
            loss, gradient, rows = p.by_rows()
            z, expected = (
                np.ascontiguousarray(a.reshape(planes, places, n).transpose(0, 2, 1)) for a in (p.z, gradient)
            )
            for what, tasks in (("planes", 1), ("planes", 3), ("value_of_planes", 2)):
                found, values, written, found_rows = p.at_addresses(what, z, places, tasks)
                assert found == losses.DONE
                assert values.tobytes() == dtype([loss]).tobytes()
                assert found_rows.tobytes() == rows.tobytes()
                if what == "planes":
                    assert written.tobytes() == expected.tobytes()


def test_a_wrong_label_and_an_unusable_weight_are_said_and_nothing_is_written(dtype):
    p = Problem(9, 5, dtype, weighted=True)
    p.labels[:] = 0
    for wrong in (5, -1, 2**62):
        p.labels[6] = wrong
        found, values, gradient, rows = p.at_addresses("")
        assert found == 6
        assert all((a == GUARD).all() for a in (values, gradient, rows))
    p.labels[6] = IGNORED
    assert p.at_addresses("")[0] == losses.DONE
    for unusable in (-1.0, np.nan, np.inf):
        p.weight[4] = unusable
        found, values, gradient, rows = p.at_addresses("")
        assert found == losses.UNUSABLE
        assert all((a == GUARD).all() for a in (values, gradient, rows))
