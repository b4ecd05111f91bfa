"""The turned product of a dZ of few columns: the bits of the product as it stands, and no other element written."""

import numba
import numpy as np
import pytest

from fastbp.kernels.compile.pointers import at
from fastbp.kernels.linalg.few_columns import STRIP, few_columns, pays
from fastbp.kernels.linalg.matrix import Finish, Matrix
from fastbp.kernels.linalg.product import product
from fastbp.kernels.optimizers import HYPER_SIZE, RULES
from fastbp.kernels.optimizers.functions import update
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.modes import ACCUMULATE
from tests.kernels.calls import address_of

GUARD = -7.0


@numba.njit
def by_product(x, ld_x, dz, ld_dz, dw, ld, rows, ins, outs, mode, after, params, state, hyper):
    product(
        Matrix(at(x, 0), ld_x, rows, ins, 0).transposed(), Matrix(at(dz, 0), ld_dz, rows, outs, 0),
        Matrix(at(dw, 0), ld, ins, outs, 0),
        Finish(mode, at(dz, 0), after, at(params, 0), at(state, 0), at(hyper, 0), params.size),
    )  # fmt: skip


@numba.njit
def turned(x, ld_x, dz, ld_dz, dw, ld, rows, ins, outs, mode, after, params, state, hyper):
    few_columns(
        Matrix(at(x, 0), ld_x, rows, ins, 0), Matrix(at(dz, 0), ld_dz, rows, outs, 0),
        Matrix(at(dw, 0), ld, ins, outs, 0),
        Finish(mode, at(dz, 0), after, at(params, 0), at(state, 0), at(hyper, 0), params.size),
    )  # fmt: skip


def lanes(dtype):
    return isa().lanes(np.dtype(dtype).itemsize)


@pytest.mark.parametrize("flags", [0, ACCUMULATE], ids=["anew", "going on"])
def test_every_size_has_the_bits_of_the_product(dtype, flags):
    width = lanes(dtype)
    rng = np.random.default_rng(0)
    strip = STRIP * width
    for ins in (1, 3, width - 1, width, width + 1, 3 * width + 2, strip - 1, strip, strip + 1, 2 * strip + 5):
        for outs in sorted({1, 2, 3, 4, 5, width // 2, width - 1, width} - {0}):
            for rows, apart in ((1, 0), (7, 0), (33, 3), (300, 1)):
                # x ends with its last element: nothing may be read behind it that would count
                x = rng.standard_normal(rows * (ins + apart)).astype(dtype)
                dz = rng.standard_normal(rows * (outs + apart)).astype(dtype)
                found = np.full(ins * (outs + apart) + 64, GUARD, dtype)
                values = found[: ins * (outs + apart)].reshape(ins, outs + apart)[:, :outs]
                values[:] = rng.standard_normal((ins, outs))
                expected = found.copy()
                nothing = np.zeros(0, dtype)
                for compute, dw in ((turned, found), (by_product, expected)):
                    compute(
                        x, ins + apart, dz, outs + apart, dw, outs + apart, rows, ins, outs, flags, 0,
                        nothing, nothing, np.zeros(HYPER_SIZE),
                    )  # fmt: skip
                assert found.tobytes() == expected.tobytes(), (ins, outs, rows)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_the_update_is_that_of_the_product(dtype, rule):
    after = address_of(update(RULES[rule]), dtype)
    rng = np.random.default_rng(0)
    for ins, outs in ((1, 1), (37, 3), (150, lanes(dtype))):
        x, dz = rng.standard_normal((20, ins)).astype(dtype), rng.standard_normal((20, outs)).astype(dtype)
        hyper = np.full(HYPER_SIZE, 0.5)
        results = []
        for compute in (turned, by_product):
            params, state = np.ones(ins * outs, dtype), np.full(3 * ins * outs, dtype(0.25))
            dw = np.zeros(ins * outs, dtype)
            compute(x.ravel(), ins, dz.ravel(), outs, dw, outs, 20, ins, outs, 0, after, params, state, hyper)
            assert (params != 1).all()
            results.append(dw.tobytes() + params.tobytes() + state.tobytes())
        assert results[0] == results[1]


@pytest.mark.parametrize(("ins", "outs", "yes"), [(128, 10, True), (16, 4, True), (46, 10, True), (32, 16, False)])
def test_it_is_taken_where_it_takes_less(ins, outs, yes):
    assert pays.py_func(ins, outs, 16) is yes
    assert not pays.py_func(ins, 17, 16)
    assert not pays.py_func(outs, outs, 16)


def test_rows_without_room_are_not_read_past_the_end(dtype):
    """A NaN behind the last row of X reaches no element of dW."""
    width = lanes(dtype)
    ins, outs, rows = width + 1, 2, 5
    whole = np.full(rows * ins + 4 * width, np.nan, dtype)
    whole[: rows * ins] = 1
    dw = np.full(ins * outs, GUARD, dtype)
    nothing = np.zeros(0, dtype)
    turned(
        whole[: rows * ins], ins, np.ones(rows * outs, dtype), outs, dw, outs, rows, ins, outs, 0, 0,
        nothing, nothing, np.zeros(HYPER_SIZE),
    )  # fmt: skip
    assert (dw == rows).all()
