"""Losses: value and gradient against the twin and against central differences, and the edges of their domain."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from fastbp.kernels import entries, losses, reference
from fastbp.kernels.losses import (
    GAUSSIAN_NLL,
    MEAN,
    NONE,
    SOFTMAX_LABELS,
    SOFTMAX_ONE_HOT,
    SOFTMAX_PROBABILITIES,
    SUM,
    by_hand,
)
from tests.kernels.loss_problems import IGNORED, class_weight_of, options_of, targets_of

CODES = {name: loss.code for name, loss in losses.LOSSES.items() if loss.code != SOFTMAX_ONE_HOT}  # see below
REDUCTIONS = {"mean": MEAN, "sum": SUM, "none": NONE}
ALL = pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())


def problem(code, batch, n, dtype, *, reduction=MEAN, smoothing=0.0, weighted=False, sample_weighted=False, seed=0):
    """Return the arguments of `loss_and_gradient` by name; n is even for GAUSSIAN_NLL."""
    rng, loss = np.random.default_rng(seed), losses.BY_CODE[code]
    labels, targets = targets_of(loss, rng, batch, n)
    return SimpleNamespace(
        code=code,
        z=(2 * rng.standard_normal((batch, n))).astype(dtype),
        labels=labels,
        targets=targets.astype(dtype),
        class_weight=class_weight_of(loss, rng, n, weighted).astype(dtype),
        options=options_of(loss, reduction, smoothing),
        sample_weight=(rng.uniform(0, 2, batch) if sample_weighted else np.zeros(0)).astype(dtype),
        rows=np.full((3, batch), np.nan),
    )


def run(module, p, tasks=1):
    """Return loss, gradient, and scales, losses and hits of the rows."""
    gradient, rows = np.full_like(p.z, np.nan), p.rows.copy()
    loss = module.loss_and_gradient(
        p.code, p.z, p.labels, p.targets, p.class_weight, p.options, p.sample_weight, rows, tasks, gradient
    )
    return loss, gradient, rows


def wide(p, dtype=np.float64):
    """Return the problem with its float arrays in a wider type."""
    names = ["z", "targets", "class_weight", "sample_weight", "rows"]
    return SimpleNamespace(**{**vars(p), **{name: getattr(p, name).astype(dtype) for name in names}})


def bounds(p):
    """Bounds for the error of each row's loss and gradient.

    A row is a sum of n terms that are rounded a dozen times each: n + 16 units of the sum of their sizes. Size is how
    far the logits are apart, in nats (softmax), or the squares and products that are added up (the others).
    """
    n, unit = p.z.shape[1], np.finfo(p.z.dtype).eps / 2
    z, t = p.z.astype(np.float64), p.targets.astype(np.float64)
    if p.code in (SOFTMAX_LABELS, SOFTMAX_PROBABILITIES):
        gradients = np.tile((1 + np.ptp(z, axis=1, keepdims=True)) * p.class_weight.max(), n)
        sizes = gradients / n  # targets weigh the terms, and sum to 1
    elif losses.BY_CODE[p.code].sizes is not None:
        of = p.labels if losses.BY_CODE[p.code].labelled else t
        sizes, gradients = losses.BY_CODE[p.code].sizes(z, of)
    else:
        mean, log_var = z[:, : n // 2], z[:, n // 2 :]
        square = (np.abs(mean) + np.abs(t)) ** 2 * np.exp(-log_var) * (1 + np.abs(log_var))
        sizes = 1 + np.abs(log_var) + square
        gradients = np.concatenate([np.sqrt(square * np.exp(-log_var) * (1 + np.abs(log_var))), 1 + square], axis=1)
    return (n + 16) * unit * sizes.sum(axis=1), (n + 16) * unit * gradients


def check(p):
    loss, gradient, rows = run(by_hand, p)
    exact_loss, exact_gradient, exact_rows = run(reference, wide(p, np.longdouble))
    scales = exact_rows[0].astype(np.float64)
    row_bound, gradient_bound = bounds(p)
    np.testing.assert_allclose(rows[0], scales, rtol=len(p.z) * 2.0**-52)
    kept = exact_rows[0] != 0
    np.testing.assert_array_less(np.abs(rows[1] - exact_rows[1])[kept], row_bound[kept])
    np.testing.assert_array_equal(rows[2], exact_rows[2])
    assert (np.abs(gradient - exact_gradient) <= gradient_bound * scales[:, None]).all()
    assert abs(loss - exact_loss) <= (row_bound * scales).sum() + len(p.z) * 2.0**-52 * (scales * np.abs(rows[1])).sum()
    if p.z.dtype == np.float64:
        assert loss == pytest.approx(float(exact_loss), rel=1e-12)
        np.testing.assert_allclose(gradient, exact_gradient.astype(float), rtol=1e-12, atol=1e-12 * scales.max())


@ALL
@pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS.keys())
def test_loss_and_gradient_equal_their_twin(code, reduction, dtype):
    softmax, loss = code in (SOFTMAX_LABELS, SOFTMAX_PROBABILITIES), losses.BY_CODE[code]
    weights = (False, True) if softmax or loss.by_output else (False,)
    for smoothing, weighted, sample_weighted in itertools.product(
        (0.0, 0.1) if softmax else (0.0,), weights, (False, True)
    ):
        for batch, n in [(1, 2), (3, 4), (7, 10), (5, 16), (4, 48), (3, 66)]:
            p = problem(
                code, batch, n, dtype, reduction=reduction, smoothing=smoothing, weighted=weighted,
                sample_weighted=sample_weighted,
            )  # fmt: skip
            check(p)
            if loss.labelled and batch > 1:
                p.labels[1] = IGNORED
                check(p)


@pytest.mark.parametrize("n", [*range(1, 36), 47, 48, 49])
def test_every_number_of_classes(n, dtype):
    check(problem(SOFTMAX_LABELS, 4, n, dtype))
    check(problem(SOFTMAX_LABELS, 4, n, dtype, smoothing=0.2, weighted=True))
    check(problem(SOFTMAX_PROBABILITIES, 4, n, dtype, weighted=True))


def test_labels_without_class_weights_weigh_one(dtype):
    p = problem(SOFTMAX_LABELS, 6, 9, dtype)
    ones = run(by_hand, p)
    p.class_weight = p.class_weight[:0]
    none = run(by_hand, p)
    assert ones[0] == none[0]
    np.testing.assert_array_equal(ones[1], none[1])


@ALL
def test_gradient_is_the_slope_of_the_loss(code):
    p = problem(code, 3, 6, np.float64, smoothing=0.1, weighted=True, sample_weighted=True)
    _, gradient, _ = run(by_hand, p)
    eps = 1e-6
    for i, j in np.ndindex(p.z.shape):
        centre = p.z[i, j]
        p.z[i, j] = centre + eps
        above = run(by_hand, p)[0]
        p.z[i, j] = centre - eps
        below = run(by_hand, p)[0]
        p.z[i, j] = centre
        # rounding of the loss: 2**-53 / eps = 1e-10 of it; eps**2 times the third derivative is less
        assert (above - below) / (2 * eps) == pytest.approx(gradient[i, j], rel=1e-6, abs=1e-8)


def test_ignored_rows_count_for_nothing_whatever_their_logits(dtype):
    p = problem(SOFTMAX_LABELS, 7, 10, dtype, weighted=True, smoothing=0.1)
    ignored = [1, 4, 5]
    p.labels[ignored] = IGNORED
    p.z[ignored] = [[np.nan], [np.inf], [-np.inf]]
    loss, gradient, rows = run(by_hand, p)
    assert (gradient[ignored] == 0).all()
    assert (rows[:, ignored] == 0).all()
    kept = np.setdiff1d(np.arange(7), ignored)
    p.z, p.labels, p.rows = np.ascontiguousarray(p.z[kept]), p.labels[kept], p.rows[:, kept].copy()
    alone, alone_gradient, _ = run(by_hand, p)
    assert loss == pytest.approx(alone, rel=7 * 2.0**-53)  # four positive terms, added up in another order
    np.testing.assert_array_equal(gradient[kept], alone_gradient)


@pytest.mark.parametrize("code", [SOFTMAX_LABELS, SOFTMAX_PROBABILITIES])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_overflow_nowhere(code, size, dtype):
    p = problem(code, 3, 5, dtype, reduction=SUM)
    p.z = np.array([[size, 0, 0, 0, 0], [-size, 0, -size, -size, -size], [size] * 5], dtype)
    if code == SOFTMAX_LABELS:
        p.labels = np.array([0, 0, 2])
    else:
        p.targets = np.eye(5, dtype=dtype)[[0, 0, 2]]
    loss, gradient, rows = run(by_hand, p)
    # right with certainty, wrong with certainty (by `size` nats), and all equal
    np.testing.assert_allclose(rows[1], [0, size, np.log(5)], rtol=1e-6)
    assert loss == pytest.approx(size, rel=1e-3)
    exact = [[0] * 5, [-1, 1, 0, 0, 0], [0.2, 0.2, -0.8, 0.2, 0.2]]
    np.testing.assert_allclose(gradient, exact, atol=4 * np.finfo(dtype).eps)


def test_a_masked_class_gets_no_gradient(dtype):
    p = problem(SOFTMAX_LABELS, 2, 4, dtype)
    p.z[:, 2], p.labels[:] = -np.inf, [0, 3]
    loss, gradient, _ = run(by_hand, p)
    assert np.isfinite(loss)
    assert (gradient[:, 2] == 0).all()
    p.z, p.labels = np.delete(p.z, 2, axis=1), np.array([0, 2])
    p.class_weight = p.class_weight[:3]
    assert loss == pytest.approx(run(by_hand, p)[0], rel=float(8 * np.finfo(dtype).eps))


def test_one_class_is_certain(dtype):
    for code in (SOFTMAX_LABELS, SOFTMAX_PROBABILITIES):
        p = problem(code, 3, 1, dtype, smoothing=0.1)
        loss, gradient, rows = run(by_hand, p)
        assert loss == 0
        assert (gradient == 0).all()
        assert (rows[2] == (code == SOFTMAX_LABELS)).all()


@ALL
def test_nan_logits_show_in_loss_and_gradient(code, dtype):
    p = problem(code, 4, 40, dtype)
    for column in (0, 17, 39):  # in whole vectors and in the tail
        p.z[:] = 1
        p.z[2, column] = np.nan
        loss, gradient, rows = run(by_hand, p)
        assert np.isnan(loss)
        assert np.isnan(gradient[2, column])
        assert np.isnan(rows[1, 2])
        assert np.isfinite(rows[1, [0, 1, 3]]).all()
        assert np.isfinite(gradient[[0, 1, 3]]).all()


def test_hits_are_rows_whose_label_has_the_largest_logit(dtype):
    p = problem(SOFTMAX_LABELS, 50, 7, dtype)
    _, _, rows = run(by_hand, p)
    np.testing.assert_array_equal(rows[2], p.z.argmax(axis=1) == p.labels)
    assert 0 < rows[2].sum() < 50


@ALL
def test_bits_do_not_depend_on_tasks(code, dtype):
    p = problem(code, 23, 18, dtype, sample_weighted=True)
    alone = run(by_hand, p)
    for tasks in (2, 3, 7, 16, 40):
        cut = run(by_hand, p, tasks)
        assert cut[0] == alone[0]
        assert cut[1].tobytes() == alone[1].tobytes()
        assert cut[2].tobytes() == alone[2].tobytes()


def test_small_variances_are_lifted_to_eps(dtype):
    p = problem(GAUSSIAN_NLL, 2, 4, dtype, reduction=SUM)
    p.z[:, 2:] = -50  # log variance; eps is 1e-6
    p.z[:, :2] = p.targets + dtype(2**-10)
    loss, gradient, _ = run(by_hand, p)
    exact_loss, exact_gradient, _ = run(reference, wide(p))
    # exp(-log eps) with the logarithm, 13.8, rounded: 14 units and a few
    np.testing.assert_allclose(loss, exact_loss, rtol=64 * np.finfo(dtype).eps)
    np.testing.assert_allclose(gradient, exact_gradient, rtol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 40])
def test_gaussian_nll_with_given_variances_equals_its_twin(n, dtype):
    rng = np.random.default_rng(n)
    mean, target = rng.standard_normal((2, 5, n)).astype(dtype)
    var = rng.uniform(0.1, 3, (5, n)).astype(dtype)
    var[0, 0] = 1e-9  # below eps
    found, exact = [], []
    for into, module, real in [(found, entries, dtype), (exact, reference, np.longdouble)]:
        sums, dmean, dvar = np.zeros(5, np.float64), np.zeros((5, n), real), np.zeros((5, n), real)
        arrays = mean.astype(real), target.astype(real), var.astype(real)
        module.gaussian_nll(*arrays, real(dtype(0.3)), real(dtype(1e-2)), real(dtype(0.9)), sums, dmean, dvar)
        into += [sums, dmean, dvar]
    unit = np.finfo(dtype).eps / 2
    gap, var = np.abs(mean - target).astype(float), np.maximum(var, 1e-2).astype(float)
    square = gap**2 / var
    # a dozen roundings of each term, and n of their sum
    assert (np.abs(found[0] - exact[0]) <= (n + 12) * unit * (1 + np.abs(np.log(var)) + square).sum(axis=1)).all()
    assert (np.abs(found[1] - exact[1]) <= 12 * unit * gap / var).all()
    assert (np.abs(found[2] - exact[2]) <= 12 * unit * (1 + square) / var).all()


@pytest.mark.parametrize("seed", range(30))
def test_negative_and_cancelling_class_weights_equal_their_twin(seed, dtype):
    rng = np.random.default_rng(seed)
    code = (SOFTMAX_LABELS, SOFTMAX_PROBABILITIES)[seed % 2]
    batch, n = int(rng.integers(1, 12)), int(rng.choice([2, 3, 10, 64, 65]))
    p = problem(
        code, batch, n, dtype, reduction=rng.integers(0, 3), smoothing=rng.choice([0.0, 0.1]),
        sample_weighted=seed % 3 == 0, seed=seed,
    )  # fmt: skip
    p.class_weight[:] = rng.integers(-2, 3, n)
    p.sample_weight = np.round(p.sample_weight)
    if code == SOFTMAX_LABELS and batch > 2:
        p.labels[1] = IGNORED
    with np.errstate(invalid="ignore", over="ignore"):
        loss, gradient, rows = run(by_hand, p)
        exact_loss, exact_gradient, exact_rows = run(reference, wide(p))
    unit = np.finfo(dtype).eps * 50 * n
    finite = np.isfinite(exact_rows[0])
    np.testing.assert_allclose(rows[0], exact_rows[0], rtol=1e-6)
    np.testing.assert_allclose(rows[1], exact_rows[1], rtol=unit, atol=unit)
    np.testing.assert_array_equal(rows[2], exact_rows[2])
    np.testing.assert_array_equal(np.isfinite(loss), np.isfinite(exact_loss))
    if np.isfinite(exact_loss):
        np.testing.assert_allclose(loss, exact_loss, rtol=unit, atol=unit * (1 + np.abs(exact_rows[0]).sum()))
    else:
        np.testing.assert_equal(loss, float(exact_loss))
    scale = np.abs(exact_rows[0][finite, None]) + 1
    assert (np.abs(gradient[finite] - exact_gradient[finite]) <= unit * scale).all()


def test_the_answer_to_a_row_with_a_single_1_is_the_first_of_the_largest_logits(dtype):
    rng = np.random.default_rng(0)
    for n in (2, 3, 16, 33, 100):
        p = problem(SOFTMAX_PROBABILITIES, 60, n, dtype)
        p.z[...] = rng.integers(-1, 2, p.z.shape)  # the largest is there more than once
        labels = rng.integers(0, n, 60)
        labels[:20] = p.z[:20].argmax(axis=1)
        p.targets[...] = np.eye(n)[labels]
        assert not run(by_hand, p)[2][2].any()  # nobody asked
        p.code = SOFTMAX_ONE_HOT
        _, _, rows = run(by_hand, p)
        np.testing.assert_array_equal(rows[2], p.z.argmax(axis=1) == labels)
        np.testing.assert_array_equal(rows[2], run(reference, p)[2][2])
        assert 20 <= rows[2].sum() < 60
