"""In which order an epoch takes its rows."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastbp.train.order import Layout, Windows, draw, rows_at

sizes_of_blocks = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(lambda sizes: np.array(sizes, np.int64))


def layout_of(sizes, window):
    return Layout(int(sizes.sum()), sizes, window)


def twin(layout, generator):
    """The order in plain Python."""
    offsets = np.concatenate([[0], np.cumsum(layout.sizes)])
    blocks = generator.permutation(len(layout.sizes)).tolist()
    seed, rows = int(generator.integers(2**63)), []
    for window, first in enumerate(range(0, len(blocks), layout.window)):
        stand = [row for b in blocks[first : first + layout.window] for row in range(offsets[b], offsets[b + 1])]
        rows += [stand[i] for i in np.random.default_rng([seed, window]).permutation(len(stand))]
    return rows


@settings(max_examples=40, deadline=None)
@given(sizes_of_blocks, st.integers(1, 13), st.integers(0, 2**32))
def test_blocks_are_permuted_and_rows_within_windows_of_them(sizes, window, seed):
    layout = layout_of(sizes, window)
    generator, other = np.random.default_rng(seed), np.random.default_rng(seed)
    for _ in range(2):
        rows = rows_at(layout, draw(layout, generator), range(layout.rows))
        assert rows.tolist() == twin(layout, other)
        assert_array_equal(np.sort(rows), np.arange(layout.rows))


@settings(max_examples=40, deadline=None)
@given(sizes_of_blocks, st.integers(1, 13), st.data())
def test_any_part_of_an_order_is_found_by_itself(sizes, window, data):
    layout = layout_of(sizes, window)
    order = draw(layout, np.random.default_rng(3))
    first = data.draw(st.integers(0, layout.rows - 1))
    stop = data.draw(st.integers(first + 1, layout.rows))
    assert_array_equal(
        rows_at(layout, order, range(first, stop)), rows_at(layout, order, range(layout.rows))[first:stop]
    )
    windows = Windows(layout, order)
    assert windows.first[windows.at(first)] <= first < windows.first[windows.at(first) + 1]


@given(sizes_of_blocks, st.integers(1, 13))
def test_without_a_generator_rows_stand_as_they_are(sizes, window):
    layout = layout_of(sizes, window)
    assert_array_equal(rows_at(layout, draw(layout, None), range(layout.rows)), np.arange(layout.rows))


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_rows_that_are_read_one_by_one_have_numpy_s_permutation(rows):
    generator, numpys = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(3):
        order = draw(Layout(rows), generator)
        assert_array_equal(rows_at(Layout(rows), order, range(rows)), numpys.permutation(rows))


def test_another_process_finds_the_same_order():
    code = """
import json, numpy as np
from fastbp.train.order import Layout, draw, rows_at
layout, generator = Layout(60, np.array([7, 20, 13, 20]), 2), np.random.default_rng(9)
print(json.dumps([rows_at(layout, draw(layout, generator), range(60)).tolist() for _ in range(3)]))
"""
    there = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    layout, generator = Layout(60, np.array([7, 20, 13, 20]), 2), np.random.default_rng(9)
    assert [rows_at(layout, draw(layout, generator), range(60)).tolist() for _ in range(3)] == there
