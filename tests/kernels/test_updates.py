"""Optimizer updates against their twins over several steps, and their independence of how they are cut."""

from itertools import pairwise

import numpy as np
import pytest

from fastbp.kernels import optimizers as updates
from fastbp.kernels import reference
from fastbp.kernels.optimizers import compiled, functions
from tests.kernels.calls import address_of, pass_over

CODES = updates.CODES
ALL = pytest.mark.parametrize("code", CODES.values(), ids=CODES.keys())
STEPS = 6


def update(code, params, grads, state, hyper, n, start, ld, rows, cols):
    address = address_of(functions.update(updates.BY_CODE[code]), params.dtype)
    pass_over(address, grads, params, state, hyper, n, start, ld, rows, cols)


def problem(code, n, dtype, weight_decay):
    rng = np.random.default_rng(n)
    params = rng.standard_normal(n).astype(dtype)
    grads = rng.standard_normal((STEPS, n)).astype(dtype)
    hyper = np.zeros(updates.HYPER_SIZE)
    hyper[[updates.LR, updates.WEIGHT_DECAY, updates.FIRST, updates.SECOND]] = 0.01, weight_decay, 0.9, 0.99
    hyper[[updates.EPS, updates.LR_DECAY]] = 1e-8, 0.05
    hyper[[updates.FIRST_POWER, updates.SECOND_POWER, updates.MOMENTUM_POWER]] = 1
    hyper[updates.MOMENTUM_DECAY] = 0.8 if code == CODES["nadam"] else 0.0
    return params, grads, np.zeros(updates.STATE_ARRAYS[code] * n, dtype), hyper


def train(code, params, grads, state, hyper, cuts=()):
    """Take all steps with the kernels, each in the ranges between the cuts."""
    n = params.size
    edges = [0, *cuts, n]
    for g in grads:
        compiled.advance.py_func(hyper)
        for start, stop in pairwise(edges):
            update(code, params, g, state, hyper, n, start, n, 1, stop - start)


def train_twin(code, params, grads, state, hyper):
    for g in grads:
        reference.advance(hyper)
        reference.update(code, params, g, state, hyper, params.size, 0, 1, params.size)


def path(code, grads, lr):
    """Bound what a step moves an element, if no gradient were cancelled by another."""
    largest = np.abs(grads).max(axis=0).astype(float) + 0.1 * 4  # with weight decay of |p| < 4
    if not updates.BY_CODE[code].normalized:
        return lr * largest * (STEPS if updates.BY_CODE[code].states else 1)
    # Divided by the root of a mean of squares: that of the first step's gradient at least, times (1 - beta2)**(1/2)
    least = np.sqrt(0.01 * 0.99**STEPS) * np.abs(grads).astype(float).max(axis=0)
    return lr * largest / least


@ALL
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("n", [1, 7, 16, 1000])
def test_update_equals_its_twin(code, weight_decay, n, dtype):
    params, grads, state, hyper = problem(code, n, dtype, weight_decay)
    exact, exact_state, exact_hyper = params.astype(np.longdouble), state.astype(np.longdouble), hyper.copy()
    train(code, params, grads, state, hyper)
    train_twin(code, exact, grads.astype(np.longdouble), exact_state, exact_hyper)
    unit = np.finfo(dtype).eps / 2
    # Each step rounds p once, and what it moves p, which is found from rounded constants and states, 16 times at most.
    bound = STEPS * unit * (np.abs(exact) + 16 * path(code, grads, 0.01))
    assert (np.abs(params - exact) <= bound).all()
    # a state is a sum over the steps of gradients or of squares, each rounded a few times
    size = np.abs(np.resize(grads, (STEPS, n))).max() + 0.4
    assert (np.abs(state - exact_state) <= 16 * STEPS * unit * STEPS * max(size, size**2)).all()
    np.testing.assert_array_equal(hyper, exact_hyper)


@ALL
def test_an_element_does_not_depend_on_how_the_range_is_cut(code, dtype):
    n = 133
    whole = problem(code, n, dtype, 0.1)
    train(code, *whole)
    for cuts in [(1,), (64,), (5, 6, 77), (16, 32, 48, 131), (0, 133)]:
        cut = problem(code, n, dtype, 0.1)
        train(code, *cut, cuts=cuts)
        assert cut[0].tobytes() == whole[0].tobytes()
        assert cut[2].tobytes() == whole[2].tobytes()


@ALL
def test_elements_outside_the_range_are_untouched(code, dtype):
    params, grads, state, hyper = problem(code, 40, dtype, 0.1)
    before, state_before = params.copy(), state.copy()
    compiled.advance.py_func(hyper)
    update(code, params, grads[0], state, hyper, 40, 7, 0, 1, 19)
    outside = np.r_[0:7, 26:40]
    np.testing.assert_array_equal(params[outside], before[outside])
    assert (params[7:26] != before[7:26]).all()
    rows = state.reshape(-1, 40)
    np.testing.assert_array_equal(rows[:, outside], state_before.reshape(-1, 40)[:, outside])


@ALL
@pytest.mark.parametrize(("ld", "cols"), [(19, 19), (19, 8), (19, 1), (40, 33)])
def test_block_equals_the_same_elements_of_the_whole(code, ld, cols, dtype):
    rows, start = 5, 3
    n = start + rows * ld + 7
    whole, block, twin = (problem(code, n, dtype, 0.1) for _ in range(3))
    before = block[0].copy(), block[2].copy()
    compiled.advance.py_func(whole[3])
    update(code, whole[0], whole[1][0], whole[2], whole[3], n, 0, n, 1, n)
    update(code, block[0], block[1][0], block[2], whole[3], n, start, ld, rows, cols)
    reference.update(code, twin[0][start:], twin[1][0][start:], twin[2][start:], whole[3], n, ld, rows, cols)
    inside = np.zeros(n, bool)
    inside[(start + np.arange(rows)[:, None] * ld + np.arange(cols)).ravel()] = True
    np.testing.assert_array_equal(block[0], np.where(inside, whole[0], before[0]))
    states = block[2].reshape(-1, n)
    np.testing.assert_array_equal(states, np.where(inside, whole[2].reshape(-1, n), before[1].reshape(-1, n)))
    np.testing.assert_allclose(twin[0], block[0], rtol=100 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(twin[0][~inside], before[0][~inside])


@ALL
def test_nan_gradient_shows_in_its_own_parameter_alone(code, dtype):
    params, grads, state, hyper = problem(code, 20, dtype, 0.0)
    grads[0, 13] = np.nan
    train(code, params, grads, state, hyper)
    np.testing.assert_array_equal(np.isnan(params), np.arange(20) == 13)


def test_first_step_of_adam_is_the_learning_rate(dtype):
    params, grads, state, hyper = problem(updates.ADAM, 50, dtype, 0.0)
    before = params.copy()
    train(updates.ADAM, params, grads[:1], state, hyper)
    # the bias corrections cancel: p - lr * g / (|g| + eps)
    np.testing.assert_allclose(params, before - 0.01 * np.sign(grads[0]), atol=8 * np.finfo(dtype).eps + 1e-8)


@pytest.mark.parametrize("code", [c for c in CODES.values() if updates.STATE_ARRAYS[c]], ids=lambda c: str(c))
def test_a_state_never_stays_below_the_normal_numbers(code, dtype):
    params, grads, state, hyper = problem(code, 40, dtype, 0.0)
    tiny = np.finfo(dtype).tiny
    grads[:] = tiny * np.geomspace(0.25, 1e4, 40).astype(dtype)  # squares of them, and some of them, are subnormal
    for gradients in (grads, np.zeros_like(grads)):
        for _ in range(3):
            train(code, params, gradients, state, hyper)
            assert ((state == 0) | (np.abs(state) >= tiny)).all()
            assert np.isfinite(params).all()
    state[:] = np.nan  # is no small number
    train(code, params, grads, state, hyper)
    assert np.isnan(state).all()
