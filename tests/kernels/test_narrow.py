"""Losses of narrow rows, and the turns of a block of rows: against the twin, and independent of the block."""

from types import SimpleNamespace

import numba
import numpy as np
import pytest

from fastbp.kernels import entries as network
from fastbp.kernels import losses, reference
from fastbp.kernels.activations import IDENTITY
from fastbp.kernels.compile.pointers import at
from fastbp.kernels.losses import BCE_LOGITS, MEAN, MSE, NARROW, SOFTMAX_LABELS, SUM, by_hand
from fastbp.kernels.simd.columns import CHAINS
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.packing import pack_transposed, unpack_transposed

CODES = {"softmax": SOFTMAX_LABELS, "mse": MSE, "bce": BCE_LOGITS}
COLUMNS = [1, 2, 3, 7, 8, 9, 15, 16, 17, NARROW - 1, NARROW, NARROW + 1]
BATCHES = [*range(1, 21), 33]
IGNORED = -100
GUARD = -7.0

EACH_LOSS = pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
EACH_WIDTH = pytest.mark.parametrize("n", COLUMNS)


def problem(code, batch, n, dtype, *, weighted=False, reduction=MEAN, ignored=IGNORED):
    """Return the arguments of `loss_and_gradient` by name."""
    rng = np.random.default_rng(100 * n + batch)
    labels, targets = np.zeros(0, np.int64), np.zeros((0, 0))
    if code == SOFTMAX_LABELS:
        labels = rng.integers(0, n, batch)
        labels[rng.random(batch) < 0.2] = ignored
    else:
        targets = rng.uniform(0, 1, (batch, n))
    options = np.zeros(losses.OPTIONS_SIZE)
    options[losses.REDUCTION], options[losses.IGNORE_INDEX] = reduction, ignored
    class_weight = rng.uniform(0.5, 2, n if weighted and code == SOFTMAX_LABELS else 0)
    return SimpleNamespace(
        code=code,
        z=(3 * rng.standard_normal((batch, n))).astype(dtype),
        labels=labels,
        targets=targets.astype(dtype),
        class_weight=class_weight.astype(dtype),
        options=options,
        sample_weight=rng.uniform(0.5, 2, batch if weighted else 0).astype(dtype),
    )


def wide(p):
    names = ["z", "targets", "class_weight", "sample_weight"]
    return SimpleNamespace(**{**vars(p), **{name: getattr(p, name).astype(np.longdouble) for name in names}})


def run(module, p):
    """Return the loss, the gradient, and scales, losses and hits of the rows, after a look at what stands around."""
    batch, n = p.z.shape
    around = 64
    flat = np.full(batch * n + 2 * around, GUARD, p.z.dtype)
    gradient = flat[around:-around].reshape(batch, n)
    gradient[:] = np.nan
    rows = np.full((3, batch + 3), GUARD)
    loss = module.loss_and_gradient(
        p.code, p.z, p.labels, p.targets, p.class_weight, p.options, p.sample_weight, rows, 1, gradient
    )
    assert (flat[:around] == GUARD).all()
    assert (flat[-around:] == GUARD).all()
    assert (rows[:, batch:] == GUARD).all()
    return loss, gradient, rows[:, :batch]


def chosen(p, rows):
    """Return the problem of some of the rows."""
    some = {name: getattr(p, name)[rows] for name in ("labels", "targets", "sample_weight") if getattr(p, name).size}
    return SimpleNamespace(**{**vars(p), "z": np.ascontiguousarray(p.z[rows]), **some})


def bounds(p):
    """Bounds for the error of each row's loss and of each gradient, but for the row's scale.

    A row is a sum of n terms that are rounded a dozen times each: n + 16 units of the sum of their sizes. Size is how
    far the logits are apart, in nats (softmax), or the squares and products that are added up (the others).
    """
    n, unit = p.z.shape[1], np.finfo(p.z.dtype).eps / 2
    z, t = p.z.astype(np.float64), p.targets.astype(np.float64)
    if p.code == SOFTMAX_LABELS:
        largest = p.class_weight.max(initial=0) if p.class_weight.size else 1.0
        gradients = np.tile((1 + np.ptp(z, axis=1, keepdims=True)) * largest, n)
        sizes = gradients / n  # the label's term alone
    elif p.code == MSE:
        sizes, gradients = z**2 + t**2, 2 * (np.abs(z) + np.abs(t))
    else:
        sizes, gradients = 1 + np.abs(z) * (1 + t), 1 + t
    return (n + 16) * unit * sizes.sum(axis=1), (n + 16) * unit * gradients


def check(p):
    loss, gradient, rows = run(by_hand, p)
    exact_loss, exact_gradient, exact_rows = run(reference, wide(p))
    scales = exact_rows[0].astype(np.float64)
    row_bound, gradient_bound = bounds(p)
    assert (np.abs(rows[0] - scales) <= len(p.z) * 2.0**-52 * scales).all()
    assert (np.abs(rows[1] - exact_rows[1]) <= row_bound).all()
    np.testing.assert_array_equal(rows[2], exact_rows[2])
    assert (np.abs(gradient - exact_gradient) <= gradient_bound * scales[:, None]).all()
    if (scales > 0).any():
        summed = len(p.z) * 2.0**-52 * (scales * np.abs(rows[1])).sum()
        assert abs(loss - exact_loss) <= (row_bound * scales).sum() + summed
    else:
        assert np.isnan(loss) == (p.options[losses.REDUCTION] == MEAN)


@EACH_LOSS
@EACH_WIDTH
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_every_batch_is_within_the_bound_and_its_block(code, n, weighted, dtype):
    for batch in BATCHES:
        check(problem(code, batch, n, dtype, weighted=weighted))
        check(problem(code, batch, n, dtype, weighted=weighted, reduction=SUM))


@pytest.mark.parametrize("ignored", [0, 1, -1, 2**53])
@pytest.mark.parametrize("n", [2, 9, NARROW, NARROW + 1])
def test_any_label_may_be_the_ignored_one(ignored, n, dtype):
    for batch in (1, 7, 8, 9, 20):
        p = problem(SOFTMAX_LABELS, batch, n, dtype, weighted=True, ignored=ignored)
        p.labels[-1] = ignored
        check(p)
        assert not run(by_hand, p)[1][-1].any()


@EACH_LOSS
@EACH_WIDTH
def test_a_row_has_the_same_bits_in_any_batch(code, n, dtype):
    p = problem(code, 33, n, dtype, weighted=True, reduction=SUM)
    _, gradient, rows = run(by_hand, p)
    for batch in BATCHES:
        for start in {0, 5, 33 - batch}:
            part = slice(start, min(33, start + batch))
            _, some_gradient, some_rows = run(by_hand, chosen(p, part))
            assert some_gradient.tobytes() == gradient[part].tobytes()
            assert some_rows.tobytes() == rows[:, part].tobytes()


@EACH_LOSS
@EACH_WIDTH
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(code, n, poison, dtype):
    for batch in (1, 4, 8, 11, 33):
        p = problem(code, batch, n, dtype, weighted=True, reduction=SUM)
        clean = run(by_hand, p)
        for row in {0, batch // 2, batch - 1}:
            p.z[row], before = poison, p.z[row].copy()
            loss, gradient, rows = run(by_hand, p)
            p.z[row] = before
            counts = code != SOFTMAX_LABELS or p.labels[row] != IGNORED
            assert np.isfinite(rows[1, row]) == (not counts)
            assert np.isfinite(loss) == (not counts)
            if np.isnan(poison):
                assert np.isnan(gradient[row]).all() if counts else not gradient[row].any()
            others = np.arange(batch) != row
            assert gradient[others].tobytes() == clean[1][others].tobytes()
            assert rows[:, others].tobytes() == clean[2][:, others].tobytes()


@EACH_WIDTH
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_one_logit_that_is_not_finite_spoils_its_softmax(n, poison, dtype):
    p = problem(SOFTMAX_LABELS, 13, n, dtype, ignored=IGNORED)
    p.labels[:] = np.arange(13) % n
    for column in {0, n // 2, n - 1}:
        z = p.z.copy()
        z[6, column] = poison
        loss, gradient, rows = run(by_hand, SimpleNamespace(**{**vars(p), "z": z}))
        assert np.isnan(loss)
        assert np.isnan(rows[1, 6])
        assert np.isnan(gradient[6, column])
        assert np.isfinite(np.delete(gradient, 6, axis=0)).all()


@pytest.mark.parametrize("n", [2, 9, NARROW, NARROW + 1])
def test_a_masked_class_gets_no_gradient(n, dtype):
    p = problem(SOFTMAX_LABELS, 13, n, dtype)
    p.labels[:] = 0
    p.z[:, n - 1] = -np.inf
    loss, gradient, rows = run(by_hand, p)
    fewer = SimpleNamespace(**{**vars(p), "z": np.ascontiguousarray(p.z[:, : n - 1])})
    exact = run(reference, wide(fewer))
    assert not gradient[:, n - 1].any()
    assert (np.abs(rows[1] - exact[2][1]) <= bounds(fewer)[0]).all()
    assert np.isfinite(loss)


@EACH_WIDTH
def test_of_equal_logits_the_first_is_the_answer(n, dtype):
    p = problem(SOFTMAX_LABELS, 33, n, dtype)
    p.z = np.random.default_rng(n).integers(0, 2, p.z.shape).astype(dtype)
    p.labels[:] = np.arange(33) % min(n, 3)
    _, _, rows = run(by_hand, p)
    np.testing.assert_array_equal(rows[2], p.z.argmax(axis=1) == p.labels)
    assert 0 < rows[2].sum() <= 33


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_overflow_nowhere(size, dtype):
    p = problem(SOFTMAX_LABELS, 9, 5, dtype, reduction=SUM)
    p.z = np.zeros((9, 5), dtype)
    p.z[::2, 0], p.z[1::2, 1] = size, -size
    p.labels[:] = np.arange(9) % 2  # certain and right, then wrong by `size`
    _, gradient, rows = run(by_hand, p)
    np.testing.assert_array_equal(rows[1, ::2], 0)
    np.testing.assert_allclose(rows[1, 1::2], size, rtol=1e-3)
    np.testing.assert_array_equal(gradient[::2], 0)
    np.testing.assert_allclose(gradient[1::2], [[0.25, -1, 0.25, 0.25, 0.25]] * 4, rtol=4 * np.finfo(dtype).eps)


# A network stores logits with room up to whole vectors, and what stands in the room comes from anywhere.


@EACH_LOSS
@EACH_WIDTH
def test_a_step_of_a_network_equals_its_twin(code, n, training):
    # float64 sums of up to 65 terms, over three steps: a few thousand units of 1e-16
    for batch in (1, 5, 8, 23):
        p = training([(5, n, IDENTITY, True)], np.float64, loss=code, batch=batch)
        if code == SOFTMAX_LABELS:
            p.labels[::4] = IGNORED
        found, exact = p.run(network), p.run(reference)
        for name in ("params", "grads", "record"):
            np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=1e-11, atol=1e-12)


@EACH_LOSS
@EACH_WIDTH
def test_room_changes_no_bit(code, n, training, dtype):
    rows = 3 * CHAINS + 3  # the last turn of the chains is not whole
    p = training([(5, 6, IDENTITY, False), (6, n, IDENTITY, True)], dtype, loss=code, samples=rows, batch=rows)
    p.order = p.order[:0]
    after_nan = p.run(network)
    p.work[:] = np.finfo(dtype).max
    after_large = p.run(network)
    # by hand: the logits without room
    loss, gradient, _ = run(by_hand, SimpleNamespace(**vars(p), code=code, z=p.predict(network)))
    for trained in (after_nan, after_large):
        assert trained.record[0, 0] == loss
        # db is a sum down the rows, in chains
        chains = [np.cumsum(gradient[chain::CHAINS], axis=0)[-1] for chain in range(CHAINS)]
        total = (chains[0] + chains[1]) + (chains[2] + chains[3])
        assert trained.grads[-n:].tobytes() == total.tobytes()
    assert after_nan.grads.tobytes() == after_large.grads.tobytes()


# Turning a block of rows, and back


@numba.njit
def pack_rows(source, ld, depth, cols, panel, width):
    pack_transposed(at(source, 0), ld, depth, cols, at(panel, 0), width)


@numba.njit
def unpack_rows(target, start, ld, depth, cols, panel, width):
    unpack_transposed(at(target, start), ld, depth, cols, at(panel, 0), width)


@pytest.mark.parametrize("apart", [0, 1, 5])
def test_unpacking_is_the_way_back(apart, dtype):
    width = isa().lanes(np.dtype(dtype).itemsize)
    rng = np.random.default_rng(apart)
    for depth in range(70):
        panel = np.full((depth + width, width), GUARD, dtype)
        for rows in range(1, width + 1):
            ld = depth + apart
            x = rng.standard_normal((rows, ld)).astype(dtype)
            pack_rows(x, ld, depth, rows, panel, width)
            copies = np.minimum(np.arange(width), rows - 1)  # of the last row, in the lanes that are left
            np.testing.assert_array_equal(panel[:depth], x[copies, :depth].T)
            target = np.full(rows * ld + 128, GUARD, dtype)
            unpack_rows(target, 64, ld, depth, rows, panel, width)
            expected = np.full_like(target, GUARD)
            expected[64:-64].reshape(rows, ld)[:, :depth] = x[:, :depth]
            assert target.tobytes() == expected.tobytes()


def test_packing_several_vectors_of_columns(dtype):
    width = isa().lanes(np.dtype(dtype).itemsize)
    rng = np.random.default_rng(0)
    for depth in (1, 3, width, 2 * width + 1, 37):
        for cols in (1, width + 1, 2 * width, 3 * width - 1):
            whole = -(-cols // width) * width
            x = rng.standard_normal((cols, depth + 2)).astype(dtype)
            panel = np.full((depth + width, whole), GUARD, dtype)
            pack_rows(x, depth + 2, depth, cols, panel, whole)
            np.testing.assert_array_equal(panel[:depth, :cols], x[:, :depth].T)
            assert (panel[-(-depth // width) * width :] == GUARD).all()
