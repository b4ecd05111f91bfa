"""Readers of arrays give the numbers of their twin, to the bit, whatever elements, strides and byte order x has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_array_equal

from fastbp.kernels import entries
from fastbp.kernels.inputs import ELEMENTS, READ, numbers_table, reader
from fastbp.kernels.inputs.registry import read_numbers

# Patterns of a few bits make small numbers of large ones, NaNs, infinities and numbers below the normal ones
SPECIAL = [0x00, 0x01, 0x7F, 0x80, 0xFF, 0x7C, 0xFC, 0x3C]


def read(x, dtype, out, order=(), first=0, scales=(), tasks=1):
    table = numbers_table(x, *scales)
    table[READ] = reader(ELEMENTS[x.dtype.str[1:]]).address(np.dtype(dtype))
    entries.read_rows(table, np.array(order, np.int64), first, out, tasks)


def any_bits(rng, shape, element):
    """Return numbers of any bits, special ones often; bools are 0 or 1."""
    size = int(np.prod(shape)) * element.size
    special = rng.random(size) < 0.3
    raw = np.where(special, rng.choice(SPECIAL, size), rng.integers(0, 256, size)).astype(np.uint8)
    return (raw & 1).astype(bool).reshape(shape) if element.kind == "b" else raw.view(element.name).reshape(shape)


def laid_out(x, row_step, column_step, offset):
    """Return x with gaps of so many rows and columns, or turned round, in memory that begins at an odd address.

    A step of 0 puts all rows, or columns, in one place.
    """
    rows, columns = x.shape
    width, height = max(1, abs(column_step)) * columns, max(1, abs(row_step)) * rows
    memory = np.zeros(offset + height * width * x.itemsize, np.uint8)
    whole = np.ndarray((height, width), x.dtype, memory, offset)
    spread = whole[:: row_step or 1, :: column_step or 1][:rows, :columns]
    places = as_strided(spread, strides=(spread.strides[0] * (row_step != 0), spread.strides[1] * (column_step != 0)))
    places[...] = x
    return places


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("element", ELEMENTS.values(), ids=lambda element: element.name)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 70)),
    steps=st.tuples(st.sampled_from([-3, -1, 0, 1, 4]), st.sampled_from([-2, -1, 0, 1, 3])),
    offset=st.integers(0, 9),
    order=st.sampled_from("=>"),
)
def test_reader_gives_the_numbers_of_its_twin(dtype, element, seed, shape, steps, offset, order):
    rng = np.random.default_rng(seed)
    numbers = any_bits(rng, shape, element)
    x = laid_out(numbers.astype(numbers.dtype.newbyteorder(order)), *steps, offset)
    rows, first = rng.integers(0, shape[0], rng.integers(1, 8)), int(rng.integers(0, shape[0]))
    scales = (rng.normal(size=shape[1]), rng.uniform(0.1, 300, shape[1])) if seed % 2 else ()
    for which, asked in [(rows, {"order": rows}), (slice(first, None), {"first": first})]:
        expected = read_numbers(x[which], dtype, *scales)
        out = np.full((len(expected) + 2, shape[1]), 7, dtype)
        read(x, dtype, out[1:-1], scales=scales, **asked)
        assert_array_equal(out[1:-1], expected)
        assert (out[[0, -1]] == 7).all()


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_rows_do_not_depend_on_the_tasks(tasks):
    rng = np.random.default_rng(0)
    x, order = rng.integers(0, 256, (2000, 333), np.uint8), rng.permutation(2000)[:1777]
    out = np.zeros((1777, 333), np.float32)
    read(x, np.float32, out, order, tasks=tasks)
    assert_array_equal(out, x[order])
    read(x, np.float32, out[:1500], first=200, tasks=tasks)
    assert_array_equal(out[:1500], x[200:1700])
